"""The stages of a job. Each runs a few commands; WORK/stages.json records their times."""

import importlib.util
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu_jobs.collect import collect
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, write_atomically
from minihire.study.settings import preset

TESTS = ("tests/backends", "tests/test_network.py", "tests/training/test_loop.py", "tests/attacks")
TEST_MINUTES = 3.0
MIN_MINUTES = 0.5  # with less time left, no command is started
FIRST, ALL = "traditional,hire", "traditional,control,gaussian,hire"


class Unfinished(Exception):
    """The time of this call is over; the next call resumes."""


class Job:
    """One call: its flags, its clock, and the record of all calls (`notes`)."""

    def __init__(self, options, extra: tuple[str, ...]):
        self.options, self.extra, self.start, self.failed = options, extra, time.monotonic(), False
        self.path = options.work / "stages.json"
        self.notes = read_notes(self.path) if self.path.exists() else {"settings": None, "stages": {}}
        if options.minutes < MIN_MINUTES:
            raise MinihireError(
                f"--minutes {options.minutes:g} is too little to start a command: give at least {MIN_MINUTES:g}"
            )

    @property
    def done(self) -> list[str]:
        """The stages that are finished."""
        return [name for name, stage in self.notes["stages"].items() if stage["done"]]

    @property
    def left(self) -> float:
        """Minutes left in this call."""
        return self.options.minutes - (time.monotonic() - self.start) / 60

    def keep_settings(self):
        """Record the settings that all calls must share. Raises MinihireError if this call has other settings."""
        o = self.options
        settings = {"preset": o.preset, "device": o.device, "precision": o.precision, "extra": list(self.extra)}
        before = self.notes["settings"]
        if before and before != settings:
            raise MinihireError(
                f"{o.work} was begun with {before}, not {settings}: give the same flags or another --work"
            )
        self.notes["settings"] = settings
        self.save()

    def save(self):
        """Write the record to WORK/stages.json."""
        write_atomically(self.path, lambda file: file.write(json.dumps(self.notes, indent=1).encode()))

    def finish(self, name: str):
        """Record that a stage is finished."""
        if not self.options.dry_run:
            self._stage(name)["done"] = True
            self.save()

    def _stage(self, name):
        return self.notes["stages"].setdefault(name, {"done": False, "seconds": 0.0, "calls": 0, "commands": []})

    def command(self, stage: str, *arguments, limit: float | None = None, may_fail: bool = False) -> int:
        """Run Python with these arguments, print and record the command, and return its exit code.

        limit: minutes after which the command is stopped, with code 124. Raises Unfinished if no time is left or the code
        is 3, and MinihireError for any other code except 0, unless may_fail is true.
        """
        words = [str(word) for word in arguments]
        line = shlex.join(["python", *words])
        if self.options.dry_run:
            print(f"{stage}: {line}")
            return 0
        if self.left < MIN_MINUTES:
            raise Unfinished("the time is over")
        print(f"── {stage}: {line}", flush=True)
        start, note = time.monotonic(), self._stage(stage)
        try:
            code = subprocess.run([sys.executable, *words], timeout=limit and 60 * limit).returncode
        except subprocess.TimeoutExpired:
            code = 124
        note["seconds"] += time.monotonic() - start
        note["calls"] += 1
        once = shlex.join(["python", *_without_call_flags(words)])
        if once not in note["commands"]:
            note["commands"].append(once)
        self.save()
        if code == 3:
            raise Unfinished("the time is over")
        if code and not may_fail:
            self.failed = True
            raise MinihireError(f"a command ended with code {code}: {line}")
        return code

    def run(self, stage: str, *more):
        """Run `minihire run` with output in WORK/run for the time left. An existing run resumes."""
        o = self.options
        if o.data_dir is None and preset(o.preset).data != "shapes":
            raise MinihireError(f"{stage} needs --data-dir DIR, the folder with the data set's files")
        place = ["--preset", o.preset, *(["--data-dir", o.data_dir] if o.data_dir else [])]
        machine = ["--backend", "torch", "--device", o.device, "--precision", o.precision]
        resume = ["--resume"] if (o.work / "run" / "results.json").exists() else []
        limit = ["--max-minutes", f"{self.left - 0.2:.2f}"]
        self.command(
            stage,
            "-m",
            "minihire",
            "run",
            *place,
            "--out",
            o.work / "run",
            *resume,
            *machine,
            *self.extra,
            *more,
            *limit,
        )


