"""The README's way from images of one's own to a detector, run as it stands there but for fewer boxes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from rcnn_svm import Detector

README = Path(__file__).resolve().parents[1] / "README.md"


def example() -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    own = [block for block in blocks if "load_csv" in block]
    if not own:
        pytest.skip("README.md has no example with load_csv")
    return re.sub(r'("max_boxes": )\d+', r"\g<1>40", own[0])


def test_own_images_to_detector(own_data, tmp_path, monkeypatch, capsys):
    code = example()
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
    names: dict = {}
    exec(compile(code, str(README), "exec"), names)
    assert "mAP" in capsys.readouterr().out
    assert len(names["train"]) + len(names["test"]) == len(used)
    assert Detector.load("model.h5").classes == names["train"].classes
    assert names["found"].boxes.shape[1] == 4
