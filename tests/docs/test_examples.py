"""The Python of README and docs, as it stands there but for fewer boxes and networks without weights to download."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import torch

from rcnn_svm import Detections, Detector, HardNegativeMiner, load_voc
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
from tests.toys import stored, telling, toy_cache

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))


def example(word: str) -> str:
    """Return the block of Python in which a word occurs."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return found


def run(code: str, **names) -> dict:
    """Run code with some names given, and return all names."""
    exec(compile(code, "docs", "exec"), names)
    return names


def test_own_images_to_detector(own_data, tmp_path, monkeypatch, capsys):
    code = re.sub(r'("max_boxes": )\d+', r"\g<1>40", example("load_csv"))
    photos = tmp_path / "photos"
    photos.mkdir()
    header, *rows = own_data.csv.read_text().splitlines()
    used = own_data.splits["test"][:3]
    chosen = [row for row in rows if row[:6] in used]
    (tmp_path / "boxes.csv").write_text("\n".join([header, *chosen]))
    for name in used:
        shutil.copy(own_data.images / f"{name}.jpg", photos)
    shutil.copy(own_data.images / "000001.jpg", photos / "street.jpg")
    monkeypatch.chdir(tmp_path)
    names = run(code)
    assert "mAP" in capsys.readouterr().out
    assert len(names["train"]) + len(names["test"]) == len(used)
    assert Detector.load("model.h5").classes == names["train"].classes
    assert names["found"].boxes.shape[1] == 4


def test_labels_to_a_detector_in_one_call(own_data, tmp_path, monkeypatch):
    shutil.copy(own_data.csv, tmp_path / "boxes.csv")
    shutil.copytree(own_data.images, tmp_path / "photos")
    shutil.copy(next(own_data.images.iterdir()), tmp_path / "photos" / "street.jpg")
    monkeypatch.chdir(tmp_path)
    quick = 'preset="paper", method="sliding", max_boxes=20, crop_size=32, svm_C=0.01, pictures=0'
    code = example("train_detector(").replace('out="cache/run"', f'out="cache/run", {quick}')
    names = run(code)
    assert len(names["found"].to_dict()["objects"]) == len(names["found"])
    assert Path("street.jpg").exists()


def test_bootstrapping(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    label = np.zeros(1200, int)
    label[:12] = label[500:518] = 2  # objects come first in their images
    overlap = np.where(label[:, None] == [1, 2], 1, 0.29 * rng.random((1200, 2)))
    X, y = rng.standard_normal((1200, 5)) + (label > 0)[:, None], (label > 0).astype(int)
    cache = toy_cache([500, 700], classes=("cat", "dog"), features=X, label=label, overlap=overlap)
    stored(cache, tmp_path / "cache/features/NAME")
    monkeypatch.chdir(tmp_path)
    code = re.sub(r"^cache_keys", "keys = cache_keys", example("BootstrapClassifier(\n"), flags=re.MULTILINE)
    names = run(code, X=X, y=y, batches=lambda: [(X[:700], y[:700]), (X[700:], y[700:])])
    # All rows are examples here, so that keys tell rows.
    assert names["keys"].tolist() == [[int(row >= 500), row - 500 * (row >= 500)] for row in rows_of(names)]
    assert set(np.flatnonzero(label)) <= set(rows_of(names))


def rows_of(names: dict) -> list[int]:
    return names["classifier"].indices_.tolist()


def test_your_own_training_loop():
    torch.manual_seed(0)
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 50]]), "labels": torch.tensor([1])}] * 2
    code = example("add_ohem(").replace("fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn")
    without_weights = "weights=None, weights_backbone=None, num_classes=3, min_size=64, rpn_post_nms_top_n_train=150"
    code = code.replace('weights="DEFAULT"', without_weights)
    names = run(code, images=images, targets=targets)
    assert set(names["losses"]) >= {"loss_classifier", "loss_box_reg"}
    assert [0 < len(rows) <= 64 for rows in names["model"].roi_heads.selection.rows] == [True, True]

    head = torch.nn.Linear(4, 3)
    boxes, labels = [torch.rand(n, 4).cumsum(1) for n in (90, 5)], [torch.randint(3, (n,)) for n in (90, 5)]

    def losses_of(network, rows):
        logits = network(torch.cat([one[row] for one, row in zip(boxes, rows, strict=True)]))
        wanted = torch.cat([one[row] for one, row in zip(labels, rows, strict=True)])
        return torch.nn.functional.cross_entropy(logits, wanted, reduction="none")

    names = run(
        example("RoISampler("),
        max_overlaps=torch.linspace(0, 1, 200),
        max_classes=torch.full((200,), 2),
        roi_head=head,
        losses_of=losses_of,
        boxes=boxes,
        labels=labels,
        logits=torch.randn(2, 30, 4),
        anchor_labels=torch.arange(60).view(2, 30) % 30 % 4 * (torch.arange(30) < 4),
    )
    overlaps = torch.linspace(0, 1, 200)[names["rows"]]
    assert (overlaps >= 0.5).tolist() == [True] * 16 + [False] * 48 and (overlaps >= 0.1).all()
    assert head.weight.grad.abs().sum() > 0
    assert len(names["hard"].rows) == 2
    assert names["marked"].sum(1).tolist() == [9, 9]  # for 3 positives in each image