def read_notes(path: Path) -> dict:
    """The record of all calls. Raises MinihireError if it is damaged."""
    try:
        notes = json.loads(read_text(path))
        if isinstance(notes["stages"], dict) and (notes["settings"] is None or isinstance(notes["settings"], dict)):
            return notes
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise MinihireError(f"{path} is damaged: delete it, and every stage is checked again; finished networks are kept")


def _without_call_flags(words):
    """The command without the flags that differ between calls: --resume and --max-minutes."""
    words = [word for word in words if word != "--resume"]
    return words[: words.index("--max-minutes")] if "--max-minutes" in words else words


def check(job: Job) -> None:
    """Compare the device with the reference, then run the tests if pytest is installed."""
    o = job.options
    job.command("check", "-m", "benchmarks.gpu_jobs.parity", "--device", o.device, "--json", o.work / "check.json")
    if importlib.util.find_spec("pytest") is None:
        print("check: pytest is not installed here, so the tests are skipped; the comparison above does not need it")
        return
    tests = TESTS if o.tests is None else o.tests
    limit = min(TEST_MINUTES, max(job.left - MIN_MINUTES, 0.1))
    if tests:
        code = job.command("check", "-m", "pytest", "-q", "-x", *tests, limit=limit, may_fail=True)
        if o.dry_run:
            return
        print(f"check: the tests ended with code {code}{' (the time was over)' * (code == 124)}", flush=True)


def benchmark(job: Job) -> None:
    """Run benchmarks.gpu, with whole epochs if the data set is CIFAR-10."""
    o = job.options
    data = ["--data-dir", o.data_dir] if o.data_dir and preset(o.preset).data == "cifar10" else []
    quick = ["--quick"] if o.device == "cpu" else []
    limit = f"{min(o.benchmark_minutes, max(job.left - 1, 0.1)):.2f}"
    job.command(
        "benchmark", "-m", "benchmarks.gpu", "--device", o.device, "--minutes", limit, "--json", o.work / "gpu.json",
        *data, *quick,
    )  # fmt: skip


def train(job: Job) -> None:
    """Seed 0: ANN, conversion, traditional training and HIRE, attacked white box."""
    job.run("train", "--methods", FIRST, "--no-black-box")


def second(job: Job) -> None:
    """The same with seed 1, and black-box attacks, which need both seeds."""
    job.run("second", "--methods", FIRST, "--black-box")


def more(job: Job) -> None:
    """Control and Gaussian noise training with both seeds."""
    job.run("more", "--methods", ALL, "--black-box")


def other(job: Job) -> None:
    """Attack the networks of seed 1: white box, and black box with images crafted on the networks of seed 0."""
    o, models = job.options, job.options.work / "run" / "models"
    machine = ["--backend", "torch", "--device", o.device, "--precision", o.precision]
    for name in ("ann", *ALL.split(",")):
        for access, source in (("white_box", []), ("black_box", ["--source", models / f"{name}.npz"])):
            path = o.work / "attacks" / f"{name}-{access}.json"
            if path.exists() or not (job.options.dry_run or (models / "second" / f"{name}.npz").exists()):
                continue
            data = ["--data-dir", o.data_dir] if o.data_dir else []
            job.command(
                "other",
                "-m",
                "minihire",
                "attack",
                models / "second" / f"{name}.npz",
                *source,
                *data,
                *machine,
                "--json",
                path,
                "--max-minutes",
                f"{max(job.left - 0.2, 0.1):.2f}",
            )


def gather(job: Job) -> None:
    """Write results, figures and the Markdown page into one small folder."""
    out = job.options.out or job.options.work / "collected"
    if job.options.dry_run:
        print(f"collect: {job.options.work} → {out}")
        return
    for path in collect(job.options.work, out):
        print(f"collect: {path}, {path.stat().st_size / 1024:,.0f} KiB")


STAGES = {
    "check": check,
    "benchmark": benchmark,
    "train": train,
    "second": second,
    "more": more,
    "other": other,
    "collect": gather,
}
