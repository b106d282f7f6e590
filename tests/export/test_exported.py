"""An exported detector finds what the detector finds, and needs no more than numpy, OpenCV and ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rcnn_svm.data.images import load_image
from rcnn_svm.detection.bbox_regression import BoxRegressor
from rcnn_svm.detection.detect import ImageDetector
from rcnn_svm.detection.detector import Detector
from rcnn_svm.detection.recipe import Recipe
from rcnn_svm.errors import InputError
from rcnn_svm.export import ExportedDetector, export_detector
from rcnn_svm.features import backbones
from rcnn_svm.features.backbones import load_backbone
from rcnn_svm.proposals.sliding_window import SlidingWindow
from rcnn_svm.reports.inspection import inspect_artefact
from tests.small_networks import CROP, SmallAlexNet, small_pooled_network

# Begins a process in which nothing is installed but what an exported detector needs.
FORBIDDEN = (
    *("torch", "torchvision", "sklearn", "scipy", "numba", "h5py", "PIL", "joblib", "threadpoolctl", "tqdm", "onnx"),
    *("matplotlib", "jinja2", "skimage", "efficientnet_lite_pytorch"),
)
ALONE = f"""
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError("No module named " + repr(name))

sys.meta_path.insert(0, Forbidden())
"""


def run_alone(code: str, *arguments: str | Path) -> str:
    """Run code where nothing is installed that an exported detector does not need, and return what it prints."""
    command = [sys.executable, "-c", ALONE + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_equal_boxes(found, expected, count: int) -> None:
    """Check that two lists of detections are the same but for rounding, and are that many at least."""
    assert len(found) == len(expected) >= count
    np.testing.assert_array_equal(found.cls, expected.cls)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


def test_inspect_says_what_an_export_is_of(make_detector, tmp_path):
    detector = make_detector(9, True, Recipe(vote=True))
    with small_pooled_network():
        export_detector(detector, tmp_path)
    found = inspect_artefact(tmp_path)
    assert inspect_artefact(tmp_path / "network.onnx") == found
    others = [path for path in tmp_path.iterdir() if path.suffix != ".json"]
    assert found.record["bytes"] == {path.name: path.stat().st_size for path in others}
    assert found.record["settings"]["features"] == detector.feature_settings
    text = " ".join(found.text().split())
    assert "classes 3: " + ", ".join(detector.classes) in text and str(detector.recipe) in text
    assert max(map(len, found.text().splitlines()[1:])) <= 80
    (tmp_path / "network.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"network\.onnx is damaged or of another export"):
        inspect_artefact(tmp_path)


@pytest.mark.parametrize("context, scene", [(None, False), (9, False), (None, True), (9, True)])
@pytest.mark.parametrize("recipe", [Recipe(), Recipe(vote=True, again=12, soft_nms=True)])
def test_boxes_are_those_of_the_detector(context, scene, recipe, make_detector, image, tmp_path):
    detector = make_detector(context, scene, recipe)
    with small_pooled_network():
        export_detector(detector, tmp_path)
        finder = ImageDetector(detector)
        exported = ExportedDetector(tmp_path, threads=2)
        assert (exported.classes, exported.recipe) == (detector.classes, recipe)
        for seen in (image, image[:40, ::-1]):
            expected = finder.detect(seen, thresh=-np.inf)
            assert_equal_boxes(exported.detect(seen, thresh=-np.inf), expected, 10)
    place = np.argmin(np.diff(expected.scores))  # the widest gap, which rounding does not cross
    thresh = np.full(3, expected.scores[place : place + 2].mean())
    assert_equal_boxes(exported.detect(seen, thresh=thresh), finder.detect(seen, thresh=thresh), 1)


def test_boxes_corrected_from_pool5_where_fc6_scores(monkeypatch, image, tmp_path):
    source = replace(backbones._find_source("alexnet"), build=SmallAlexNet, crop_size=CROP)
    monkeypatch.setitem(backbones.SOURCES, "alexnet", lambda: source)
    torch.manual_seed(5)
    torch.save(SmallAlexNet(CROP).state_dict(), tmp_path / "net.pt")
    pool5, fc6 = (load_backbone("alexnet", layer, tmp_path / "net.pt") for layer in ("pool5", "fc6"))
    proposals = SlidingWindow(max_boxes=20).settings
    of_pool5, of_fc6 = (
        {"feature_settings": made.feature_settings().with_proposals(proposals).to_json(), "feat_norm_mean": 2.0}
        for made in (pool5, fc6)
    )
    rng = np.random.default_rng(3)
    regressor = BoxRegressor.identity(["cat"], pool5.dim, **of_pool5)
    regressor.Beta[:] = rng.normal(0, 0.01, regressor.Beta.shape)
    W = rng.normal(0, 0.1, (fc6.dim, 1)).astype(np.float32)
    detector = Detector(("cat",), W, np.float32([0.1]), **of_fc6, bbox_regressor=regressor)
    export_detector(detector, tmp_path / "exported", weights=tmp_path / "net.pt")
    expected = ImageDetector(detector, weights=tmp_path / "net.pt").detect(image, thresh=-9, nms_threshold=0.9)
    found = ExportedDetector(tmp_path / "exported", threads=1).detect(image, thresh=-9, nms_threshold=0.9)
    assert_equal_boxes(found, expected, 10)
    with pytest.raises(InputError, match="are not those the features were made with"):
        with torch.random.fork_rng():
            torch.save(SmallAlexNet(CROP).state_dict(), tmp_path / "other.pt")
        export_detector(detector, tmp_path / "other", weights=tmp_path / "other.pt")
    assert not (tmp_path / "other").exists()


def test_it_runs_where_nothing_else_is_installed(make_detector, image, tmp_path):
    calibration = np.array([[1.0, 0.0], [2.0, 0.5], [0.5, -1.0]])
    detector = make_detector(9, True, Recipe(vote=True, again=8, soft_nms=True), calibration=calibration)
    with small_pooled_network():
        export_detector(detector, tmp_path / "exported")
        expected = detector.calibrated(ImageDetector(detector).detect(image, thresh=-np.inf))
    Image.fromarray(image).save(tmp_path / "street.png")
    code = """
