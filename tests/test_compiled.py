"""Compiled loops keep their machine code where there is a place for it, and work where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A module of a user's installation, and what he sees of it: 3.
MODULE = "from rcnn_svm.compiled import compiled\n\n@compiled()\ndef add(a, b):\n    return a + b\n"
RUN = "import added; print(added.add(1, 2))"


def run(folder: Path, **environment: str) -> str:
    """Import `added` in a fresh process and return what it prints."""
    variables = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{Path.cwd()}", **environment}
    variables.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, env=variables, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def package(tmp_path):
    (tmp_path / "added.py").write_text(MODULE)
    return tmp_path


def kept(package: Path) -> list[Path]:
    return sorted((package / "__pycache__").glob("added.add*.nb*"))


def test_machine_code_is_kept_beside_the_source(package):
    assert run(package) == run(package) == "3\n"
    assert [path.suffix for path in kept(package)] == [".nbc", ".nbi"]


def test_without_a_folder_that_can_be_written_a_function_is_compiled_anew(package):
    # A container with --user: the package is not writable (here, a file is in the cache's place), and there is no HOME.
    (package / "__pycache__").write_text("")
    assert run(package, HOME="/proc/no_home", XDG_CACHE_HOME="/proc/no_home") == "3\n"


@pytest.mark.parametrize("suffix", [".nbc", ".nbi"])
@pytest.mark.parametrize("content", [b"", b"\x80garbage"])
def test_damaged_machine_code_is_not_used(package, suffix, content):
    run(package)
    for path in kept(package):
        if path.suffix == suffix:
            path.write_bytes(content)
    assert run(package) == "3\n"


def test_a_cache_that_cannot_be_written_any_more_is_no_error(package):
    code = "import added, shutil; shutil.rmtree('__pycache__'); open('__pycache__', 'w'); print(added.add(1, 2))"
    variables = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{Path.cwd()}", "PYTHONDONTWRITEBYTECODE": "1"}
    (package / "__pycache__").mkdir()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, cwd=package)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_where_numba_is_not_installed_a_loop_is_python_or_its_twin_in_arrays(package):
    (package / "numba.py").write_text("raise ImportError")
    assert run(package) == "3\n"
    (package / "added.py").write_text(MODULE.replace("compiled()", "compiled(in_arrays=max, fastmath=True)"))
    assert run(package) == "2\n"
