"""Extraction: the rows of the cache, in order, whatever happens on the way."""

import dataclasses
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rcnn_svm.cache import FeatureCache
from rcnn_svm.data.database import Annotation, ImageDatabase
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import Backbone, load_backbone
from rcnn_svm.features.extract import FeatureExtractor, extract_database, make_extractor
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.features.warp import warp_regions
from rcnn_svm.proposals.store import ProposalSet

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
SIZES = [(40, 60), (60, 40), (33, 47), (50, 50), (20, 30), (64, 48), (40, 41)]
NUM_PROPOSALS = [9, 0, 17, 4, 0, 30, 5]
NUM_OBJECTS = [1, 2, 0, 1, 0, 3, 0]  # image 4 has no rows at all


class Recorder:
    """A runtime that notes the size of every batch."""

    device = torch.device("cpu")
    batch_size = 5

    def __init__(self, module, workers=2):
        self.module, self.workers, self.batches = module, workers, []

    def begin_worker(self):
        pass

    @torch.inference_mode()
    def __call__(self, crops):
        self.batches.append(len(crops))
        return self.module(torch.from_numpy(crops)).numpy()


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 7 * 7, 11)).eval()
    return Backbone(module.requires_grad_(False), 11, 32, 3, True, MEAN, STD, {"name": "small"})


@pytest.fixture
def extractor(backbone):
    return FeatureExtractor(backbone, Recorder(backbone.module), batch_size=8)


@pytest.fixture
def database(tmp_path):
    rng = np.random.default_rng(0)
    annotations = {}
    for number, ((height, width), count) in enumerate(zip(SIZES, NUM_OBJECTS, strict=True)):
        image_id = f"image{number}"
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{image_id}.png")
        annotations[image_id] = Annotation(
            image_size=(height, width),
            boxes=random_boxes(rng, count, height, width),
            classes=np.arange(count) % 2,
            difficult=np.arange(count) == 1,
            truncated=np.zeros(count, bool),
        )
    return ImageDatabase("toy", ["a", "b"], list(annotations), lambda i: tmp_path / f"{i}.png", annotations.__getitem__)


def random_boxes(rng, count, height, width):
    x, y = rng.integers(0, width, (count, 2)), rng.integers(0, height, (count, 2))
    return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1).astype(np.float32)


@pytest.fixture
def proposals(database):
    rng = np.random.default_rng(1)
    boxes = [random_boxes(rng, count, *size) for count, size in zip(NUM_PROPOSALS, SIZES, strict=True)]
    return ProposalSet(database.image_ids, boxes, {"method": "random"})


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("shard-*.h5")}


def check_features(cache, database, proposals, backbone):
    """Compare every row with its crop on its own, one after the other."""
    for i in range(len(database)):
        regions = cache.regions(i)
        gt_boxes = database.annotation(i).boxes
        expected_boxes = np.concatenate([gt_boxes, proposals.boxes_of(database.image_ids[i])])
        np.testing.assert_array_equal(regions.boxes, expected_boxes)
        np.testing.assert_array_equal(regions.gt, np.arange(len(expected_boxes)) < len(gt_boxes))
        for row, box in enumerate(expected_boxes):
            crop = warp_regions(database.load_image(i), box[None], crop_size=32, padding=3, mean=MEAN, std=STD)
            feature = backbone.module(torch.from_numpy(crop)).numpy()[0]
            np.testing.assert_allclose(regions.features[row], feature, rtol=6e-4, atol=1e-5)


def test_an_image_of_one_colour_by_hand():
    """The network averages its crop, which is the colour less MEAN, over STD, wherever the box lies."""
    module = nn.Sequential(nn.AvgPool2d(32), nn.Flatten())
    mean_of_crop = Backbone(module, 3, 32, 0, True, MEAN, STD, {"name": "mean"})
    image = np.tile(np.array([180, 60, 100], np.uint8), (40, 50, 1))
    extractor = FeatureExtractor(mean_of_crop, Recorder(module), batch_size=8)
    features = extractor.extract(image, np.array([[0, 0, 9, 9], [10, 5, 49, 39]], np.float32))
    np.testing.assert_allclose(features, [[1, -1, 0]] * 2, atol=1e-6)


def test_rows_are_those_of_one_by_one_extraction(database, proposals, extractor, backbone, tmp_path):
    summary = extract_database(database, proposals, extractor, tmp_path / "cache", shard_images=3)
    cache = FeatureCache.open(tmp_path / "cache")
    check_features(cache, database, proposals, backbone)
    assert cache.verify() == []
    assert (summary.images, summary.rows) == (7, cache.num_rows) == (7, sum(NUM_PROPOSALS) + sum(NUM_OBJECTS))
    assert cache.settings["proposals"] == {"method": "random"}
    assert cache.settings["crop_size"] == 32


