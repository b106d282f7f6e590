"""The feature cache: what is written is read, whatever stops the writing, and nothing gets mixed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from rcnn_svm.cache import FeatureCache, RegionSet, build_regions, plan_cache
from rcnn_svm.data import Annotation
from rcnn_svm.errors import InputError
from tests.toys import arrays_of, flip, place_of, stored, toy_cache

COUNTS = (10, 0, 7, 33, 0)
DIM = 12


TOY = toy_cache(
    COUNTS,
    classes=("a", "b", "c"),
    features=np.random.default_rng(0).standard_normal((sum(COUNTS), DIM), dtype=np.float32),
    boxes=np.random.default_rng(1).random((sum(COUNTS), 4)),
    difficult=np.isin(np.arange(sum(COUNTS)), [1, 11, 18]),
    image_ids=[f"image{index}" for index in range(5)],
    image_size=[(100 + index, 120) for index in range(5)],
)
REGIONS = [TOY.regions(index) for index in range(5)]


def make_plan(folder, **changes):
    description = {
        "name": "toy",
        "classes": ("a", "b", "c"),
        "image_ids": [region.image_id for region in REGIONS],
        "rows": COUNTS,
        "settings": {"backbone": {"name": "net"}, "crop_size": 64},
        "dim": DIM,
        "shard_images": 2,
        **changes,
    }
    description.setdefault("sources", [f"digest of {image_id}" for image_id in description["image_ids"]])
    return plan_cache(folder, **description)


def write_all(folder, **changes):
    plan = make_plan(folder, **changes)
    for shard in plan.pending():
        plan.write_shard(shard, [REGIONS[i] for i in plan.images_of(shard)])
    return plan


def assert_same(found: RegionSet, expected: RegionSet, atol: float = 0.0) -> None:
    assert (found.image_id, found.image_size) == (expected.image_id, expected.image_size)
    for name in ("boxes", "gt", "label", "difficult", "overlap"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=atol)


def test_three_regions_of_two_images_by_hand():
    label, boxes = [1, 0, 0], np.array([[0, 0, 9, 9], [2, 3, 4, 5], [0, 0, 6, 7]])
    cache = toy_cache([1, 2], classes=("a",), features=np.array([[1, 2], [3, 4], [5, 6]]), label=label, boxes=boxes)
    first, second = cache.regions(0), cache.regions(1)
    assert (first.gt.tolist(), first.label.tolist(), first.features.tolist()) == ([True], [1], [[1, 2]])
    assert (second.boxes.tolist(), second.features.tolist()) == ([[2, 3, 4, 5], [0, 0, 6, 7]], [[3, 4], [5, 6]])
    assert second.image_size == (8, 7), "the extent of its boxes"


def test_from_arrays_takes_lists():
    arrays = {"features": [[1, 2]], "boxes": [[2, 3, 4, 5]], "gt": [True], "label": [1], "overlap": [[1]]}
    cache = FeatureCache.from_arrays(**arrays, image_start=[0, 1], classes=["a"])
    regions = cache.regions(0)
    assert (cache.dim, regions.image_size, regions.features.tolist()) == (2, (6, 5), [[1, 2]])


def test_reads_back_what_was_written(tmp_path):
    write_all(tmp_path / "cache")
    cache = FeatureCache.open(tmp_path / "cache")
    assert (cache.num_images, cache.num_rows, cache.dim) == (5, sum(COUNTS), DIM)
    for index, region in enumerate(REGIONS):
        assert_same(cache.regions(index), region)
    assert cache.verify() == []


def test_half_precision_halves_the_bytes(tmp_path):
    write_all(tmp_path / "half", dtype="float16")
    cache = FeatureCache.open(tmp_path / "half")
    assert cache.dtype == "float16"
    for index, region in enumerate(REGIONS):
        assert cache.regions(index).features.dtype == np.float32
        assert_same(cache.regions(index), region, atol=5e-3)


def test_features_beyond_half_precision_are_refused(tmp_path):
    plan = make_plan(tmp_path / "half", dtype="float16")
    large = dataclasses.replace(REGIONS[0], features=REGIONS[0].features * np.float32(1e6))
    with pytest.raises(InputError, match=r"image0 .* float16 ends at 65504; store them as float32"):
        plan.write_shard(0, [large, REGIONS[1]])
    assert 0 in plan.pending()


def test_features_are_not_read_before_they_are_asked_for(tmp_path):
    plan = write_all(tmp_path / "cache")
    block = FeatureCache.open(tmp_path / "cache").block(0)
    flip(plan.shard_path(0), place_of(plan.shard_path(0), "features"))
    np.testing.assert_array_equal(block.features(slice(1, None)), REGIONS[0].features[1:])
    with pytest.raises(InputError, match=r"shard-00000\.h5 is damaged \(row 0 of its features does not match"):
        block.features()


def test_from_arrays_equals_the_folder(tmp_path):
    write_all(tmp_path / "cache")
    opened = FeatureCache.open(tmp_path / "cache")
    cache = FeatureCache.from_arrays(
        **arrays_of(opened),
        image_start=opened.image_start,
        image_size=np.array([region.image_size for region in REGIONS]),
        classes=opened.classes,
        image_ids=opened.image_ids,
    )
    for index, region in enumerate(REGIONS):
        assert_same(cache.regions(index), region)
    copy = stored(cache, tmp_path / "copy", shard_images=3)
    for index, region in enumerate(REGIONS):
        assert_same(copy.regions(index), region)


@pytest.mark.parametrize("rows", [1, 8, 1000])
def test_blocks_cover_every_row_once_within_the_limit(tmp_path, rows):
    write_all(tmp_path / "cache")
    cache = FeatureCache.open(tmp_path / "cache")
    seen, covered = [], []
    for block in cache.blocks(rows * 4 * DIM):
        seen += block.images
        covered.append(block.features())
        assert len(covered[-1]) <= rows or len(block.images) == 1
    assert seen == list(range(cache.num_images))
    np.testing.assert_array_equal(np.concatenate(covered), np.concatenate([region.features for region in REGIONS]))


def test_resume_writes_only_what_is_missing_or_damaged(tmp_path):
    plan = write_all(tmp_path / "cache")
    before = [plan.shard_path(shard).read_bytes() for shard in range(3)]
    plan.shard_path(0).unlink()
    plan.shard_path(2).write_bytes(before[2][: len(before[2]) // 2])
    again = make_plan(tmp_path / "cache")
    assert again.pending() == [0, 2]
    with pytest.raises(InputError, match="not complete: 1 of 3 shards are missing"):
        FeatureCache.open(tmp_path / "cache")
    write_all(tmp_path / "cache")
    assert plan.shard_path(1).read_bytes() == before[1]
    assert FeatureCache.open(tmp_path / "cache").verify() == []


def test_a_shard_that_somebody_compressed_is_told_in_one_sentence(tmp_path):
    write_all(tmp_path)
    path = tmp_path / "shard-00001.h5"
    FeatureCache.open(tmp_path)  # its layout is known from now on
    with h5py.File(path, "r") as source, h5py.File(tmp_path / "packed", "w") as packed:
        packed.attrs.update(source.attrs)
        for name, dataset in source.items():
            packed.create_dataset(name, data=dataset[()], compression="gzip", dtype=dataset.dtype)
    os.replace(tmp_path / "packed", path)
    with pytest.raises(InputError, match=r"shard-00001\.h5 does not hold its features in one piece"):
        FeatureCache.open(tmp_path)


def test_a_shard_with_other_settings_than_a_shard_has_is_damaged(tmp_path):
    write_all(tmp_path)
    with h5py.File(tmp_path / "shard-00000.h5", "r+") as handle:
        handle.attrs["settings"] = "[]"
    with pytest.raises(InputError, match=r"shard-00000\.h5 is damaged"):
        FeatureCache.open(tmp_path)


def test_a_cache_that_is_removed_or_replaced_while_it_is_made_is_told(tmp_path):
    """Two commands begun at once both found no manifest; the second one's replaced the first's."""
    first = make_plan(tmp_path / "cache")
    (tmp_path / "cache" / "cache.json").unlink()
    with pytest.raises(
        InputError, match=r"cache\.json was removed while the cache was made; run the same command again"
    ):
        first.write_shard(0, [REGIONS[i] for i in first.images_of(0)])
    make_plan(tmp_path / "cache", settings={"backbone": {"name": "other"}})
    with pytest.raises(InputError, match=r"made with other settings \(settings\.backbone\.name: other there, net"):
        first.write_shard(0, [REGIONS[i] for i in first.images_of(0)])
    assert not first.shard_path(0).exists()


@pytest.mark.parametrize(
    ("missing", "told"), [(1, r"is damaged \(.* truncated or"), (500, r"is not a readable HDF5 file \(truncated or")]
)
def test_truncated_shard_is_told_in_one_sentence(tmp_path, missing, told):
    plan = write_all(tmp_path / "cache")
    path = plan.shard_path(1)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(InputError, match=rf"shard-00001\.h5 {told} damaged"):
        FeatureCache.open(tmp_path / "cache")


def test_verify_finds_a_single_flipped_bit(tmp_path):
    plan = write_all(tmp_path / "cache")
    path = plan.shard_path(1)
    content = bytearray(path.read_bytes())
    at = content.find(REGIONS[3].features.tobytes())
    assert at > 0
    content[at + 17] ^= 1
    path.write_bytes(content)
    problems = FeatureCache.open(tmp_path / "cache").verify()
    assert len(problems) == 1 and "shard-00001.h5" in problems[0] and "checksum" in problems[0]


def test_verify_finds_values_that_are_not_finite(tmp_path):
    plan = make_plan(tmp_path / "cache", image_ids=["image0"], rows=[10])
    features = REGIONS[0].features.copy()
    features[4, 2] = np.nan
    bad = dataclasses.replace(REGIONS[0], features=features)
    plan.write_shard(0, [bad])
    assert "1 of 10 feature rows are not finite" in FeatureCache.open(tmp_path / "cache").verify()[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": {"backbone": {"name": "other"}, "crop_size": 64}}, r"settings\.backbone\.name: net there, other"),
        ({"settings": {"backbone": {"name": "net"}, "crop_size": 128}}, r"settings\.crop_size: 64 there, 128 wanted"),
        ({"dtype": "float16"}, "dtype: float32 there, float16 wanted"),
        ({"classes": ("a", "b", "d")}, r"classes\[2\]: c there, d wanted"),
        ({"image_ids": ["x"], "rows": [1]}, "image_ids: 5 there, 1 wanted"),
    ],
)
def test_other_settings_are_refused_and_named(tmp_path, change, told):
    plan = write_all(tmp_path / "cache")
    before = plan.shard_path(0).read_bytes()
    with pytest.raises(InputError, match=told):
        make_plan(tmp_path / "cache", **change)
    assert plan.shard_path(0).read_bytes() == before


def test_shards_of_two_caches_cannot_be_mixed(tmp_path):
    write_all(tmp_path / "one")
    other = write_all(tmp_path / "two", settings={"backbone": {"name": "other"}})
    one = make_plan(tmp_path / "one")
    one.shard_path(1).write_bytes(other.shard_path(1).read_bytes())
    with pytest.raises(InputError, match="cannot be mixed"):
        FeatureCache.open(tmp_path / "one")
    with pytest.raises(InputError, match="cannot be mixed"):
        one.pending()


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 99}', '{"schema": ' + "[" * 100_000])
def test_damaged_manifest(tmp_path, content):
    write_all(tmp_path / "cache")
    (tmp_path / "cache" / "cache.json").write_text(content)
    with pytest.raises(InputError, match=r"cache\.json"):
        FeatureCache.open(tmp_path / "cache")


@pytest.mark.parametrize("change", [{"name": "other"}, {"rows": [{}]}, {"shard_images": 0}, {"dim": "6"}])
def test_a_changed_manifest_is_refused(tmp_path, change):
    write_all(tmp_path / "cache")
    path = tmp_path / "cache" / "cache.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"cache\.json is damaged \(it was changed since it was written\)"):
        FeatureCache.open(tmp_path / "cache")


def test_a_folder_that_is_no_cache(tmp_path):
    with pytest.raises(InputError, match="is not a feature cache"):
        FeatureCache.open(tmp_path)


def test_a_copied_shard_is_not_taken_for_another(tmp_path):
    plan = write_all(tmp_path / "cache", shard_images=1)
    plan.shard_path(3).write_bytes(plan.shard_path(2).read_bytes())
    with pytest.raises(InputError, match=r"shard-00003\.h5 is shard 2 of the cache"):
        FeatureCache.open(tmp_path / "cache")


def test_shards_made_from_other_images_are_made_again(tmp_path):
    write_all(tmp_path / "cache", shard_images=1)
    sources = [f"digest of image{i}" for i in range(5)]
    assert make_plan(tmp_path / "cache", shard_images=1, sources=sources).pending() == []
    sources[3] = "digest of the corrected image"
    assert make_plan(tmp_path / "cache", shard_images=1, sources=sources).pending() == [3]


def test_the_fingerprint_changes_with_any_feature(tmp_path):
    write_all(tmp_path / "one")
    plan = make_plan(tmp_path / "two")
    for shard in plan.pending():
        regions = [REGIONS[i] for i in plan.images_of(shard)]
        if shard == 1:
            features = regions[0].features.copy()
            features[2, 3] += 1
            regions[0] = dataclasses.replace(regions[0], features=features)
        plan.write_shard(shard, regions)
    one, two = (FeatureCache.open(tmp_path / name) for name in ("one", "two"))
    assert one.fingerprint == FeatureCache.open(tmp_path / "one").fingerprint != two.fingerprint


def test_regions_in_another_order_than_planned_are_a_bug(tmp_path):
    plan = make_plan(tmp_path / "cache")
    with pytest.raises(ValueError, match="planned"):
        plan.write_shard(0, [REGIONS[1], REGIONS[0]])


WRITER = """
import sys
import numpy as np
from rcnn_svm.cache import RegionSet, plan_cache
n, rows, dim = 200, 50, 256
plan = plan_cache(sys.argv[1], name="big", classes=("a",), image_ids=[str(i) for i in range(n)],
                  rows=[rows] * n, settings={}, dim=dim, shard_images=1, sources=["x"] * n)
