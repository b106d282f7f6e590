"""Exports in formats that are not read: the sentence names the format and what to do."""

from __future__ import annotations

import json
import zipfile

import pytest

from rcnn_svm.data import load_coco, load_csv, load_xml_folder
from rcnn_svm.errors import InputError

CVAT = '<annotations><version>1.1</version><image id="0" name="a.jpg" width="50" height="40"></image></annotations>'


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "0 0.5 0.5 0.1 0.2\n3 0.25 0.5 1e-1 .2\n", "YOLO's format.*--yolo"),
        ("annotations.xml", CVAT, "'CVAT for images'.*COCO.*Pascal VOC"),
        ("a.json", '{"shapes": [], "imagePath": "a.jpg"}', "LabelMe's format.*COCO"),
    ],
)
def test_a_folder_of_another_format_as_xml(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match=expected):
            load_xml_folder(given, tmp_path)


LABEL_STUDIO = [{"id": 0, "annotations": [{"result": []}], "data": {"image": "/data/upload/1/a.jpg"}}]
CREATE_ML = [{"image": "a.jpg", "annotations": [{"label": "dog", "coordinates": {"x": 1, "y": 2}}]}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LABEL_STUDIO, "Label Studio's own JSON.*COCO"),
        (CREATE_ML, "CreateML's format.*COCO"),
        ({"shapes": [], "imagePath": "a.jpg"}, "LabelMe's format.*COCO"),
        ({"_via_img_metadata": {"a.jpg123": {"filename": "a.jpg", "regions": []}}}, "VIA's own JSON.*--csv"),
        ({"a.jpg123": {"filename": "a.jpg", "regions": []}}, "VIA's own JSON.*--csv"),
    ],
)
def test_a_json_of_another_format_as_coco(tmp_path, content, expected):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=expected):
        load_coco(tmp_path / "a.json", tmp_path)


def test_a_spreadsheet_or_yolo_as_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0 0.5 0.5 0.1 0.2\n")
    with pytest.raises(InputError, match="YOLO's format"):
        load_csv(path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(InputError, match=r"a\.csv is no CSV file: it is a spreadsheet.*save it as CSV"):
        load_csv(path, tmp_path)
    for start in (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 Excel 97", b"PK\x03\x04 Excel, cut"):
        path.write_bytes(start)
        with pytest.raises(InputError, match=r"spreadsheet.*\.xls"):
            load_csv(path, tmp_path)
