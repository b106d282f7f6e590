"""No artefact is opened with other bytes than were written, whatever its kind."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.artefacts.files import CHECKSUM, CHECKSUM_MARK, CHUNK, create_h5, open_h5
from rcnn_svm.artefacts.model_file import load_model
from rcnn_svm.detection import BoxRegressor, Detections, Detector
from rcnn_svm.errors import InputError
from rcnn_svm.fast_rcnn import RoIHead
from rcnn_svm.proposals import ProposalSet


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8


MODEL = {"classes": ("cat", "dog"), "feat_norm_mean": 20.0, "feature_settings": {}, "training": {"identity": {}}}
FOUND = Detections(("a",), ("cat", "dog"), [0, 0], [0, 1], [[0, 0, 9, 9], [1, 1, 8, 8]], [0.5, 0.25])
KINDS = {
    "detector": (Detector(**MODEL, W=numbers(3, 2), B=numbers(2)).save, load_model),
    "box regressor": (
        BoxRegressor(**MODEL, mu=numbers(2, 4), T=numbers(2, 4, 4), T_inv=numbers(2, 4, 4), Beta=numbers(2, 4, 4)).save,
        load_model,
    ),
    "RoI head": (
        RoIHead(
            **MODEL,
            W=numbers(3, 3),
            B=numbers(3),
            box_W=numbers(3, 12),
            box_B=numbers(12),
            hidden_W=numbers(3, 0),
            hidden_B=numbers(0),
            box_stds=(0.1, 0.1, 0.2, 0.2),
        ).save,
        load_model,
    ),
    "detections": (FOUND.save, Detections.load),
    "proposals": (ProposalSet(["a"], [[[0, 0, 9, 9], [1, 2, 3, 4]]], {"method": "fast"}).save, ProposalSet.load),
    "checkpoint": (
        lambda path: Checkpoint(path, {"seed": 1}).save(7, {"class/0/w": numbers(9)}),
        lambda path: Checkpoint(path, {"seed": 1}).load(),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_anywhere_is_one_sentence(tmp_path, kind):
    save, load = KINDS[kind]
    path = tmp_path / "x.h5"
    save(path)
    load(path)
    whole = path.read_bytes()
    mark = whole.index(CHECKSUM_MARK)
    # Some of everywhere, the checksum itself among them.
    for place in [*range(0, len(whole), len(whole) // 150), mark, mark + len(CHECKSUM_MARK), mark + 90]:
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"x\.h5 is damaged|x\.h5 is no"):
            load(path)
    path.write_bytes(whole)
    load(path)


def test_the_checksum_is_an_attribute_that_other_readers_see(tmp_path):
    path = tmp_path / "x.h5"
    with create_h5(path, "toy", 1, {}) as handle:
        handle["data"] = np.arange(5)
    with h5py.File(path) as handle:
        assert bytes(handle.attrs[CHECKSUM]).startswith(CHECKSUM_MARK)
    with open_h5(path, "toy", 1) as handle:
        assert handle["data"][...].tolist() == [0, 1, 2, 3, 4]


def test_a_file_without_a_checksum_opens(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:  # as earlier versions wrote
        handle.attrs.update({"kind": "toy", "schema": 1})
        handle["data"] = np.arange(5)
    with open_h5(path, "toy", 1) as handle:
        assert CHECKSUM not in handle.attrs and handle["data"][...].tolist() == [0, 1, 2, 3, 4]


def test_a_checksum_is_found_wherever_another_program_put_it(tmp_path):
    path = tmp_path / "x.h5"
    with create_h5(path, "toy", 1, {}) as handle:
        handle["data"] = np.arange(200_000)
    with h5py.File(path, "r+") as handle:
        value = bytes(handle.attrs[CHECKSUM])
        del handle.attrs[CHECKSUM]
    path.write_bytes(path.read_bytes().replace(CHECKSUM_MARK, bytes(len(CHECKSUM_MARK))))
    with h5py.File(path, "r+") as handle:
        for number in range(40):
            handle.attrs[f"more {number}"] = np.bytes_(b"x" * 2000)
        handle.attrs[CHECKSUM] = np.bytes_(value)
    content = bytearray(path.read_bytes())
    place = content.index(CHECKSUM_MARK) + len(CHECKSUM_MARK)
    assert place > CHUNK
    with pytest.raises(InputError, match="its bytes are not those"), open_h5(path, "toy", 1):
        pass
    digest = hashlib.sha256(content[:place] + content[place + 64 :]).hexdigest().encode()
    content[place : place + 64] = digest
    path.write_bytes(content)
    with open_h5(path, "toy", 1) as handle:
        assert len(handle["data"]) == 200_000
