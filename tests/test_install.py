"""Installation: every package is listed, and an editable install works from the clone's parent folder, too."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_an_installed_copy_has_every_package():
    listed = configparser.ConfigParser()
    listed.read(ROOT / "setup.cfg", encoding="utf-8")
    there = sorted(
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("backends", "minihire")
        for path in (ROOT / top).rglob("__init__.py")
    )
    assert sorted(listed["options"]["packages"].split()) == there


@pytest.mark.slow
def test_an_editable_install_works_where_the_clone_s_folder_shadows_the_package(tmp_path):
    """From the parent of a clone called minihire, Python finds that folder first; the package must win."""
    pytest.importorskip("setuptools", minversion="70.1")
    clone, wheels, site = tmp_path / "minihire", tmp_path / "wheels", tmp_path / "site"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        clone.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone)
    for top in ("backends", "minihire"):
        for path in (ROOT / top).rglob("__init__.py"):
            (clone / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, clone / path.relative_to(ROOT))
    build = f"from setuptools import build_meta; build_meta.build_editable({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    code = f"import site; site.addsitedir({str(site)!r}); import minihire; print(minihire.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == clone / "minihire" / "__init__.py"
