"""Arrays of .npz files are what was saved; what is none, or would fill the memory, is refused in a sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest

from rcnn_svm.artefacts.npz import read_npz
from rcnn_svm.errors import InputError


def saved(save=np.savez, **arrays) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_was_saved(tmp_path, save):
    arrays = {"W": np.arange(6.0).reshape(2, 3), "names": np.array(["cat", "dog"])}
    (tmp_path / "x.npz").write_bytes(saved(save, **arrays))
    for source in (tmp_path / "x.npz", io.BytesIO((tmp_path / "x.npz").read_bytes())):
        found = read_npz(source, "x.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_zeros_do_not_fill_the_memory(monkeypatch):
    content = saved(np.savez_compressed, W=np.zeros(1_000_000))
    assert len(content) < 10_000 and read_npz(io.BytesIO(content), "x").keys() == {"W"}
    monkeypatch.setattr("rcnn_svm.guarded.UNPACKED", 1 << 20)
    with pytest.raises(InputError, match="x is refused: its arrays would take 8,000,128 bytes, the file has"):
        read_npz(io.BytesIO(content), "x")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-30], lambda data: b"", lambda data: data[:60] + b"x" + data[61:]]
)
def test_damage_is_refused(damage):
    with pytest.raises(InputError, match=r"x is not a readable \.npz file"):
        read_npz(io.BytesIO(damage(saved(W=np.arange(50)))), "x")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "x.npz", "x.npz")