def test_a_report(tmp_path, monkeypatch):
    write_synthetic_voc(tmp_path / "VOCdevkit", num_train=4, num_test=1)
    monkeypatch.chdir(tmp_path)
    images = load_voc("VOCdevkit", "2007", "trainval", classes=SYNTHETIC_CLASSES)
    cache = toy_cache([30] * 4, classes=("ball", "ring"), image_ids=images.image_ids)
    HardNegativeMiner(svm_C=0.1).fit(stored(cache, tmp_path / "features")).save("model.h5")
    run(example("Report.of_model").replace('"VOCdevkit"', f'"VOCdevkit", classes={SYNTHETIC_CLASSES}'))
    page = (tmp_path / "report/report.html").read_text()
    assert "What was hard: model.h5, toy" in page and page.count("/9j/") > 20  # how a JPEG begins in base64


def test_a_miner_writes_a_report_with_a_test(tmp_path, monkeypatch):
    write_synthetic_voc(tmp_path / "VOCdevkit", num_train=4, num_test=4)
    monkeypatch.chdir(tmp_path)
    for split, folder in (("trainval", "features"), ("test", "test_features")):
        images = load_voc("VOCdevkit", "2007", split, classes=SYNTHETIC_CLASSES)
        stored(toy_cache([30] * 4, classes=images.classes, image_ids=images.image_ids), tmp_path / folder)
    code = example("miner.report(").replace('"VOCdevkit"', f'"VOCdevkit", classes={SYNTHETIC_CLASSES}')
    assert len(code.splitlines()) <= 10
    run(code)
    page = (tmp_path / "report/report.html").read_text()
    assert "What was hard: the model, toy" in page and "Best and worst images" in page and page.count("/9j/") > 20


def test_what_a_detector_gets_wrong(tmp_path, monkeypatch, capsys):
    write_synthetic_voc(tmp_path / "VOCdevkit", num_train=1, num_test=6)
    monkeypatch.chdir(tmp_path)
    database = load_voc("VOCdevkit", "2007", "test", classes=SYNTHETIC_CLASSES)
    truth = [database.annotation(index) for index in range(len(database))]
    boxes, cls = (np.concatenate([getattr(image, name) for image in truth]) for name in ("boxes", "classes"))
    image = np.repeat(np.arange(len(truth)), [len(image.boxes) for image in truth])
    called = np.where(np.arange(len(cls)) % 3, cls, (cls + 1) % len(SYNTHETIC_CLASSES))
    Detections(database.image_ids, database.classes, image, called, boxes, np.ones(len(cls))).save("detections.h5")
    code = example("detection_errors(").replace('"test")', f'"test", classes={SYNTHETIC_CLASSES})')
    names = run(code)
    printed = capsys.readouterr().out
    assert len(names["confused"]) == (len(cls) + 2) // 3 and printed.count("it is on a") == min(
        len(names["confused"]), 5
    )
    assert f"{names['missed'].sum()} objects are missed" in printed and "Cls costs 0." in printed


def test_suspects_are_written_for_review(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = stored(telling(0, 12), tmp_path / "cache/features/NAME")
    HardNegativeMiner(svm_C=1e-4, retrain_limit=50).fit(cache).save("model.h5")
    names = run(example("find_suspects("))
    lines = Path("suspects.csv").read_text().splitlines()
    assert lines[0].startswith("image,x1,y1,x2,y2,class,") and len(lines) == 1 + len(names["suspects"]) > 1
