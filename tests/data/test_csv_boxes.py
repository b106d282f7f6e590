"""CSV files of boxes: what is read, and what is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from rcnn_svm.data.checks import require_annotations, require_ground_truth
from rcnn_svm.data.csv_boxes import load_csv
from rcnn_svm.errors import InputError

HEADER = "image,x1,y1,x2,y2,class,difficult\n"


def load(folder, text, **options):
    Image.new("RGB", (50, 40)).save(folder / "a.png")
    Image.new("RGB", (30, 20)).save(folder / "b.jpg")
    (folder / "boxes.csv").write_bytes(text.encode())
    return load_csv(folder / "boxes.csv", folder, **options)


def test_rows_become_objects(tmp_path):
    text = HEADER + "b.jpg,0,1,29,19,dog,1\na.png,5,6,5,6,cat,0\nb.jpg,0.5,1,2,3,ant,\n"
    database = load(tmp_path, text)
    assert (database.name, database.classes, database.image_ids) == ("boxes", ("ant", "cat", "dog"), ("b", "a"))
    first = database.annotation(0)
    assert first.image_size == (20, 30)
    np.testing.assert_array_equal(first.boxes, np.array([[0, 1, 29, 19], [0.5, 1, 2, 3]], np.float32))
    assert first.classes.tolist() == [2, 0] and first.difficult.tolist() == [True, False]
    assert first.boxes.dtype == np.float32 and first.classes.dtype == np.int64 and first.difficult.dtype == bool
    assert not first.truncated.any()


def test_columns_in_another_order_and_others_besides(tmp_path):
    text = "\ufeffclass, y2,x2,y1,x1,image,note\r\ndog,4,3,2,1,a.png,blurred\r\n\r\n"
    np.testing.assert_array_equal(load(tmp_path, text).annotation(0).boxes, [[1, 2, 3, 4]])


def test_a_row_without_box_is_an_image_without_objects(tmp_path):
    database = load(tmp_path, HEADER + "b.jpg,,,,,,\na.png,1,1,2,2,dog,0\n")
    assert database.image_ids == ("b", "a")
    assert database.annotation(0).boxes.shape == (0, 4)


def test_boxes_outside_by_rounding_are_cut(tmp_path):
    boxes = load(tmp_path, HEADER + "a.png,-1,-0.5,50,40,dog,0\n").annotation(0).boxes
    np.testing.assert_array_equal(boxes, [[0, 0, 49, 39]])


@pytest.mark.parametrize("box", ["-1.5,0,5,5", "0,0,51,5", "0,0,5,41", "6,0,5,5", "0,6,5,5"])
def test_boxes_outside_or_empty_are_refused_on_request(tmp_path, box):
    database = load(tmp_path, f"{HEADER}b.jpg,1,1,2,2,cat,0\na.png,{box},dog,0\n")
    told = " ".join(f"{side}={value}" for side, value in zip(("x1", "y1", "x2", "y2"), box.split(","), strict=True))
    with pytest.raises(InputError, match=rf"boxes\.csv, line 3 \(dog\): box {told} .* 50 x 40 pixels"):
        require_annotations(database, strict=True)


@pytest.mark.parametrize(
    ("row", "box", "line"),
    [
        ("a.png,6,9,5,5,dog", [5, 5, 6, 9], "boxes whose corners are exchanged"),
        ("a.png,-3,0,52,5,dog", [0, 0, 49, 5], "boxes cut to their images"),
        ("a.png,60,0,72,5,dog", None, "objects left out, because their boxes are wholly outside their images"),
        ("a.png,0,0,0,0,background", None, "rows left out, because their box is 0,0,0,0 and their class is no object"),
        ("a.png,,,,,background", None, "rows left out, because they have a class and no box"),
        ("a.png,nan,nan,nan,nan,nan", None, None),
        ("a.png,NaN,None,,null,", None, None),
        ("a.png,0,0,0,0,dog", [0, 0, 0, 0], None),
    ],
)
def test_one_row_of_another_shape_does_not_stop_the_set(tmp_path, row, box, line):
    database = load(tmp_path, f"{HEADER}b.jpg,1,1,2,2,cat,0\n{row}\n")
    assert database.image_ids == ("b", "a") and "background" not in database.classes
    assert database.annotation(1).boxes.tolist() == ([box] if box else [])
    assert bool(database.notes.lines()) == bool(line)
    assert all(told.startswith(line) and "line 3" in told for told in database.notes.lines())


SAME = [
    ("our own", "image,x1,y1,x2,y2,class\na.png,2,3,11,22,dog\n"),
    ("TensorFlow", "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,50,40,dog,2,3,11,22\n"),
    ("BCCD", "filename,cell_type,xmin,xmax,ymin,ymax\na.png,dog,2,11,3,22\n"),
    ("AquaTrash", "image_name,x_min,y_min,x_max,y_max,class_name\na.png,2,3,11,22,dog\n"),
    ("capitals", "Image,X1,Y1,X2,Y2,Class\na.png,2,3,11,22,dog\n"),
    ("RetinaNet", "a.png,2,3,11,22,dog\n"),
    ("makesense.ai", "dog,2,3,10,20,a.png,50,40\n"),
    (
        "makesense.ai with a header",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ndog,2,3,10,20,a.png,50,40\n",
    ),
    (
        "VGG Image Annotator",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        'a.png,1,{},1,0,"{""name"":""rect"",""x"":2,""y"":3,""width"":10,""height"":20}","{""label"":""dog""}"\n',
    ),
    ("Open Images", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,own,dog,1,0.04,0.24,0.075,0.575\n"),
    ("semicolons", "image;x1;y1;x2;y2;class\na.png;2;3;11;22;dog\n"),
    ("decimal commas", "image;x1;y1;x2;y2;class\na.png;2,0;3,0;11,0;22,0;dog\n"),
    ("Excel", "sep=;\nimage;x1;y1;x2;y2;class\na.png;2;3;11;22;dog\n"),
    ("tabs", "image\tx1\ty1\tx2\ty2\tclass\na.png\t2\t3\t11\t22\tdog\n"),
]


@pytest.mark.parametrize("text", [text for _, text in SAME], ids=[tool for tool, _ in SAME])
def test_the_same_box_from_files_of_other_tools(tmp_path, text):
    database = load(tmp_path, text)
    assert (database.image_ids, database.classes) == (("a",), ("dog",))
    np.testing.assert_allclose(database.annotation(0).boxes, [[2, 3, 11, 22]], atol=1e-5)
    assert bool(database.notes.lines()) == ("ImageID" in text)


def test_an_image_without_objects_in_the_first_row_without_header(tmp_path):
    assert load(tmp_path, "b.jpg,,,,,\na.png,2,3,11,22,dog\n").image_ids == ("b", "a")


def test_bad_rows_are_said_at_once(tmp_path):
    """A user with five bad rows hears of five, not of one in each of five runs."""
    rows = "".join(f"a.png,1,2,3,{end},dog,0\n" for end in ("?", "4", "", "x", "y", "z"))
    with pytest.raises(
        InputError, match=r"5 things are wrong:\n.*line 2: y2 is '\?'(.|\n)*line 4(.|\n)*line 7: y2 is 'z'"
    ):
        load(tmp_path, HEADER + rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: there is no column 'image' among no columns at all"),
        ("a.png,1,2,3,4,dog,?,?\n", "line 1: there is no column 'image' among a.png, 1"),
        ("picture;x1;y1;x2;y2;class\n", "there is no column 'image' among picture, x1"),
        ("image,from,ymin,xmax,ymax,class\n", "there is no column 'x1' .* expected image,x1,y1,x2,y2,class"),
        ("image,x1,y1,x2,y2,class,class\n", "line 1: there are 2 columns 'class'; rename or remove one"),
        (HEADER + "a.png,1,2,3,4,,0\n", "line 2: class is empty"),
        (HEADER + "a.png,1,,3,4,dog,0\n", "line 2: y1 is empty"),
        (HEADER + ",1,2,3,4,dog,0\n", "line 2: image is empty"),
        (HEADER + "a.png,1,2,3\n", "line 2: class is empty"),
        (HEADER + "a.png,1,2,3,wide,dog,0\n", "line 2: y2 is 'wide', expected a number"),
        (HEADER + "a.png,1,2,nan,4,dog,0\n", "line 2: x2 is 'nan', expected a number"),
        (HEADER + "a.png,1,2,3,4,dog,yes\n", "line 2: difficult is 'yes', expected 0 or 1"),
        (HEADER + "../c.png,1,2,3,4,dog,0\n", r"names the image '\.\./c\.png', expected a name inside"),
        (HEADER + 'a.png,1,2,3,4,"a\tb",0\n', r"class name 'a\\tb' holds '\\t'"),
        (HEADER + "a\0.png,1,2,3,4,dog,0\n", r"names the image 'a\\x00\.png', which holds '\\x00'"),
        (HEADER + "a.png,1,2,3,4,dog,0,0\n", "line 2: '0' is beyond the 7 columns of line 1"),
        (HEADER + "a.png,1,2,3,4,dog, black,0\n", "line 2: '0' is beyond the 7 columns of line 1"),
        (HEADER + "a.png,,,,,,\n", "has no objects, so its classes are unknown"),
    ],
)
def test_bad_rows(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"boxes\.csv.*{message}"):
        load(tmp_path, text)


def test_missing_and_undecodable_files(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        load_csv(tmp_path / "none.csv", tmp_path)
    (tmp_path / "x.csv").write_bytes(HEADER.encode() + b"\xff\xff")
    with pytest.raises(InputError, match=r"x\.csv is not UTF-8 text \(invalid start byte\); save it as UTF-8"):
        load_csv(tmp_path / "x.csv", tmp_path)


def test_empty_columns_beyond_the_last_one_are_what_spreadsheets_leave(tmp_path):
    database = load(tmp_path, HEADER + "a.png,1,2,3,4,dog,0,,\n")
    np.testing.assert_array_equal(database.annotation(0).boxes, [[1, 2, 3, 4]])


def test_no_images(tmp_path):
    with pytest.raises(InputError, match=r"boxes\.csv names no images; add them"):
        load(tmp_path, HEADER, classes=["dog"])


def test_missing_image_is_told_when_it_is_needed(tmp_path):
    database = load(tmp_path, HEADER + "c.png,1,2,3,4,dog,0\n")
    with pytest.raises(InputError, match=r"c\.png does not exist"):
        database.annotation(0)


def test_the_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    (tmp_path / "boxes.csv").write_text(HEADER + "turned.jpg,0,0,19,29,dog,0\n")
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    database = load_csv(tmp_path / "boxes.csv", tmp_path)
    assert database.annotation(0).image_size == (30, 20) == database.load_image(0).shape[:2]


def test_a_name_that_no_file_can_have_is_an_image_that_is_missing(tmp_path):
    database = load(tmp_path, f"{HEADER}{'x' * 300}.png,1,1,2,2,dog,0\n")
    with pytest.raises(InputError, match=r"x\.png"):
        database.annotation(0)


def test_images_that_differ_in_their_suffix_only_keep_it(tmp_path):
    for name in ("a.jpg", "c.png", "c.png.png", "c.jpg"):
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    names = ("a.png", "a.jpg", "b.jpg", "c.jpg", "c.png", "c.png.png")
    database = load(tmp_path, HEADER + "".join(f"{name},1,2,3,4,dog,0\n" for name in names))
    # `c.png.png` without its suffix would be another image's name.
    assert database.image_ids == ("a.png", "a.jpg", "b", "c.jpg", "c.png", "c.png.png")
    assert [database.image_path(index).name for index in range(6)] == list(names)


def test_a_class_whose_rows_have_no_box_is_said_to_be_left_out(tmp_path):
    rows = "b.jpg,1,1,2,2,cat,0\na.png,,,,,dog,0\n"
    database = load(tmp_path, HEADER + rows)
    assert database.classes == ("cat",)
    assert (
        "classes left out, because no object of them has a box that can be used: 1, the first is 'dog' with 1"
        in (database.notes.lines()[-1])
    )
    database = load(tmp_path, HEADER + rows, classes=["cat", "dog"])
    with pytest.raises(InputError, match=r"class 'dog' has no ground truth in boxes: all 1 objects called 'dog'"):
        require_ground_truth(database)
    with pytest.raises(InputError, match=r"all 1 objects in .*boxes\.csv that are called 'dog' were left out, because"):
        load(tmp_path, HEADER + rows, classes=["dog"])
    with pytest.raises(InputError, match=r"no objects with boxes that can be used \(1 were left out\), so its classes"):
        load(tmp_path, HEADER + "a.png,,,,,dog,0\n")


# Exports as tools write them; each has one box of columns 10 to 29 and rows 5 to 14 of an image of 50 x 40 pixels.
EXPORTS = {
    "Roboflow and TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,50,40,dog,10,5,29,14\n",
    "Roboflow, RetinaNet": "a.png,10,5,29,14,dog\n",
    "VIA": "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    'a.png,99,"{}",1,0,"{""name"":""rect"",""x"":10,""y"":5,""width"":20,""height"":10}","{""type"":""dog""}"\n',
    "Kaggle, VinBigData": "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\na,dog,3,R,10.0,5.0,29.0,14.0\n",
    "Kaggle, one column": 'image_id,width,height,bbox,source\na,50,40,"[10.0, 5.0, 20.0, 10.0]",usask_1\n',
    "Kaggle, no class": "image,xmin,ymin,xmax,ymax\na.png,10,5,29,14\n",
    "Kaggle, x and y": "image_id,x,y,width,height,Target\na,10.0,5.0,20.0,10.0,1\n",
    "Open Images": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    "a,xclick,dog,1,0.2,0.6,0.125,0.375,0,0,0\n",
    "shares of centre and size": "filename,class,x_center,y_center,width,height\na.png,dog,0.4,0.25,0.4,0.25\n",
    "pixels of centre and size": "file;label;cx;cy;w;h\r\na.png;dog;20;10;20;10\r\n",
    "Excel in Europe": "sep=;\r\nimage;x1;y1;x2;y2;class\r\na.png;10,0;5,0;29,0;14,0;dog\r\n",
}


@pytest.mark.parametrize("text", EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "BOM"])
def test_the_exports_of_tools_have_the_same_box(tmp_path, text, mark):
    database = load(tmp_path, mark + text, classes=["dog"])
    assert (database.image_ids, database.classes) == (("a",), ("dog",))
    np.testing.assert_allclose(database.annotation(0).boxes, [[10, 5, 29, 14]], atol=1e-4)


def test_shares_and_boxes_of_one_column_are_said(tmp_path):
    told = load(tmp_path, EXPORTS["shares of centre and size"]).notes.lines()
    assert told[0].startswith("boxes in shares of the image's width and height, made pixels: 1")
    told = load(tmp_path, EXPORTS["Kaggle, one column"], classes=["dog"]).notes.lines()
    assert told[0].startswith("files of boxes in one column, read as x, y, width, height: 1")


def test_shares_may_be_beyond_the_image_by_rounding(tmp_path):
    text = "file,label,x_center,y_center,w,h\na.png,dog,0.499,0.5,1.0,1.0\nb.jpg,dog,0.5,0.5,0.5,0.5\n"
    np.testing.assert_allclose(load(tmp_path, text).annotation(0).boxes, [[0, 0, 48.95, 39]], atol=1e-4)


def test_a_box_of_one_column_may_be_empty_or_wrong(tmp_path):
    text = 'image_id,bbox\nb,\na,"[1, 2, 3, 4]"\n'
    database = load(tmp_path, text, classes=["dog"])
    assert [database.annotation(i).boxes.tolist() for i in (0, 1)] == [[], [[1, 2, 3, 5]]]
    with pytest.raises(InputError, match=r"line 2: the box is '\[1, 2, 3\]', expected four numbers"):
        load(tmp_path, 'image_id,bbox\na,"[1, 2, 3]"\n', classes=["dog"])
    with pytest.raises(InputError, match=r"no column 'class' among image_id, bbox; .*; where all objects are of one"):
        load(tmp_path, text, classes=["dog", "cat"])
