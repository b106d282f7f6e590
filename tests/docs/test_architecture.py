"""The worked examples of docs/architecture.md, as they stand there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn_svm import FeatureCache, FeatureExtractor, InputError, make_runtime
from rcnn_svm.cache.feature_norm import mean_feature_norm
from rcnn_svm.cli.main import COMMANDS, main
from rcnn_svm.data import require_annotations
from rcnn_svm.features import backbones, load_backbone
from rcnn_svm.mining import RoIs
from tests.toys import stored, toy_cache

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"


def blocks(heading: str) -> list[str]:
    """Return the blocks of Python below a heading."""
    (section,) = [text for text in PAGE.read_text(encoding="utf-8").split("\n## ") if text.startswith(heading + "\n")]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def run(code: str, **names) -> dict:
    """Run code with some names given, and return all names."""
    exec(compile(code, PAGE.name, "exec"), names)
    return names


def test_every_room_has_its_line():
    rooms = set(
        re.findall(r"^\| `([\w./]+)` \|", PAGE.read_text(encoding="utf-8").split("### mining/")[0], re.MULTILINE)
    )
    package = ROOT / "rcnn_svm"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert folders | {"mining/engine/"} == {room for room in rooms if room.endswith("/")}
    assert [room for room in rooms if not (package / room).exists()] == []


def test_every_file_of_mining_has_its_line():
    (section,) = re.findall(r"^### mining/.*?^### ", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    named = [name for line in lines for name in re.findall(r"`([\w/]+\.py)`", line)]
    room = ROOT / "rcnn_svm" / "mining"
    files = [path.relative_to(room).as_posix() for path in room.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(named) == sorted(files)


def test_a_backbone(monkeypatch):
    monkeypatch.setitem(backbones.SOURCES, "three_layers", None)
    (code,) = blocks("Add a backbone")
    names = run(code)
    backbone = names["backbone"]
    assert "three_layers" in backbones.backbone_names()
    assert (backbone.dim, backbone.crop_size) == (64, 64)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    features = FeatureExtractor(backbone, make_runtime(backbone)).extract(
        image, np.array([[0, 0, 30, 30], [5, 5, 49, 39]])
    )
    assert features.shape == (2, 64) and np.isfinite(features).all() and features.std() > 0


def test_its_weights_are_read_from_its_file(monkeypatch, tmp_path):
    monkeypatch.setitem(backbones.SOURCES, "three_layers", None)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("Add a backbone")
    network = run(code)["three_layers"]().build(64)
    torch.save(network.state_dict(), "three_layers.pt")
    crops = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(load_backbone("three_layers").module(crops), network[:-1](crops))


def test_a_mining_method():
    torch.manual_seed(0)
    (code,) = blocks("Add a mining method")
    names = run(code)
    assert [len(set(rows.tolist())) for rows in names["taken"].rows] == [64, 64]
    assert names["head"].weight.grad.abs().sum() > 0
    # RoI 1 has nine tenths of the loss, RoI 2 none.
    rois, loss = RoIs(labels=torch.zeros(3, dtype=torch.int64)), torch.tensor([1.0, 9.0, 0.0])
    sampler, generator = names["RoIsByLoss"](rois_per_image=1), torch.Generator().manual_seed(0)
    drawn = torch.cat([sampler.select(rois, loss, generator) for _ in range(1000)])
    assert torch.bincount(drawn, minlength=3).tolist() == [pytest.approx(100, abs=40), pytest.approx(900, abs=40), 0]


@pytest.fixture
def norm_stage(monkeypatch, tmp_path):
    """The documented stage as the module and command that it describes, and the arguments of a call."""
    (code,) = blocks("Add a stage")
    module = ModuleType("rcnn_svm.cli.norm")
    exec(compile(code, "norm.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "norm", "measure the mean norm of features")
    stored(toy_cache([20, 30]), tmp_path / "features")
    return ["norm", "--features", str(tmp_path / "features"), "--out", str(tmp_path / "norm.json")]


def test_a_stage(norm_stage, tmp_path, capsys):
    out = tmp_path / "norm.json"
    assert main(norm_stage) == 0 and f"wrote {out}" in capsys.readouterr().out
    first = json.loads(out.read_text())
    assert first["norm"] == pytest.approx(mean_feature_norm(FeatureCache.open(tmp_path / "features"), 3))
    assert main(norm_stage) == 0 and f"done already: {out}" in capsys.readouterr().out
    assert main([*norm_stage, "--seed", "5"]) == 2
    assert "was made with other settings (seed: 3 there, 5 wanted)" in capsys.readouterr().err
    assert json.loads(out.read_text()) == first
    assert main([*norm_stage, "--seed", "5", "--overwrite"]) == 0
    assert json.loads(out.read_text())["settings"] == {**first["settings"], "seed": 5}


def test_a_stage_refuses_a_damaged_result(norm_stage, tmp_path, capsys):
    (tmp_path / "norm.json").write_text("{")
    assert main(norm_stage) == 2
    assert "norm.json" in capsys.readouterr().err


KITTI = """\
Car 0.00 0 1.85 2.00 3.00 11.00 9.00 1.67 1.87 3.69 -16.53 2.39 58.49 1.57
Cyclist 0.40 3 -1.65 0.00 0.50 4.25 8.00 1.86 0.60 2.02 4.59 1.32 45.84 -1.55
DontCare -1 -1 -10 1.00 1.00 5.00 5.00 -1 -1 -1 -1000 -1000 -1000 -10
"""


@pytest.fixture
def kitti(tmp_path, monkeypatch):
    """A function that writes an image of 20 x 10 pixels with these lines and opens it with the documented reader."""

    def read(text: str):
        for name in ("image_2", "label_2"):
            (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10)).save(tmp_path / "image_2" / "000000.png")
        (tmp_path / "label_2" / "000000.txt").write_text(text)
        monkeypatch.chdir(tmp_path)
        (code,) = blocks("Add a data format")
        return run(code)["photos"]

    return read


def test_a_data_format(kitti):
    photos = kitti(KITTI)
    assert photos.image_ids == ("000000",) and photos.load_image(0).shape == (10, 20, 3)
    truth = photos.annotation(0)
    np.testing.assert_array_equal(truth.boxes, np.array([[2, 3, 11, 9], [0, 0.5, 4.25, 8]], np.float32))
    assert [photos.classes[k] for k in truth.classes] == ["Car", "Cyclist"]
    assert truth.truncated.tolist() == [False, True] and photos.notes.lines() == []


def test_a_data_format_refuses_what_it_cannot_read(kitti):
    with pytest.raises(InputError, match="has a line without the four numbers of a box"):
        kitti("Car 0.00 0 1.85 2.00 3.00\n").annotation(0)


def test_a_data_format_cuts_boxes_to_their_images_and_refuses_them_on_request(kitti):
    photos = kitti("Car 0 0 0 8 0 25 9\n")
    np.testing.assert_array_equal(photos.annotation(0).boxes, [[8, 0, 19, 9]])
    assert photos.notes.lines()[0].startswith("boxes cut to their images, because they reach outside: 1, the first is")
    with pytest.raises(InputError, match=r"000000\.txt: Car .* in an image of 20 x 10 pixels \(boxes cut"):
        require_annotations(photos, strict=True)
