"""What is seen beside the box: the last part of a wider crop, and of the whole image."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.cache import FeatureCache
from rcnn_svm.cli.main import run_command
from rcnn_svm.data.voc import load_voc
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.image_set import detect_in_cache
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import Backbone, load_backbone
from rcnn_svm.features.extract import FeatureExtractor, extract_database, make_extractor
from rcnn_svm.features.runtime import make_runtime
from rcnn_svm.features.warp import context_padding
from rcnn_svm.proposals.methods import make_proposer
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.store import ProposalSet
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.small_networks import small_pooled_network

CHOICES = [{"context": 8}, {"scene": True}, {"context": 8, "scene": True}]
COUNTS = [9, 0, 17, 1, 0]


@pytest.fixture(scope="module")
def backbone():
    """A network of 64-pixel crops, whose features are two maps and a last vector of 16."""
    with small_pooled_network():
        yield load_backbone("pooled", "multi", "random")


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30 + 7 * i, 60 - 5 * i, 3), np.uint8) for i in range(len(COUNTS))]
    corners = [rng.integers(0, 30, (count, 2, 2)) for count in COUNTS]
    return [
        (image, np.concatenate([xy.min(1), xy.max(1)], axis=1).astype(np.float32))
        for image, xy in zip(images, corners, strict=True)
    ]


def extractor_of(backbone, batch_size=8, **options):
    return FeatureExtractor(backbone, make_runtime(backbone, "torch", "cpu"), batch_size=batch_size, **options)


def expected_features(backbone, image, boxes, context=None, scene=False):
    """The parts one by one, each from an extractor of boxes alone."""
    length, whole = backbone.last_dim, np.array([[0, 0, image.shape[1] - 1, image.shape[0] - 1]], np.float32)
    parts = [extractor_of(backbone).extract(image, boxes)]
    if context is not None:
        wider = dataclasses.replace(backbone, padding=context)
        parts.append(extractor_of(wider).extract(image, boxes)[:, -length:])
    if scene:
        bare = dataclasses.replace(backbone, padding=0)
        parts.append(np.repeat(extractor_of(bare).extract(image, whole)[:, -length:], len(boxes), axis=0))
    return np.concatenate(parts, axis=1)


def test_a_box_its_surroundings_and_the_scene_by_hand():
    """The network gives the mean colour, its last part is blue; a blue box of 8 pixels lies in a grey image of 32."""
    module = nn.Sequential(nn.AvgPool2d(32), nn.Flatten())
    colours = Backbone(module, 3, 32, 0, True, (0.0,) * 3, (1.0,) * 3, {"name": "mean"}, last_dim=1)
    image = np.full((32, 32, 3), 40, np.uint8)
    image[8:16, 8:16, 2] = 200
    extractor = extractor_of(colours, context=8, scene=True)
    (features,) = extractor.extract(image, np.array([[8, 8, 15, 15]], np.float32))
    assert extractor.dim == 5
    np.testing.assert_allclose(features[:3], [40, 40, 200])
    # 8 of 32 pixels on each side double the box; the original's rounding makes 17 pixels of 16.
    assert features[3] == pytest.approx(40 + 160 * (8 / 17) ** 2, rel=0.01)
    assert features[4] == pytest.approx(40 + 160 / 16)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("options", CHOICES)
def test_parts_are_those_of_extractors_of_boxes_alone(backbone, items, options, padding):
    padded = dataclasses.replace(backbone, padding=padding)
    extractor = extractor_of(padded, **options)
    results = list(extractor.extract_many(items))
    assert [len(features) for features in results] == COUNTS
    for (image, boxes), features in zip(items, results, strict=True):
        assert features.shape[1] == extractor.dim == backbone.dim + len(options) * backbone.last_dim
        np.testing.assert_allclose(features, expected_features(padded, image, boxes, **options), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_of_any_size_are_full_and_give_the_same(backbone, items, batch_size):
    extractor = extractor_of(backbone, batch_size, context=8, scene=True)
    runtime, batches = extractor._runtime, []

    class Noting:
        device, workers, begin_worker = runtime.device, 1, runtime.begin_worker

        def __call__(self, crops):
            batches.append(len(crops))
            return runtime(crops)

    extractor._runtime = Noting()
    results = list(extractor.extract_many(items))
    # Every box twice, and an image once where it has boxes.
    assert sum(batches) == 2 * sum(COUNTS) + sum(count > 0 for count in COUNTS)
    assert set(batches[:-1]) <= {batch_size}
    for (image, boxes), features in zip(items, results, strict=True):
        expected = expected_features(backbone, image, boxes, context=8, scene=True)
        np.testing.assert_allclose(features, expected, atol=1e-5)


def test_the_way_over_a_gpu_gives_the_same(backbone, items):
    one, other = (extractor_of(backbone, context=8, scene=True) for _ in range(2))
    other._on_gpu = True  # every tensor stays on the CPU, but goes the way of one on a GPU
    for a, b in zip(one.extract_many(items), other.extract_many(items), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_settings_record_them_and_nothing_where_there_is_nothing(backbone):
    plain, both = extractor_of(backbone), extractor_of(backbone, context=8, scene=True)
    assert both.settings == {**plain.settings, "context": 8, "scene": True}
    recorded = backbone.feature_settings(context=8, scene=True)
    assert (recorded.context, recorded.scene) == (8, True)
    assert recorded.description("9-d") == "9-d pooled multi with context and scene"
    assert recorded.difference(backbone.feature_settings()) == "context: 8 there, None wanted"
    assert (backbone.feature_settings().context, backbone.feature_settings().scene) == (None, False)
    assert "with" not in backbone.feature_settings().description("9-d")
    assert (context_padding(128), context_padding(64)) == (21, 10)


@pytest.mark.parametrize("options", CHOICES)
def test_other_layers_are_refused(options):
    with small_pooled_network():
        backbone = load_backbone("pooled", "penultimate", "random")
    with pytest.raises(
        InputError, match="not of layer penultimate; use --layer multi, or leave out --context and --scene"
    ):
        extractor_of(backbone, **options)


def test_context_without_room_for_the_box_is_refused(backbone):
    with pytest.raises(InputError, match="crop size 64 with padding 32 leaves no room"):
        extractor_of(backbone, context=32)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two images, twelve proposals each."""
    root = tmp_path_factory.mktemp("world")
    write_synthetic_voc(root / "voc", num_train=2, num_test=1, seed=2)
    database = load_voc(root / "voc", classes=SYNTHETIC_CLASSES)
    proposer = make_proposer({"method": "sliding", "max_boxes": 12})
    return root, database, proposer, propose_database(database, proposer, root / "p.h5")


