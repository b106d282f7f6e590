"""HDF5 files on file systems that know no locks, as many network file systems are."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rcnn_svm.hdf5 import open_hdf5

NO_LOCKS = f"""
#define _GNU_SOURCE
#include <errno.h>
int flock(int file, int operation) {{ errno = {errno.ENOLCK}; return -1; }}
"""
# An artefact is written and read as every stage does.
CODE = """
import sys
from rcnn_svm.artefacts.files import create_h5, open_h5
with create_h5(sys.argv[1], "kind", 1, {}) as handle:
    handle["numbers"] = [1, 2, 3]
with open_h5(sys.argv[1], "kind", 1) as handle:
    print(*handle["numbers"][()])
"""


def test_numbers_are_read_as_written(tmp_path):
    with open_hdf5(tmp_path / "x.h5", "w") as handle:
        handle["numbers"] = [1, 2, 3]
    with open_hdf5(tmp_path / "x.h5") as handle:
        assert handle["numbers"][()].tolist() == [1, 2, 3]


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and cc")
def test_a_file_system_without_locks_is_as_good(tmp_path):
    (tmp_path / "no_locks.c").write_text(NO_LOCKS)
    library = tmp_path / "no_locks.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "no_locks.c"], check=True)
    variables = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, "-c", CODE, str(tmp_path / "x.h5")]
    done = subprocess.run(argv, capture_output=True, text=True, env=variables)
    assert (done.returncode, done.stdout) == (0, "1 2 3\n"), done.stderr


def test_no_other_place_opens_hdf5_files():
    package = Path(__file__).parents[1] / "rcnn_svm"
    assert [path.name for path in package.rglob("*.py") if "h5py.File(" in path.read_text(encoding="utf-8")] == [
        "hdf5.py"
    ]
