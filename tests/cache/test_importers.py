"""Girshick's per-image caches become ours, whichever MATLAB format they are in."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cache.importers import import_girshick_cache
from rcnn_svm.errors import InputError


def image_variables(index: int, count: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index)
    corner = rng.integers(1, 50, (count, 2))
    gt = np.arange(count) < 1
    overlap = rng.random((count, 2), dtype=np.float32)
    overlap[gt, 1] = 1
    return {
        "gt": gt.reshape(-1, 1),
        "overlap": overlap,
        "boxes": np.concatenate([corner, corner + rng.integers(0, 40, (count, 2))], axis=1).astype(np.float32),
        "feat": rng.standard_normal((count, 5), dtype=np.float32),
        "class": (gt * 2).astype(np.uint8).reshape(-1, 1),
    }


def save_v73(path, variables) -> None:
    """MATLAB's version 7.3: HDF5 behind a 512-byte header, axes reversed, empty arrays as their shape."""
    with h5py.File(path, "w", userblock_size=512) as handle:
        for name, array in variables.items():
            array = array.astype(np.uint8) if array.dtype == bool else array
            if array.size:
                handle[name] = array.T
            else:
                handle[name] = np.array(array.shape, np.uint64)
                handle[name].attrs["MATLAB_empty"] = np.uint8(1)
    with open(path, "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))


SAVE = {"v5": scipy.io.savemat, "v7.3": save_v73}


def test_one_image_by_hand(tmp_path):
    boxes = np.array([[1, 1, 10, 20], [3, 4, 5, 6]], np.float32)
    variables = {"gt": [[1], [0]], "class": [[2], [0]], "overlap": [[0.0, 1.0], [0.5, 0.0]], "boxes": boxes}
    (tmp_path / "mat").mkdir()
    scipy.io.savemat(tmp_path / "mat/a.mat", {**variables, "feat": np.array([[1, 2], [3, 4]], np.float32)})
    import_girshick_cache(tmp_path / "mat", tmp_path / "cache", classes=("cat", "dog"))
    regions = FeatureCache.open(tmp_path / "cache").regions(0)
    assert (regions.gt.tolist(), regions.label.tolist()) == ([True, False], [2, 0])
    assert regions.boxes.tolist() == [[0, 0, 9, 19], [2, 3, 4, 5]]
    assert (regions.overlap.tolist(), regions.features.tolist()) == ([[0, 1], [0.5, 0]], [[1, 2], [3, 4]])


@pytest.mark.parametrize("version", SAVE)
def test_import_keeps_rows_and_makes_boxes_zero_based(tmp_path, version):
    source = tmp_path / "mat"
    source.mkdir()
    images = [image_variables(0), image_variables(1, 9), image_variables(2, 0)]
    for index, variables in enumerate(images):
        SAVE[version](source / f"{index:06d}.mat", variables)
    import_girshick_cache(source, tmp_path / "cache", classes=("a", "b"), shard_images=2)
    cache = FeatureCache.open(tmp_path / "cache")
    assert cache.image_ids == ("000000", "000001", "000002")
    assert cache.verify() == []
    for index, variables in enumerate(images):
        regions = cache.regions(index)
        np.testing.assert_array_equal(regions.boxes, variables["boxes"] - 1)
        np.testing.assert_array_equal(regions.features, variables["feat"])
        np.testing.assert_array_equal(regions.overlap, variables["overlap"])
        np.testing.assert_array_equal(regions.gt, variables["gt"].ravel())
        np.testing.assert_array_equal(regions.label, variables["class"].ravel())


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        import_girshick_cache(tmp_path / "none", tmp_path / "cache", classes=("a", "b"))
    scipy.io.savemat(tmp_path / "x.mat", image_variables(0))
    with pytest.raises(InputError, match=r"x\.mat: overlap has 2 columns, but 3 classes"):
        import_girshick_cache(tmp_path, tmp_path / "cache", classes=("a", "b", "c"))
    with pytest.raises(InputError, match=r"y\.mat does not exist"):
        import_girshick_cache(tmp_path, tmp_path / "cache", classes=("a", "b"), image_ids=["x", "y"])
    variables = image_variables(0)
    del variables["feat"]
    scipy.io.savemat(tmp_path / "x.mat", variables)
    with pytest.raises(InputError, match=r"x\.mat has no variable 'feat'"):
        import_girshick_cache(tmp_path, tmp_path / "cache", classes=("a", "b"))
    (tmp_path / "x.mat").write_bytes(b"not a mat file at all" * 40)
    with pytest.raises(InputError, match=r"x\.mat is not a readable MATLAB file"):
        import_girshick_cache(tmp_path, tmp_path / "cache", classes=("a", "b"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_a_box_that_no_image_can_have_is_named(tmp_path, value):
    variables = image_variables(0)
    variables["boxes"][2, 1] = value
    scipy.io.savemat(tmp_path / "a.mat", variables)
    with pytest.raises(InputError, match=r"a\.mat: box 2 is \[.*\], expected x1 y1 x2 y2 in pixels"):
        import_girshick_cache(tmp_path, tmp_path / "cache", classes=("cat", "dog"))
