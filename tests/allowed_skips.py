"""Fails a session of the continuous integration in which a test was skipped unexpectedly. conftest.py imports the hooks.

.ci/run installs what the tests need and sets MINIHIRE_CI=1. A skip then needs a reason of ALLOWED. Elsewhere every skip is
allowed.
"""

import os

import pytest

ALLOWED = (
    # hardware and systems
    *(
        "no GPU",
        "pixels of a GPU are not read",
        "the processor has no AVX2",
        "x86 processors have the control register",
    ),
    *("the processor cannot take subnormal numbers as zeros", "needs Linux", "needs SIGKILL and two cores"),
    *(
        "needs flock",
        "needs fork",
        "needs FIFOs",
        "needs names of any bytes",
        "needs /proc",
        "needs /dev/full",
        "needs bash",
    ),
    *("needs a POSIX shell", "POSIX signals", "POSIX permissions", "Windows allows no such folder names"),
    *("an administrator may write anywhere", "mounting a file system in memory needs Linux and root"),
    *("this system cannot start a new peak of memory", "only Linux can start a new peak"),
    # programs that no package of .ci/run installs
    *("there is no Chromium here", "Chromium did not answer here", "no Chromium on the path"),
    "there is no C++ compiler",
    *("could not import 'triton'", "this Numba has no "),
    *("could not import 'spyx'", "spyx is not installed", "jax is not installed"),
    # data that .ci/run has only beside the project's checkout
    *("MINIHIRE_CIFAR10 is not set", "MINIHIRE_CIFAR100 is not set"),
    # cases that do not exist
    "an ANN has no HIRE batch",
)
unexpected: dict[str, str] = {}  # reason → the first test that was skipped for it


def watched(config) -> bool:
    """Whether this process decides about the session: not one of pytest-xdist's workers, which report to it."""
    return os.environ.get("MINIHIRE_CI") == "1" and not hasattr(config, "workerinput")


def note(report):
    """Note a skip whose reason is not in ALLOWED."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED):
            unexpected.setdefault(reason.removeprefix("Skipped: "), report.nodeid)


def pytest_runtest_logreport(report):
    """Called for each test."""
    note(report)


def pytest_collectreport(report):
    """Called for each module, which may skip all of its tests."""
    note(report)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """Change the exit code."""
    if unexpected and watched(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """Print one line for each unexpected reason."""
    for reason, test in unexpected.items() if watched(config) else ():
        terminalreporter.write_line(
            f"MINIHIRE_CI: {test} was skipped ({reason}): install what it needs in .ci/run, or add the reason to "
            "tests/allowed_skips.py",
            red=True,
        )
