"""Run the paper's settings on one GPU in several short calls. Each call resumes from the files in --work.

python -m benchmarks.gpu_jobs all --work DIR --data-dir DIR --minutes 9        repeat while the exit code is 3
python -m benchmarks.gpu_jobs STAGE --work DIR --data-dir DIR --dry-run        print the commands of a stage

Stages:
  check      compare the device with the reference backend, and run tests
  benchmark  measure speed and memory (benchmarks.gpu)
  train      seed 0: ANN, traditional and HIRE training, white-box attacks
  second     the same with seed 1, and black-box attacks
  more       control and Gaussian noise, both seeds
  other      attacks on the networks of seed 1
  collect    write the results as a Markdown page

Arguments after -- are passed to `minihire run`; they must be the same in every call.
Exit codes: 0 finished, 1 a stage failed, 2 wrong input, 3 not finished, call again.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.command import run
from benchmarks.gpu_jobs.stages import STAGES, Job, Unfinished
from minihire.app.flags import Parser, minutes
from minihire.runtime.errors import MinihireError


def main(arguments: list[str] | None = None) -> int:
    """Run the requested stages that are not finished, and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, extra = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    code = []
    error_code = run(lambda _: code.append(_stages(_parser().parse_args(own), extra)))
    return error_code or code[0]


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
    p.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder for all files between calls")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the data set")
    p.add_argument("--out", type=Path, metavar="DIR", help="output folder of `collect` (default: --work/collected)")
    p.add_argument("--minutes", type=minutes, default=9.0, metavar="M", help="stop after about M minutes (default: 9)")
    p.add_argument(
        "--benchmark-minutes", type=minutes, default=4.0, metavar="M", help="minutes for `benchmark` (default: 4)"
    )
    p.add_argument("--device", default="cuda", metavar="DEVICE", help="cuda (default), or cpu to test the command")
    p.add_argument("--precision", default="tf32", metavar="P", help="tf32 (default), bf16 or float32")
    p.add_argument(
        "--preset", default="vgg5-cifar10", metavar="NAME", help="preset of minihire run (default: vgg5-cifar10)"
    )
    p.add_argument(
        "--tests", nargs="*", metavar="PATH", help="tests that `check` runs (default: those of the backends)"
    )
    p.add_argument("--dry-run", action="store_true", help="print the commands without running them")
    return p


if __name__ == "__main__":
    sys.exit(main())