from rcnn_svm.export import ExportedDetector
import json
detector = ExportedDetector(sys.argv[1])
found = detector.calibrated(detector.detect(sys.argv[2], thresh=-float("inf")))
print(json.dumps([found.cls.tolist(), found.boxes.tolist(), found.scores.tolist()]))
"""
    cls, boxes, scores = json.loads(run_alone(code, tmp_path / "exported", tmp_path / "street.png"))
    assert_equal_boxes(type(expected)(np.array(cls), np.array(boxes), np.array(scores)), expected, 10)


def test_detect_runs_where_nothing_else_is_installed(make_detector, image, tmp_path, capsys):
    folder, photo, film = tmp_path / "exported", tmp_path / "street.png", tmp_path / "film.avi"
    thresholds = np.float64([-3.0, -2.0, 0.5])
    chosen = {"images": 7, "of_this_model": True, "borrowed": [], "min_objects": 10}
    detector = make_detector(recipe=Recipe(vote=True), thresholds=thresholds, thresholds_from=chosen)
    Image.fromarray(image).save(photo)
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 5, image.shape[1::-1])
    for frame in (image, image[::-1]):
        writer.write(frame[..., ::-1])
    writer.release()
    with small_pooled_network():
        export_detector(detector, folder)
        expected = ImageDetector(detector).detect(photo, thresh=thresholds)
    run_command = "from rcnn_svm.__main__ import main; sys.exit(main())"
    words = ["detect", photo, film, "--model", folder, "--out", tmp_path / "out"]
    files = [word for name in ("json", "csv", "coco", "yolo") for word in (f"--{name}", tmp_path / f"found.{name}")]
    printed = run_alone(run_command, *words, *files)
    assert "reported: scores above -3.00 (cat) to 0.50" in printed
    assert f"{photo}: {len(expected)} found" in printed and f"{film}: 2 of 2 frames show objects" in printed
    entries = json.loads((tmp_path / "found.json").read_text())
    assert [found["class"] for found in entries[0]["objects"]] == [found.name for found in expected]
    np.testing.assert_allclose([found["box"] for found in entries[0]["objects"]], expected.boxes, atol=1e-2)
    assert [entry.get("frame") for entry in entries] == [None, 0, 1]
    pictures = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert pictures.keys() == {"street.jpg", "film.mp4"}
    assert len(expected) > 3 and load_image(pictures["street.jpg"]).shape == image.shape
    with pytest.raises(AssertionError, match="--bbox is for a model of the train stage"):
        run_alone(run_command, *words, "--bbox", photo)


def test_other_commands_say_what_is_not_installed(exported):
    code = """
