"""An HDF5 file is read alone: none that names other files, and no array larger than what is stored of it."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.files import create_h5, open_h5
from rcnn_svm.errors import InputError
from rcnn_svm.hdf5 import open_hdf5
from rcnn_svm.matlab import read_mat_arrays
from rcnn_svm.proposals.precomputed import load_girshick_mat
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.reports.inspection import inspect_artefact


def external_storage(group, name, other):
    group.create_dataset(name, (2,), "f4", external=[(str(other), 0, 8)])


def external_link(group, name, other):
    group[name] = h5py.ExternalLink(str(other), "/")


def virtual_dataset(group, name, other):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "x", (2,))
    group.create_virtual_dataset(name, layout)


ELSEWHERE = {"external storage": external_storage, "external link": external_link, "virtual dataset": virtual_dataset}


@pytest.fixture(params=ELSEWHERE)
def elsewhere(request, tmp_path):
    """How a file names others, and a function that makes an array of a group do so."""
    (tmp_path / "secret").write_bytes(b"password")
    return request.param, lambda group, name: ELSEWHERE[request.param](group, name, tmp_path / "secret")


def test_what_is_stored_in_the_file_is_opened(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["group/plain"] = np.arange(3)
        handle.create_dataset("group/zeros", data=np.zeros((3000, 3000)), compression=9)
        handle["same"] = h5py.SoftLink("/group/plain")
    with open_hdf5(tmp_path / "x.h5") as handle:
        assert handle["same"][()].tolist() == [0, 1, 2] and not handle["group/zeros"][()].any()


def test_no_file_of_ours_reads_another(tmp_path, elsewhere):
    how, add = elsewhere
    with create_h5(tmp_path / "x.h5", "proposals", 1, {}) as handle:
        add(handle.create_group("deep/er"), "boxes")
    for read in (ProposalSet.load, inspect_artefact):
        with pytest.raises(InputError, match=rf"x\.h5 is refused: /?deep/er/boxes is an? ?{how}|external storage"):
            read(tmp_path / "x.h5")


def test_no_matlab_file_reads_another(tmp_path, elsewhere):
    """The bytes of the other file appeared in the message."""
    how, add = elsewhere
    with h5py.File(tmp_path / "x.mat", "w") as handle:
        for name in ("gt", "images", "boxes"):
            add(handle, name)
    for read in (lambda path: read_mat_arrays(path, ["gt"]), load_girshick_mat):
        with pytest.raises(InputError, match=rf"x\.mat is refused: .*{how}, so bytes of other files") as caught:
            read(tmp_path / "x.mat")
        assert "password" not in str(caught.value)


def test_a_cell_without_a_name_reads_no_other_file(tmp_path):
    """A reference leads to what no link leads to."""
    (tmp_path / "secret").write_bytes(b"password")
    with h5py.File(tmp_path / "x.mat", "w") as handle:
        external_storage(handle, "hidden", tmp_path / "secret")
        handle["kept"] = handle["hidden"]
        cells = np.array([[handle["hidden"].ref]], dtype=h5py.ref_dtype)
        for name in ("boxes", "images"):
            handle.create_dataset(name, data=cells, dtype=h5py.ref_dtype)
    with pytest.raises(InputError, match="external storage, so bytes"):
        load_girshick_mat(tmp_path / "x.mat")


def test_ten_kilobytes_do_not_take_three_gigabytes(tmp_path):
    with create_h5(tmp_path / "x.h5", "proposals", 1, {}) as handle:
        handle.create_dataset("boxes", (200_000_000, 4), "f4", chunks=(1000, 4), compression=9)
    assert (tmp_path / "x.h5").stat().st_size < 10_000
    for read in (ProposalSet.load, inspect_artefact):
        with pytest.raises(InputError, match=r"boxes would take 3,200,000,000 bytes, of which 0 are in the file"):
            read(tmp_path / "x.h5")


def test_an_empty_matrix_of_matlab_is_empty(tmp_path):
    with h5py.File(tmp_path / "x.mat", "w") as handle:
        handle["gt"] = np.array([100_000, 100_000], np.uint64)
        handle["gt"].attrs["MATLAB_empty"] = np.uint8(1)
    with pytest.raises(InputError, match=r"/gt is marked as empty but of shape \[100000, 100000\]"):
        read_mat_arrays(tmp_path / "x.mat", ["gt"])


def test_other_faults_keep_their_sentences(tmp_path):
    with create_h5(tmp_path / "x.h5", "toy", 1, {}):
        pass
    with pytest.raises(InputError, match="holds toy, expected proposals"), open_h5(tmp_path / "x.h5", "proposals", 1):
        pass


def test_an_attribute_of_a_gigabyte_is_not_read(tmp_path):
    """It took 5.2 GB. Here nothing is behind the gigabyte, which costs no disk and is as large for who asks."""
    with create_h5(tmp_path / "x.h5", "proposals", 1, {}) as handle:
        handle["boxes"] = np.zeros((1000, 4))
    with open_hdf5(tmp_path / "x.h5"):
        pass
    os.truncate(tmp_path / "x.h5", 1 << 30)
    with pytest.raises(InputError, match=r"x\.h5 is refused: 1,073,\d+,\d+ bytes of it are no arrays"):
        open_hdf5(tmp_path / "x.h5")


def test_arrays_that_are_zeros_do_not_fill_the_memory(tmp_path, monkeypatch):
    """Three megabytes took three gigabytes: deflate alone makes a thousandth of zeros."""
    with create_h5(tmp_path / "x.h5", "proposals", 1, {}) as handle:
        handle.create_dataset("boxes", data=np.zeros((250_000, 4)), chunks=(1000, 4), compression=9)
    with open_hdf5(tmp_path / "x.h5"):
        pass
    monkeypatch.setattr("rcnn_svm.guarded.UNPACKED", 1 << 20)
    monkeypatch.setattr("rcnn_svm.guarded.UNPACKED_RATIO", 5)
    for read in (ProposalSet.load, inspect_artefact):
        with pytest.raises(InputError, match=r"x\.h5 is refused: its arrays would take 8,000,000 bytes, the file has"):
            read(tmp_path / "x.h5")
