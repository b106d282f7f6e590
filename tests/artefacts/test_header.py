"""What any artefact says of itself, whatever it is."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest

from rcnn_svm import __version__
from rcnn_svm.artefacts.files import create_h5, fingerprint
from rcnn_svm.artefacts.header import read_arrays, read_header
from rcnn_svm.errors import InputError


@pytest.fixture
def path(tmp_path):
    """A file of a kind that nobody knows, with a part and a history."""
    path = tmp_path / "x.h5"
    with create_h5(path, "toy", 7, {"a": [1, 2]}) as handle:
        handle["W"] = np.zeros((3, 2), np.float32)
        handle.create_dataset("names", data=["cat", "dog"], dtype=h5py.string_dtype())
        handle["history/steps"] = np.arange(4)
        handle.create_group("parts/inner").attrs["kind"] = "box regressor"
        handle["parts/inner/mu"] = np.ones(5)
    return path


def test_everything_it_says(path):
    header = read_header(path)
    assert (header.path, header.kind, header.schema, header.settings) == (path, "toy", 7, {"a": [1, 2]})
    assert header.fingerprint == fingerprint({"a": [1, 2]})
    assert header.provenance["rcnn_svm"] == __version__ and header.num_bytes == path.stat().st_size
    assert header.parts == {"inner": "box regressor"}
    assert header.arrays == {
        "W": ((3, 2), "float32"),
        "names": ((2,), "text"),
        "history/steps": ((4,), "int64"),
        "parts/inner/mu": ((5,), "float64"),
    }


def test_its_arrays(path):
    arrays = read_arrays(path)
    assert {*arrays} == {"W", "names", "history/steps", "parts/inner/mu"}
    assert arrays["names"].tolist() == ["cat", "dog"]
    assert {name: array.tolist() for name, array in read_arrays(path, "history").items()} == {"steps": [0, 1, 2, 3]}
    assert read_arrays(path, "nothing") == {}


def test_what_is_not_ours(tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as handle:
        handle["x"] = 1
    (tmp_path / "text.h5").write_text("boxes of images")
    for name, sentence in (
        ("foreign.h5", "holds something not written by rcnn-svm"),
        ("text.h5", "is no HDF5 file but something else"),
        ("none.h5", "does not exist"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_header(tmp_path / name)


def test_a_file_without_what_made_it_is_damaged(path):
    with h5py.File(path, "r+") as handle:
        del handle.attrs["content"]
        handle.attrs["provenance"] = '{"time": "2026"}'
    with pytest.raises(InputError, match=r"x\.h5 is damaged"):
        read_header(path)


def test_an_error_in_a_part_leaves_hdf5_to_other_threads(path):
    with h5py.File(path, "r+") as handle:
        del handle.attrs["content"], handle["parts/inner"].attrs["kind"]
    with pytest.raises(InputError, match=r"x\.h5 is damaged") as refused:
        read_header(path)
    opened = threading.Event()
    thread = threading.Thread(target=lambda: (h5py.File(path).close(), opened.set()), daemon=True)
    thread.start()
    assert opened.wait(20) and refused.value.__cause__ is not None