from rcnn_svm.cli.main import main
code = main(sys.argv[1:])
print(code)
"""
    command = [sys.executable, "-c", ALONE + code, "export", "model.h5"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.stdout == "2\n"
    assert re.match(r"rcnn-svm export: error: the package \w+ is not installed here; install it, or all", done.stderr)
    assert "Traceback" not in done.stderr


def test_what_is_exported_says_what_it_is_and_what_it_is_from(make_detector, tmp_path):
    detector = make_detector(training={"image_set": "photos"})
    with small_pooled_network():
        described = export_detector(detector, tmp_path)
    assert described == json.loads((tmp_path / "detector.json").read_text())
    assert described["classes"] == ["cat", "dog", "Köter"]
    assert described["source"]["training"] == {"image_set": "photos"}
    assert described["source"]["ranker"]["maps"] == detector.ranker.maps
    assert set(described["files"]) == {"network.onnx", "maps.onnx", "ranker.npz"}
    assert {path.name for path in tmp_path.iterdir()} == {*described["files"], "detector.json"}


def test_the_graph_ends_in_scores_and_corrections(make_detector, tmp_path):
    import onnxruntime

    with small_pooled_network():
        export_detector(make_detector(scene=True), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    shapes = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert shapes == {"scores": [3], "deltas": [3, 4], "scene_scores": [3], "scene_deltas": [3, 4]}


@pytest.mark.parametrize(
    "proposals, sentence",
    [
        ({"method": "ranked"}, r"made by a ranker.*assemble --ranker FILE"),
        ({"source": "boxes.mat"}, r"read from boxes.mat, so none can be made like them"),
    ],
)
def test_proposals_that_cannot_be_made_elsewhere_are_refused(proposals, sentence, make_detector, tmp_path):
    detector = make_detector()
    settings = {**detector.feature_settings, "proposals": proposals}
    with pytest.raises(InputError, match=sentence), small_pooled_network():
        export_detector(
            replace(detector, ranker=None, bbox_regressor=None, feature_settings=settings), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_features_of_arrays_are_refused(make_detector, tmp_path):
    detector = replace(make_detector(), feature_settings={"proposals": {"method": "sliding"}}, bbox_regressor=None)
    with pytest.raises(InputError, match="do not say how to compute features"):
        export_detector(detector, tmp_path)


@pytest.fixture(scope="module")
def exported(make_detector, tmp_path_factory) -> Path:
    """A folder with an exported detector."""
    folder = tmp_path_factory.mktemp("exported")
    with small_pooled_network():
        export_detector(make_detector(), folder)
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("name", ["network.onnx", "maps.onnx", "ranker.npz"])
def test_a_damaged_or_missing_part_is_refused_before_it_is_read(name, exported, tmp_path):
    copy = copy_of(exported, tmp_path)
    (copy / name).write_bytes((copy / name).read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=rf"{name} is damaged or of another export"):
        ExportedDetector(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing; copy the whole folder"):
        ExportedDetector(copy)


# How the crops of an exported detector may be described.
CROPS = {"geometry": {"crop_size": 32, "padding": 2}, "mean": [0, 0, 0], "std": [1, 1, 1], "batch_size": 8}
RANKED_BY = {
    "method": "ranked",
    "max_boxes": 9,
    "merge_iou": None,
    "maps": {"mean": [0, 0, 0], "std": [1, 1, 1], "long_side": 64},
}


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"kind": "detector"}, r"describes 'detector', expected 'exported detector'"),
        (
            {"schema": 99},
            r"schema 99, this version of rcnn-svm reads 1; .* wrote it: install that version",
        ),
        ({"classes": None}, r"detector.json is damaged"),
        ({"crop": {}}, r"detector.json is damaged"),
        ({"files": None}, r"detector.json is damaged"),
        ({"thresholds": [0.5]}, r"detector.json is damaged"),
        ({"calibration": [[1.0, 0.0]]}, r"detector.json is damaged"),
        ({"crop": {**CROPS, "geometry": {"crop_size": 32, "padding": 2, "zoom": 1}}}, r"detector.json is damaged"),
        ({"crop": {**CROPS, "geometry": {"crop_size": 10**9, "padding": 2}}}, r"detector.json is damaged"),
        ({"crop": {**CROPS, "mean": [0, 0], "std": [1, 1]}}, r"detector.json is damaged"),
        ({"crop": {**CROPS, "batch_size": "8"}}, r"detector.json is damaged"),
        ({"recipe": {"dream": True}}, r"recipe has 'dream'"),
        ({"proposals": {"method": "ranked"}}, r"detector.json is damaged"),
        ({"proposals": {**RANKED_BY, "max_boxes": 0}}, r"max_boxes is 0"),
        ({"proposals": {**RANKED_BY, "maps": {**RANKED_BY["maps"], "long_side": 10**9}}}, r"detector.json is damaged"),
    ],
)
def test_another_description_is_refused(change, sentence, exported, tmp_path):
    copy = copy_of(exported, tmp_path)
    path = copy / "detector.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=sentence):
        ExportedDetector(copy)


def test_what_is_missing_of_a_description_is_told_by_inspect_too(exported, tmp_path):
    copy = copy_of(exported, tmp_path)
    path = copy / "detector.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "schema"}))  # as of 0.1.0
    assert inspect_artefact(copy).record["schema"] == 1
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "crop"}))
    with pytest.raises(InputError, match=r"detector.json is damaged"):
        inspect_artefact(copy)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no folder of an exported detector"):
        ExportedDetector(tmp_path)


def test_an_export_is_replaced_whole(make_detector, exported, tmp_path, image):
    copy = copy_of(exported, tmp_path)
    other = make_detector(recipe=Recipe(vote=True))
    with small_pooled_network():
        export_detector(other, copy)
        assert ExportedDetector(copy).recipe.vote
        assert_equal_boxes(
            ExportedDetector(copy).detect(image, thresh=-np.inf), ImageDetector(other).detect(image, thresh=-np.inf), 5
        )


def test_arguments_go_before_the_recipe_and_the_proposals(make_detector, image, tmp_path):
    detector = make_detector(recipe=Recipe(vote=True, again=5, soft_nms=True))
    given = {"proposer": SlidingWindow(max_boxes=15), "vote": False, "again": 0, "soft_nms": False}
    with small_pooled_network():
        export_detector(detector, tmp_path)
        exported = ExportedDetector(tmp_path, **given)
        expected = ImageDetector(detector, **given).detect(image, thresh=-np.inf)
    assert_equal_boxes(exported.detect(image, thresh=-np.inf), expected, 5)
    assert exported.recipe == detector.recipe


def test_an_opencv_without_selective_search_is_told_once_and_in_words(exported, tmp_path):
    copy = copy_of(exported, tmp_path)
    path = copy / "detector.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "proposals": {"method": "fast"}}))
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    code = """
import cv2
vars(cv2).pop("ximgproc", None)
from rcnn_svm import InputError
from rcnn_svm.export import ExportedDetector
try:
    ExportedDetector(sys.argv[1]).detect(sys.argv[2])
except InputError as error:
    print(error)
"""
    assert "install opencv-contrib-python-headless" in run_alone(code, copy, tmp_path / "a.png")


def test_the_example_of_the_docs(exported, image, tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    copy_of(exported, tmp_path / "street")
    Image.fromarray(image).save(tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "docs", "exec"), names)
    assert names["found"].boxes.shape == (len(names["found"]), 4)
    assert names["exported"].classes == ("cat", "dog", "Köter")