for shard in plan.pending():
    gt = np.arange(rows) < 1
    features = np.full((rows, dim), shard, np.float32)
    plan.write_shard(shard, [RegionSet(str(shard), (9, 9), np.zeros((rows, 4), np.float32), gt,
        gt.astype(np.int32), ~gt & gt, gt[:, None].astype(np.float32), features)])
    print(shard, flush=True)
"""


def test_kill_at_any_moment_then_resume(tmp_path):
    folder = tmp_path / "killed"
    for number, wait in enumerate((0.0, 0.03, 0.11)):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        complete = sorted(folder.glob("shard-*.h5"))
        assert len(complete) > number
    times = {path: path.stat().st_mtime_ns for path in complete}
    subprocess.run([sys.executable, "-c", WRITER, str(folder)], check=True, stdout=subprocess.DEVNULL)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in times.items())
    cache = FeatureCache.open(folder)
    assert cache.verify() == []
    assert [float(cache.regions(i).features[0, 0]) for i in range(200)] == list(range(200))
    assert not list(folder.glob(".*.tmp")), "what the killed processes left is cleared away"


def test_rows_are_ground_truth_first_with_labels_and_overlaps():
    annotation = Annotation(
        image_size=(50, 60),
        boxes=np.array([[0, 0, 9, 9], [20, 20, 39, 29]], np.float32),
        classes=np.array([2, 0]),
        difficult=np.array([False, True]),
        truncated=np.array([False, False]),
    )
    proposals = np.array([[0, 0, 9, 9], [0, 0, 19, 9], [50, 40, 55, 45]], np.float32)
    regions = build_regions("x", annotation, proposals, 3)
    np.testing.assert_array_equal(regions.boxes[2:], proposals)
    # A proposal identical to an object is not labelled as one.
    assert regions.label.tolist() == [3, 1, 0, 0, 0]
    assert regions.gt.tolist() == [True, True, False, False, False]
    assert regions.difficult.tolist() == [False, True, False, False, False]
    np.testing.assert_allclose(regions.overlap, [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0.5], [0, 0, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"boxes": np.zeros((3, 4))}, "boxes has 3 rows, expected 4"),
        ({"overlap": np.zeros((4, 2))}, "2 columns for 1 classes"),
        ({"image_start": [0, 5]}, "image_start must rise from 0 to the 4 rows"),
    ],
)
def test_arrays_that_do_not_fit(change, told):
    arrays = {
        "features": np.zeros((4, 2), np.float32),
        "image_start": [0, 4],
        "boxes": np.zeros((4, 4)),
        "gt": np.zeros(4, bool),
        "label": np.zeros(4),
        "overlap": np.zeros((4, 1)),
        "classes": ("a",),
    }
    with pytest.raises(InputError, match=told):
        FeatureCache.from_arrays(**{**arrays, **change})


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files through /proc")
def test_open_files_do_not_grow_with_the_cache(tmp_path):
    write_all(tmp_path / "cache", shard_images=1)
    before = len(os.listdir("/proc/self/fd"))
    cache = FeatureCache.open(tmp_path / "cache")
    for _ in cache.blocks(1 << 20):
        assert len(os.listdir("/proc/self/fd")) <= before + 2


@pytest.mark.parametrize("images", [[3, 0], [4], [0, 1, 2, 3, 4], []])
def test_a_subset_holds_the_very_rows_of_its_images(tmp_path, images):
    write_all(tmp_path / "cache")
    cache = FeatureCache.open(tmp_path / "cache")
    few = cache.subset(images)
    assert few.image_ids == tuple(cache.image_ids[image] for image in images)
    assert few.image_start.tolist() == np.cumsum([0, *(COUNTS[image] for image in images)]).tolist()
    for index, image in enumerate(images):
        assert_same(few.regions(index), REGIONS[image])
        np.testing.assert_array_equal(few.block(index).stored.sums, cache.block(image).stored.sums)
    for blocks in (list(few.blocks()), list(few.blocks(1 << 20))):
        assert [list(block.images) for block in blocks] == [[index] for index in range(len(images))]
        assert [block.first_region for block in blocks] == few.image_start[:-1].tolist()
        for block, image in zip(blocks, images, strict=True):
            np.testing.assert_array_equal(block.features(), REGIONS[image].features)
    assert few.verify() == []
    assert few.subset(range(len(images))).fingerprint == few.fingerprint != cache.fingerprint
    if len(images) == 2:
        assert few.fingerprint != cache.subset(images[::-1]).fingerprint
        assert_same(few.subset([1]).regions(0), REGIONS[images[1]])


@pytest.mark.parametrize(
    ("images", "told"), [([0, 5], "image 5"), ([-1], "image -1"), ([2, 2], "the same image twice")]
)
def test_a_subset_of_images_that_do_not_exist(tmp_path, images, told):
    write_all(tmp_path / "cache")
    with pytest.raises(InputError, match=f"a subset of toy names {told}; it must name different ones of 0 to 4"):
        FeatureCache.open(tmp_path / "cache").subset(images)


class Stopped(BaseException):
    """What a test stops a process with, in the place of SIGKILL."""


@pytest.mark.parametrize("change", [{"settings": {"crop_size": 9}}, {"classes": ("a", "b", "d")}])
@pytest.mark.parametrize("more", [0, 3])
def test_a_replacement_that_is_stopped_at_any_change_goes_on(tmp_path, monkeypatch, change, more):
    """Also where the cache that is replaced had more shards."""

    def old():
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        write_all(tmp_path / "cache", **change, shard_images=1 if more else 2)

    left = sys.maxsize

    def replaced(changes):
        """Replace the cache, or stop after so many changes of the replacement itself."""
        nonlocal left
        plan = make_plan(tmp_path / "cache", overwrite=True, update="classes" in change)
        for shard in plan.pending():
            plan.write_shard(shard, [REGIONS[i] for i in plan.images_of(shard)])
        left = changes
        try:
            plan.move_to(tmp_path / "cache")
        finally:
            left = sys.maxsize

    def stopping(function):
        def change(*args, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped
            return function(*args, **options)

        return change

    for name in ("replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, stopping(getattr(os, name)))
    ended = False
    for step in range(20):
        old()
        try:
            replaced(step)
            ended = True
        except Stopped:
            pass
        replaced(sys.maxsize)
        assert [path.name for path in tmp_path.iterdir()] == ["cache"], step
        assert [path.name for path in sorted((tmp_path / "cache").iterdir())] == [
            "cache.json",
            *(f"shard-{number:05}.h5" for number in range(3)),
        ], step
        cache = FeatureCache.open(tmp_path / "cache")
        assert cache.settings == make_plan(tmp_path / "other").settings and cache.classes == ("a", "b", "c")
        for index in range(5):
            assert_same(cache.regions(index), REGIONS[index])
        shutil.rmtree(tmp_path / "other")
        if ended:
            break
    assert ended and step > 5