def test_batches_are_full_across_images(database, proposals, extractor, tmp_path):
    extract_database(database, proposals, extractor, tmp_path / "cache", shard_images=3)
    last, *full = sorted(extractor._runtime.batches)
    assert set(full) == {8} and 0 < last <= 8


def test_single_image(database, proposals, extractor):
    image, boxes = database.load_image(5), proposals.boxes_of("image5")
    features = extractor.extract(image, boxes)
    assert features.shape == (30, 11) and features.dtype == np.float32
    np.testing.assert_allclose(extractor.extract(image, boxes[7:9]), features[7:9], rtol=1e-4, atol=1e-5)
    assert extractor.extract(image, np.empty((0, 4), np.float32)).shape == (0, 11)


def test_ground_truth_only(database, extractor, tmp_path):
    extract_database(database, None, extractor, tmp_path / "cache")
    assert FeatureCache.open(tmp_path / "cache").num_rows == sum(NUM_OBJECTS)


def test_stopped_half_way_goes_on(database, proposals, extractor, backbone, tmp_path):
    folder = tmp_path / "cache"
    broken = database.image_path(4)
    pixels = broken.read_bytes()
    broken.write_bytes(pixels[: len(pixels) // 2])
    with pytest.raises(InputError, match=r"image4\.png"):
        extract_database(database, proposals, extractor, folder, shard_images=2)
    assert no_background_threads()
    before = contents(folder)
    assert sorted(before) == ["shard-00000.h5", "shard-00001.h5"]
    with pytest.raises(InputError, match="not complete"):
        FeatureCache.open(folder)

    broken.write_bytes(pixels)
    (folder / ".shard-00002.h5.4711.tmp").write_bytes(b"what a killed process left")
    summary = extract_database(database, proposals, extractor, folder, shard_images=2)
    assert summary.images == 3
    after = contents(folder)
    assert {name: after[name] for name in before} == before  # untouched
    check_features(FeatureCache.open(folder), database, proposals, backbone)


def no_background_threads():
    return not [t for t in threading.enumerate() if t.name.startswith(("prefetch", "worker", "shards"))]


def test_image_that_fails_loses_none_before_it(database, proposals, extractor):
    def items():
        for i, image_id in enumerate(database.image_ids[:3]):
            yield database.load_image(i), proposals.boxes_of(image_id)
        raise InputError("the fourth is damaged")

    features = extractor.extract_many(items())
    assert [len(next(features)) for _ in range(3)] == NUM_PROPOSALS[:3]
    with pytest.raises(InputError, match="the fourth"):
        next(features)
    assert no_background_threads()


def test_interrupted_leaves_complete_shards_only(database, proposals, extractor, backbone, tmp_path, monkeypatch):
    class Bar:
        """A progress bar at whose fifth image the user presses Ctrl-C."""

        images = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def set_postfix_str(self, *_, **__):
            pass

        def update(self):
            self.images += 1
            if self.images == 5:
                raise KeyboardInterrupt

    folder = tmp_path / "cache"
    with monkeypatch.context() as patch:
        # Ctrl-C reaches the main thread, which calls nothing else between two images that a test could hand in.
        patch.setattr("rcnn_svm.features.extract.progress_bar", lambda *_, **__: Bar())
        with pytest.raises(KeyboardInterrupt):
            extract_database(database, proposals, extractor, folder, shard_images=2)
    assert no_background_threads()
    before = contents(folder)
    assert sorted(before) == ["shard-00000.h5", "shard-00001.h5"]
    assert sorted(path.name for path in folder.iterdir()) == ["cache.json", *sorted(before)]
    extract_database(database, proposals, extractor, folder, shard_images=2)
    assert {name: contents(folder)[name] for name in before} == before
    check_features(FeatureCache.open(folder), database, proposals, backbone)


def test_shard_that_cannot_be_written_stops_the_stage(database, proposals, extractor, tmp_path):
    folder = tmp_path / "cache"
    (folder / "shard-00001.h5").mkdir(parents=True)  # no file can take its place
    with pytest.raises(InputError, match=r"cannot write .*shard-00001\.h5: Is a directory"):
        extract_database(database, proposals, extractor, folder, shard_images=2)
    assert (folder / "shard-00000.h5").is_file()
    assert no_background_threads()


def test_number_of_threads_changes_nothing(database, proposals):
    backbone = load_backbone("lite0", crop_size=32)
    items = [(database.load_image(i), boxes) for i, boxes in enumerate(proposals.boxes)]
    results = []
    for threads in (1, 3):
        extractor = FeatureExtractor(backbone, make_runtime(backbone, "onnxruntime", threads=threads), batch_size=4)
        results.append(list(extractor.extract_many(items)))
    assert sum(map(len, results[0])) == sum(NUM_PROPOSALS)
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)


def test_the_way_over_a_gpu_gives_the_same(database, proposals, backbone, extractor, monkeypatch):
    other = FeatureExtractor(backbone, make_runtime(backbone, "torch", "cpu"), batch_size=8)
    other._on_gpu = True  # every tensor stays on the CPU, but goes the way of one on a GPU
    uploads = []
    upload = other._upload
    # Neither the way nor the number of uploads shows in the features, and few machines have a GPU.
    monkeypatch.setattr(other, "_upload", lambda image: uploads.append(image.shape) or upload(image))
    items = [(database.load_image(i), boxes) for i, boxes in enumerate(proposals.boxes)]
    results = zip(extractor.extract_many(items), other.extract_many(items), strict=True)
    for one, two in results:
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    assert uploads == [image.shape for image, _ in items]  # once each, however many batches it is in


def test_nothing_is_done_twice_and_damage_is_repaired(database, proposals, extractor, backbone, tmp_path):
    folder = tmp_path / "cache"
    extract_database(database, proposals, extractor, folder, shard_images=2)
    before, calls = contents(folder), len(extractor._runtime.batches)
    assert extract_database(database, proposals, extractor, folder, shard_images=2).images == 0
    assert contents(folder) == before and len(extractor._runtime.batches) == calls

    damaged = folder / "shard-00001.h5"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    assert extract_database(database, proposals, extractor, folder, shard_images=2).images == 2
    check_features(FeatureCache.open(folder), database, proposals, backbone)


def test_parts_share_the_work(database, proposals, extractor, backbone, tmp_path):
    folder = tmp_path / "cache"
    images = [
        extract_database(database, proposals, extractor, folder, shard_images=2, part=(i, 3)).images for i in range(3)
    ]
    assert images == [3, 2, 2]
    check_features(FeatureCache.open(folder), database, proposals, backbone)


def test_other_settings_are_refused_unless_told_to_overwrite(database, proposals, backbone, extractor, tmp_path):
    folder = tmp_path / "cache"
    extract_database(database, proposals, extractor, folder)
    before = contents(folder)
    other = FeatureExtractor(backbone, Recorder(backbone.module), crop_mode="square")
    with pytest.raises(InputError, match="crop_mode"):
        extract_database(database, proposals, other, folder)
    assert contents(folder) == before
    with pytest.raises(InputError, match="overwrite"):
        extract_database(database, proposals, other, folder, part=(0, 2), overwrite=True)
    summary = extract_database(database, proposals, other, folder, overwrite=True)
    assert summary.images == len(database) and summary.plan.folder == folder and not list(tmp_path.glob("*.new"))
    assert FeatureCache.open(folder).settings["crop_mode"] == "square"


def test_refuses_proposals_that_do_not_fit(database, proposals, extractor, tmp_path):
    few = ProposalSet(proposals.image_ids[:-1], proposals.boxes[:-1], {})
    with pytest.raises(InputError, match="image6"):
        extract_database(database, few, extractor, tmp_path / "cache")
    boxes = [array.copy() for array in proposals.boxes]
    boxes[2][3, 2] = 47  # the image is 47 pixels wide
    with pytest.raises(InputError, match="proposal 3 of image image2"):
        extract_database(database, ProposalSet(proposals.image_ids, boxes, {}), extractor, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_refuses_a_geometry_without_meaning_before_work(backbone):
    with pytest.raises(InputError, match="padding"):
        FeatureExtractor(dataclasses.replace(backbone, padding=16), Recorder(None))


def test_extractor_is_rebuilt_from_its_settings():
    backbone = load_backbone("lite0", crop_size=32, padding=4)
    first = FeatureExtractor(backbone, make_runtime(backbone, threads=1), crop_mode="square")
    again = make_extractor({**first.settings, "proposals": None}, threads=1)
    assert again.settings == first.settings
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    boxes = np.array([[3, 4, 20, 25]], np.float32)
    np.testing.assert_array_equal(first.extract(image, boxes), again.extract(image, boxes))

    changed = {**first.settings, "backbone": {**backbone.settings, "weights_digest": "0" * 64}}
    with pytest.raises(InputError, match="not those the features were made with"):
        make_extractor(changed)
    with pytest.raises(InputError, match="imported arrays"):
        make_extractor({"source": "arrays"})


def test_random_weights_are_rebuilt():
    backbone = load_backbone("shufflenet_v2_x0_5", weights="random", crop_size=64)
    extractor = FeatureExtractor(backbone, make_runtime(backbone, threads=1))
    assert make_extractor(extractor.settings, threads=1).settings == extractor.settings


def test_features_that_are_not_finite_are_no_result(extractor):
    extractor._runtime.module = lambda crops: torch.full((len(crops), 11), torch.nan)
    with pytest.raises(InputError, match="features that are not finite of 2 of the 2 boxes"):
        extractor.extract(np.zeros((20, 30, 3), np.uint8), np.array([[0, 0, 9, 9], [5, 5, 20, 15]]))


def changed(database, *, image_ids=None, classes=None, **labels):
    """The database with other images or classes, and other annotations by image."""
    ids = database.image_ids if image_ids is None else image_ids
    images = {image_id: database.image_path(i) for i, image_id in enumerate(database.image_ids)}
    truth = {i: labels.get(i, database.annotation(number)) for number, i in enumerate(database.image_ids)}
    return ImageDatabase("toy", classes or database.classes, ids, images.__getitem__, truth.__getitem__)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_after_a_round_of_labelling_only_new_boxes_are_computed(
    database, proposals, extractor, backbone, tmp_path, dtype
):
    folder, options = tmp_path / "cache", {"shard_images": 2, "dtype": dtype}
    first = database.subset(database.image_ids[:5], "toy")
    extract_database(first, proposals, extractor, folder, **options)
    kept = database.annotation(2)
    more = np.concatenate([kept.boxes, np.array([[1, 2, 9, 8]], np.float32)])
    flags = np.append(kept.difficult, False)
    label = replace(kept, boxes=more, classes=np.append(kept.classes, 2), difficult=flags, truncated=flags)
    # An image less, two more, a class more, and an object more in one that was there.
    now = changed(database, image_ids=database.image_ids[1:], classes=["a", "b", "c"], image2=label)
    with pytest.raises(InputError, match=r"classes: 2 there, 3 wanted.*--update to make again what they change"):
        extract_database(now, proposals, extractor, folder, **options)
    with pytest.raises(InputError, match="one part cannot overwrite"):
        extract_database(now, proposals, extractor, folder, update=True, part=(0, 2), **options)
    summary = extract_database(now, proposals, extractor, folder, update=True, **options)
    new = [i for i in range(len(now)) if now.image_ids[i] in ("image5", "image6")]
    rows = sum(len(now.annotation(i).boxes) + len(proposals.boxes_of(now.image_ids[i])) for i in new) + 1
    assert (summary.images, summary.rows) == (3, rows) and summary.kept == sum(summary.plan.rows) - rows
    cache = FeatureCache.open(folder)
    assert cache.verify() == [] and cache.classes == ("a", "b", "c") and not list(tmp_path.glob("*.new"))
    check_features(cache, now, proposals, backbone)
    extract_database(now, proposals, extractor, tmp_path / "scratch", **options)
    scratch = FeatureCache.open(tmp_path / "scratch")
    for one, other in ((cache.regions(i), scratch.regions(i)) for i in range(len(now))):
        np.testing.assert_array_equal(one.overlap, other.overlap)
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_allclose(one.features, other.features, rtol=1e-3, atol=1e-5)


def test_a_corrected_class_computes_nothing_and_a_damaged_shard_is_not_taken_over(
    database, proposals, extractor, backbone, tmp_path
):
    folder = tmp_path / "cache"
    extract_database(database, proposals, extractor, folder, shard_images=4)
    kept = database.annotation(0)
    corrected = changed(database, image0=replace(kept, classes=1 - kept.classes))
    summary = extract_database(corrected, proposals, extractor, folder, shard_images=4)
    assert (summary.images, summary.rows) == (0, 0) and summary.kept == sum(summary.plan.rows[:4])
    check_features(FeatureCache.open(folder), corrected, proposals, backbone)
    np.testing.assert_array_equal(FeatureCache.open(folder).regions(0).label[: len(kept.boxes)], 2 - kept.classes)

    with h5py.File(folder / "shard-00000.h5", "r+") as shard:
        shard["features"][3, 2] += 1
    assert extract_database(database, proposals, extractor, folder, shard_images=4).images == 4
    check_features(FeatureCache.open(folder), database, proposals, backbone)
