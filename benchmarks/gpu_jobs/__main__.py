"""The paper's settings on one GPU, in calls of some minutes that go on from each other's files in --work.

python -m benchmarks.gpu_jobs all --work DIR --data-dir DIR --minutes 9        again while it ends with code 3
python -m benchmarks.gpu_jobs STAGE --work DIR --data-dir DIR --dry-run        what a stage would run

Stages: check, benchmark, train (seed 0: ANN, traditional, HIRE; white box), second (the same with seed 1; black box), more
(control and Gaussian, both seeds), other (seed 1 attacked, too), collect. What follows -- goes to `minihire run`, at every
call the same.
Codes: 0 done, 2 wrong input, 3 not finished: call again, 1 a stage failed.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.command import run
from benchmarks.gpu_jobs.stages import STAGES, Job, Unfinished
from minihire.app.flags import Parser, minutes
from minihire.runtime.errors import MinihireError


def main(arguments: list[str] | None = None) -> int:
    """Run the stages that were asked for and are not done; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, extra = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    code = []
    refused = run(lambda _: code.append(_stages(_parser().parse_args(own), extra)))
    return refused or code[0]


def _stages(options, extra) -> int:
    names = list(STAGES) if options.stage == "all" else [options.stage]
    job = Job(options, tuple(extra))
    if not options.dry_run and options.stage != "collect":
        job.keep_settings()
    for name in names:
        if options.stage == "all" and name in job.done:
            continue
        try:
            STAGES[name](job)
        except Unfinished as why:
            print(f"{name}: {why}; call again", flush=True)
            return 3
        except MinihireError as error:
            if job.failed:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                return 1
            raise
        job.finish(name)
    return 0


def _parser():
    p = Parser(
        "python -m benchmarks.gpu_jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("stage", choices=("all", *STAGES), metavar="STAGE", help=f"all, {', '.join(STAGES)}")
    p.add_argument("--work", type=Path, required=True, metavar="DIR", help="where everything is kept between calls")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="CIFAR-10's files")
    p.add_argument("--out", type=Path, metavar="DIR", help="where `collect` writes (default: --work/collected)")
    p.add_argument(
        "--minutes", type=minutes, default=9.0, metavar="M", help="end after about so many minutes (default: 9)"
    )
    p.add_argument("--benchmark-minutes", type=minutes, default=4.0, metavar="M", help="of `benchmark` (default: 4)")
    p.add_argument("--device", default="cuda", metavar="DEVICE", help="cuda (default), or cpu for a rehearsal")
    p.add_argument("--precision", default="tf32", metavar="P", help="tf32 (default), bf16 or float32")
    p.add_argument("--preset", default="vgg5-cifar10", metavar="NAME", help="(default: vgg5-cifar10)")
    p.add_argument(
        "--tests", nargs="*", metavar="PATH", help="what `check` gives to pytest (default: the backends' tests)"
    )
    p.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    return p


if __name__ == "__main__":
    sys.exit(main())
