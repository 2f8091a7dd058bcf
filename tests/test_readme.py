"""The README's example runs, as printed."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_python_example_runs_and_reports_three_accuracies():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    assert len(code.strip().splitlines()) <= 25
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^(clean|fgsm|pgd) ([\d.]+)$", done.stdout, re.M))
    assert found.keys() == {"clean", "fgsm", "pgd"}
    assert float(found["clean"]) > float(found["fgsm"]) >= float(found["pgd"]) - 0.05


def test_every_file_in_the_readme_exists():
    links = re.findall(r"\]\(([^)h][^)]*)\)", (ROOT / "README.md").read_text())
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_an_installed_copy_has_every_package():
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg", encoding="utf-8")
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("backends", "minihire")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert {*listed["options"]["packages"].split()} == there
