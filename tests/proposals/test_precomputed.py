from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest
import scipy.io

from rcnn_svm.errors import InputError
from rcnn_svm.proposals.precomputed import import_proposals, load_girshick_mat
from rcnn_svm.proposals.store import ProposalSet

# Images of 40 x 50 and 30 x 20 (height x width) and an empty cell; MATLAB's [y1 x1 y2 x2], counted from 1.
SIZES = [(40, 50), (30, 20), (10, 10)]
IDS = ["000", "001", "002"]
CELLS = [np.array([[1, 1, 40, 50], [3, 7, 11, 12]]), np.array([[30, 1, 30, 20]]), np.zeros((0, 4))]
EXPECTED = [[[0, 0, 49, 39], [6, 2, 11, 10]], [[0, 29, 19, 29]], []]


def cell(values):
    array = np.empty((1, len(values)), object)
    array[0] = values
    return array


def write_v5(path, boxes=CELLS, ids=IDS, dtype=np.float64):
    images = np.empty((len(ids), 1), object)
    images[:, 0] = ids
    boxes = cell([box.astype(dtype) for box in boxes])
    scipy.io.savemat(path, {"boxes": boxes, "images": images}, do_compression=True)


def write_v73(path, boxes=CELLS, ids=IDS, dtype=np.float64):
    """As MATLAB does: 512 bytes of text before the HDF5, axes reversed, cells of references, text as uint16."""
    with h5py.File(path, "w", userblock_size=512) as handle:
        store = handle.create_group("#refs#")

        def put(name, array, matlab_class):
            if array.size:
                item = store.create_dataset(name, data=array.T)
            else:
                item = store.create_dataset(name, data=np.array(array.shape, np.uint64))
                item.attrs["MATLAB_empty"] = np.uint8(1)
            item.attrs["MATLAB_class"] = np.bytes_(matlab_class)
            return item.ref

        cells = [put(f"b{i}", box.astype(dtype), "double") for i, box in enumerate(boxes)]
        names = [put(f"i{i}", np.array([list(map(ord, name))], np.uint16), "char") for i, name in enumerate(ids)]
        handle.create_dataset("boxes", data=np.array([cells], dtype=h5py.ref_dtype).T, dtype=h5py.ref_dtype)
        handle.create_dataset("images", data=np.array([names], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
        for name in ("boxes", "images"):
            handle[name].attrs["MATLAB_class"] = np.bytes_("cell")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    with open(path, "r+b") as stream:
        stream.write(header)


WRITERS = [write_v5, write_v73]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16])
def test_both_formats_become_x1_y1_x2_y2_from_0(tmp_path, write, dtype):
    write(tmp_path / "v.mat", dtype=dtype)
    proposals = load_girshick_mat(tmp_path / "v.mat")
    assert proposals.image_ids == tuple(IDS)
    assert [boxes.tolist() for boxes in proposals.boxes] == EXPECTED
    assert proposals.settings["method"] == "precomputed" and proposals.settings["source"] == "v.mat"


def test_the_two_writers_make_the_two_formats(tmp_path):
    write_v5(tmp_path / "5.mat")
    write_v73(tmp_path / "73.mat")
    assert not h5py.is_hdf5(tmp_path / "5.mat") and h5py.is_hdf5(tmp_path / "73.mat")
    with pytest.raises(NotImplementedError):
        scipy.io.loadmat(tmp_path / "73.mat")


@pytest.mark.parametrize("write", WRITERS)
def test_import_follows_the_database(tmp_path, make_database, write):
    database = make_database(SIZES).subset(["001", "000"])
    write(tmp_path / "v.mat")
    proposals = import_proposals(tmp_path / "v.mat", database, max_boxes=1)
    assert proposals.image_ids == ("001", "000")
    assert [boxes.tolist() for boxes in proposals.boxes] == [EXPECTED[1], EXPECTED[0][:1]]
    assert proposals.settings["database"] == database.name and proposals.settings["max_boxes"] == 1


def test_our_own_file_keeps_its_settings(tmp_path, make_database):
    ProposalSet(IDS, EXPECTED, {"method": "fast", "max_boxes": 2, "database": "old"}).save(tmp_path / "p.h5")
    proposals = import_proposals(tmp_path / "p.h5", make_database(SIZES))
    assert [boxes.tolist() for boxes in proposals.boxes] == EXPECTED
    digest = proposals.settings.pop("sha256")
    assert digest == hashlib.sha256((tmp_path / "p.h5").read_bytes()).hexdigest()
    assert proposals.settings == {"method": "fast", "max_boxes": 2, "database": "toys"}


@pytest.mark.parametrize("write", WRITERS)
def test_image_without_boxes_in_the_file_is_named(tmp_path, make_database, write):
    write(tmp_path / "v.mat", boxes=CELLS[:1], ids=IDS[:1])
    with pytest.raises(InputError, match=r"v\.mat has no proposals for 2 of 3 images.*first is 001"):
        import_proposals(tmp_path / "v.mat", make_database(SIZES))


def test_wrong_order_of_coordinates_is_noticed(tmp_path, make_database):
    write_v5(tmp_path / "v.mat", boxes=[CELLS[0][:, [1, 0, 3, 2]], *CELLS[1:]])
    with pytest.raises(InputError, match=r"proposal 0 of image 000.*outside the 50 x 40 image; check the order"):
        import_proposals(tmp_path / "v.mat", make_database(SIZES))


def test_boxes_a_fraction_beyond_the_border_are_cut(tmp_path, make_database):
    write_v5(tmp_path / "v.mat", boxes=[np.array([[0.5, 1, 40.7, 50]]), *CELLS[1:]])
    proposals = import_proposals(tmp_path / "v.mat", make_database(SIZES))
    assert proposals.boxes[0].tolist() == [[0, 0, 49, 39]]


def test_other_contents_are_refused(tmp_path, make_database):
    path = tmp_path / "v.mat"
    with pytest.raises(InputError, match="does not exist"):
        import_proposals(path, make_database(SIZES))
    scipy.io.savemat(path, {"all_boxes": cell(CELLS)})
    with pytest.raises(InputError, match="its variables are all_boxes"):
        load_girshick_mat(path)
    write_v5(path, boxes=[CELLS[0][:, :3], *CELLS[1:]])
    with pytest.raises(InputError, match="boxes of image 000 are 2 x 3 numbers"):
        load_girshick_mat(path)
    write_v5(path, boxes=[np.array([[5, 5, np.nan, 9]]), *CELLS[1:]])
    with pytest.raises(InputError, match=r"v\.mat: image 000: proposal 0"):
        load_girshick_mat(path)
    write_v5(path, ids=IDS[:2])
    with pytest.raises(InputError, match="boxes of 3 images but 2 image ids"):
        load_girshick_mat(path)
    path.write_text("no such format")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        load_girshick_mat(path)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.05])
def test_truncated_files_are_refused(tmp_path, make_database, write, share):
    path = tmp_path / "v.mat"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"v\.mat"):
        import_proposals(path, make_database(SIZES))
