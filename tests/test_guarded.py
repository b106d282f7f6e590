"""A child process reads what may end the one that reads it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from rcnn_svm import guarded as guarded_module
from rcnn_svm import hdf5, matlab
from rcnn_svm.artefacts.files import CHECKSUM, CHECKSUM_MARK, create_h5, open_h5
from rcnn_svm.errors import InputError
from rcnn_svm.guarded import guarded
from rcnn_svm.matlab import read_mat_arrays
from tests import misread


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    return tmp_path / "x"


def test_what_the_function_returns_comes_back(path, monkeypatch):
    assert guarded(misread.read, path, 1, "two") == (b"content", (1, "two"))
    monkeypatch.chdir(path.parent)
    assert guarded(misread.read, Path("x")) == (b"content", ())


def test_what_it_raises_comes_back_and_what_it_prints_does_not(path, capfd):
    with pytest.raises(LookupError, match=r"no .*x"):
        guarded(misread.fail, path)
    assert capfd.readouterr() == ("", "")


def test_one_child_serves_all_files(path):
    assert guarded(misread.process, path) == guarded(misread.process, path) != os.getpid()


def test_a_crash_is_one_sentence_and_the_next_file_is_read(path):
    with pytest.raises(InputError, match=r"x is damaged: reading it ended the process .*\(exit code .*again"):
        guarded(misread.crash, path)
    assert guarded(misread.read, path) == (b"content", ())


def test_a_loop_is_one_sentence(path, monkeypatch):
    monkeypatch.setattr(guarded_module, "SECONDS", 0.5)
    with pytest.raises(InputError, match=r"x is damaged: reading it did not end within"):
        guarded(misread.loop, path)
    assert guarded(misread.read, path) == (b"content", ())


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
def test_too_much_memory_is_one_sentence(path):
    with pytest.raises(InputError, match=r"x is damaged: reading it takes more than 1,073,742,174 bytes of memory"):
        guarded(misread.take_memory, path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal to this process alone")
def test_ctrl_c_ends_the_child_that_loops(path):
    child = guarded(misread.process, path)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        guarded(misread.loop, path)
        time.sleep(60)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def without_checksum(path: Path) -> None:
    """Make a file what earlier versions wrote."""
    with h5py.File(path, "r+") as handle:
        del handle.attrs[CHECKSUM]
    path.write_bytes(path.read_bytes().replace(CHECKSUM_MARK, bytes(len(CHECKSUM_MARK))))


def test_an_artefact_without_checksum_is_read_by_the_child_first_once_a_version(tmp_path, monkeypatch):
    path, read = tmp_path / "x.h5", []
    monkeypatch.setattr(hdf5, "guarded", lambda function, path: read.append((function, Path(path))))
    with create_h5(path, "toy", 1, {}) as handle:
        handle["data"] = np.arange(5)
    with open_h5(path, "toy", 1):
        assert not read
    without_checksum(path)
    for _ in range(2):
        with open_h5(path, "toy", 1) as handle:
            assert handle["data"][...].tolist() == [0, 1, 2, 3, 4]
            assert read == [(hdf5.read_all, path)]
    os.utime(path, ns=(0, 0))
    with open_h5(path, "toy", 1):
        assert len(read) == 2


def test_the_child_reads_every_kind_of_data(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["numbers"], handle["text"], handle["group/empty"] = np.arange(9), ["a", "b"], h5py.Empty("f4")
        handle.create_dataset("chunks", data=np.arange(90), chunks=(7,), compression="gzip")
        handle["numbers"].attrs["unit"] = "pixels"
    guarded(hdf5.read_all, tmp_path / "x.h5")
    content = (tmp_path / "x.h5").read_bytes()
    with h5py.File(tmp_path / "x.h5") as handle:
        offset = handle["chunks"].id.get_chunk_info(3).byte_offset
    (tmp_path / "x.h5").write_bytes(content[:offset] + bytes(8) + content[offset + 8 :])
    with pytest.raises(OSError, match="filter"):
        guarded(hdf5.read_all, tmp_path / "x.h5")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_files_are_read_by_the_child_alone(tmp_path, version, monkeypatch):
    path = tmp_path / "x.mat"
    if version == "5":
        scipy.io.savemat(path, {"a": np.eye(2)})
    else:
        with h5py.File(path, "w") as handle:
            handle["a"] = np.eye(2)
    for module in (scipy.io, h5py):
        monkeypatch.setattr(module, "loadmat" if module is scipy.io else "File", None)
    monkeypatch.setattr(matlab, "open_hdf5", None)
    assert read_mat_arrays(path, ["a"])["a"].tolist() == [[1, 0], [0, 1]]
