"""tests/allowed_skips.py: an unexpected skip fails a session of the continuous integration, also in pytest-xdist's workers."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPS = {
    "a test": "import pytest\ndef test_x(): pytest.skip('{reason}')\n",
    "a mark": "import pytest\n@pytest.mark.skipif(True, reason='{reason}')\ndef test_x(): pass\n",
    "a module": "import pytest\npytest.skip('{reason}', allow_module_level=True)\n",
}
WORKERS = [
    [],
    pytest.param(["-n", "1"], marks=pytest.mark.skipif(not find_spec("xdist"), reason="xdist is not installed")),
]


def session(folder, where, reason, ci, workers):
    """Run pytest on a test that is skipped and on one that passes."""
    (folder / "test_passing.py").write_text("def test_y(): pass\n")
    (folder / "test_x.py").write_text(SKIPS[where].format(reason=reason))
    arguments = ["-p", "allowed_skips", "-p", "no:cacheprovider", "-q", *workers, str(folder)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(TESTS), "MINIHIRE_CI": ci}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS, ids=["one process", "workers"])
@pytest.mark.parametrize("where", SKIPS)
def test_an_unexpected_skip_fails_the_session(tmp_path, where, workers):
    done = session(tmp_path, where, "the moon is full", "1", workers)
    assert done.returncode == 1
    assert "test_x.py" in done.stdout and "was skipped (the moon is full): install what it needs" in done.stdout


@pytest.mark.slow
def test_an_allowed_skip_and_one_elsewhere_do_not_fail_the_session(tmp_path):
    assert session(tmp_path, "a test", "no GPU", "1", []).returncode == 0
    assert session(tmp_path, "a test", "the moon is full", "", []).returncode == 0
