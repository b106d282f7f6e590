"""Artefacts appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_svm.artefacts.files import (
    atomic_path,
    check_writable,
    create_h5,
    file_name,
    fingerprint,
    open_h5,
    read_settings,
    reading_unsealed,
    write_text,
)
from rcnn_svm.errors import InputError


def test_settings_come_back(tmp_path):
    settings = {"b": [1, 2.5, None], "a": {"nested": True}}
    with create_h5(tmp_path / "x.h5", "toy", 3, settings) as handle:
        handle["data"] = np.arange(5)
    with open_h5(tmp_path / "x.h5", "toy", 3) as handle:
        assert read_settings(handle) == settings
        assert handle.attrs["fingerprint"] == fingerprint(settings)
        assert handle["data"][...].tolist() == [0, 1, 2, 3, 4]


def test_fingerprint_ignores_order_and_sees_every_value():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len({fingerprint(x) for x in ({"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1})}) == 5


def test_an_error_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "x"), OSError("Can't write data (error message = 'No space left on device')")],
)
def test_a_full_disk_is_one_sentence(tmp_path, error):
    write_text(tmp_path / "x", "old")
    with pytest.raises(InputError, match=r"cannot write .*x: No space left on device; everything completed"):  # noqa: SIM117
        with atomic_path(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise error
    assert (tmp_path / "x").read_text() == "old"


LIMITED = """
import resource, sys
import numpy as np
from rcnn_svm.errors import InputError
from rcnn_svm.artefacts.files import create_h5
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with create_h5(sys.argv[1], "toy", 1, {}) as handle:
        handle.create_dataset("data", data=np.ones((4 << 20,), np.uint8))
except InputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
def test_a_write_the_system_refuses_leaves_the_old_file(tmp_path):
    """A real failing write inside HDF5, by a limit on the size of files."""
    path = tmp_path / "x.h5"
    with create_h5(path, "toy", 1, {"old": True}):
        pass
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stdout and os.strerror(errno.EFBIG) in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]
    with open_h5(path, "toy", 1) as handle:
        assert read_settings(handle) == {"old": True}


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(InputError, match="does not exist"), open_h5(path, "toy", 1):
        pass
    with create_h5(path, "toy", 1, {}) as handle:
        handle["data"] = np.arange(1000)
    with pytest.raises(InputError, match="holds toy, expected other"), open_h5(path, "other", 1):
        pass
    with pytest.raises(InputError, match="schema 1, this version of rcnn-svm reads 2"), open_h5(path, "toy", 2):
        pass
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated or damaged"), open_h5(path, "toy", 1):
        pass
    path.write_text("hello")
    with (
        pytest.raises(InputError, match=r"x\.h5 is no HDF5 file but something else, expected toy"),
        open_h5(path, "toy", 1),
    ):
        pass
    path.write_bytes(b"")
    with pytest.raises(InputError, match="truncated or damaged"), open_h5(path, "toy", 1):
        pass


def test_an_id_is_the_name_of_a_file_in_its_folder():
    for plain in ("000005", "photo (1)", "鳥.new", "a b", ".hidden"):
        assert file_name(plain) == plain
    assert file_name("sub/cat") == "sub%2Fcat" and file_name("..") == "%2E%2E"


@given(st.text() | st.sampled_from(["..", ".", "", "../../etc/x", "/etc/x", "..\\x", "a/b", "a\\b", "x" * 250]))
def test_no_id_names_another_folder(name):
    found = file_name(name)
    assert not {"/", "\\", "\0"} & set(found) and found not in ("", ".", "..")
    assert len(f"comp4_det_test_{found}.txt".encode()) <= 200


def test_different_ids_have_different_names():
    names = ["a/b", "a-b", "a\\b", "a//b", "..", ".", "", "../", *("x" * n for n in range(95, 120))]
    assert len({file_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["a", "a/model.h5", "x" * 300, "file/model.h5"])
def test_a_place_that_no_file_can_have_is_told_before_the_work(tmp_path, name):
    """Links that lead to each other were a RuntimeError."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "model.h5")
    with pytest.raises(InputError, match=r"cannot write .*; choose another place"):
        check_writable(tmp_path / name)


def test_what_an_edited_file_makes_fail_is_told_of_the_file_and_a_fault_of_the_program_is_not(tmp_path):
    for name, sealed in (("whole.h5", True), ("edited.h5", False)):
        with create_h5(tmp_path / name, "toy", 3, {}) as handle:
            handle["rows"] = np.arange(5)
        if not sealed:
            with h5py.File(tmp_path / name, "r+") as handle:
                del handle.attrs["content"]
        with pytest.raises(IndexError if sealed else InputError) as caught, reading_unsealed(tmp_path / name):
            [][3]
        assert sealed or "edited.h5 was changed by another program (IndexError" in str(caught.value)
