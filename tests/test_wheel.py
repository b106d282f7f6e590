"""The wheel holds all of the package, and says what it is for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools.build_meta import build_wheel; build_wheel('.')"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.Path:
    """A wheel of the package as it is here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "rcnn_svm", folder / "rcnn_svm", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    return zipfile.Path(next(folder.glob("*.whl")))


def test_a_wheel_holds_every_file_of_the_package(wheel):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("rcnn_svm/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in wheel.root.namelist() if name.startswith("rcnn_svm/") and not name.endswith("/")}
    assert found == wanted
    assert {Path(name).suffix for name in found} >= {".py", ".html", ".css", ".js", ".npz", ".csv"}


def test_a_wheel_names_its_license_its_command_and_the_pythons_it_is_for(wheel):
    (info,) = (part for part in wheel.iterdir() if part.name.endswith(".dist-info"))
    assert "rcnn-svm = rcnn_svm.__main__:main" in (info / "entry_points.txt").read_text()
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    assert "License-File: LICENSE" in metadata
    for version in ("3.11", "3.12", "3.13"):
        assert f"Classifier: Programming Language :: Python :: {version}\n" in metadata