def test_an_update_computes_new_boxes_only(backbone, world, tmp_path):
    _, database, _, proposals = world
    extractor = extractor_of(backbone, context=8, scene=True)
    fewer = ProposalSet(proposals.image_ids, [proposals.boxes[0][:-2], proposals.boxes[1]], proposals.settings)
    options = {"dtype": "float32", "update": True}
    extract_database(database, fewer, extractor, tmp_path / "updated", **options)
    summary = extract_database(database, proposals, extractor, tmp_path / "updated", **options)
    assert (summary.images, summary.rows) == (1, 2) and summary.kept == sum(summary.plan.rows) - 2
    extract_database(database, proposals, extractor, tmp_path / "new", **options)
    updated, new = FeatureCache.open(tmp_path / "updated"), FeatureCache.open(tmp_path / "new")
    for i in range(len(database)):
        np.testing.assert_allclose(updated.regions(i).features, new.regions(i).features, atol=1e-5)


def test_detect_rebuilds_them_as_the_stages_made_them(world, tmp_path):
    _, database, _, proposals = world
    with small_pooled_network():
        backbone = load_backbone("pooled", "multi", "random")
        extractor = extractor_of(backbone, context=8, scene=True)
        extract_database(database, proposals, extractor, tmp_path / "cache", dtype="float32")
        cache = FeatureCache.open(tmp_path / "cache")
        W = np.random.default_rng(0).standard_normal((extractor.dim, 5), dtype=np.float32)
        detector = Detector(tuple(SYNTHETIC_CLASSES), W, np.zeros(5, np.float32), 20.0, cache.settings)
        assert make_extractor(cache.settings, threads=1).settings == extractor.settings
        regions = cache.regions(0)
        expected = detector.scores(regions.features[~regions.gt])
        found = ImageDetector(detector).detect(database.load_image(0), thresh=-np.inf, nms_threshold=1.0)
        assert len(detect_in_cache(cache, detector).image_ids) == 2
    for index in range(5):
        scores = np.sort(found.scores[found.cls == index])
        np.testing.assert_allclose(scores, np.sort(expected[:, index]), rtol=1e-3, atol=1e-4)


def test_the_stage_writes_them(world, tmp_path, capsys):
    root, _, _, _ = world
    options = ["--voc", str(root / "voc"), "--classes", ",".join(SYNTHETIC_CLASSES), "--backbone", "pooled"]
    options += ["--weights", "random", "--threads", "1", "--proposals", str(root / "p.h5"), "--context", "--scene"]
    with small_pooled_network():
        assert run_command("extract", [*options, "--layer", "multi", "--out", str(tmp_path / "cache")]) == 0
        settings = FeatureCache.open(tmp_path / "cache").settings
        assert (settings["context"], settings["scene"]) == (10, True)
        without = [*options, "--layer", "multi", "--no-context", "--no-scene", "--out", str(tmp_path / "without")]
        assert run_command("extract", without) == 0
        assert not {"context", "scene"} & FeatureCache.open(tmp_path / "without").settings.keys()
        capsys.readouterr()
        assert run_command("extract", [*options, "--out", str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err.strip()
    assert "use --layer multi" in error and "\n" not in error


def test_the_last_part_of_real_networks_is_their_last_vector():
    for name, length in (("lite0", 1280), ("resnet18", 512)):
        backbone = load_backbone(name, "multi", "random", crop_size=64)
        assert backbone.last_dim == length
        with torch.inference_mode():
            last = backbone.module(torch.randn(1, 3, 64, 64))[:, -length:]
        assert float(last.norm()) == pytest.approx(1, abs=1e-5)
    assert load_backbone("resnet18", "penultimate", "random", crop_size=64).last_dim is None
