"""The folder of what was mined: nothing is lost on the way, and what a person strikes out is no negative."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from rcnn_svm.cache import FeatureCache
from rcnn_svm.errors import InputError
from rcnn_svm.mining.mined_regions import (
    FEATURES,
    MANIFEST,
    PART_IMAGES,
    MinedFrame,
    load_part,
    mined_negatives,
    read_manifest,
    save_part,
    write_regions,
)

CLASSES = ("cat", "dog/wolf")
DIM = 4


def jpeg(grey):
    stream = io.BytesIO()
    Image.new("L", (8, 8), grey).save(stream, "JPEG")
    return stream.getvalue()


def frame(number, regions, *, source="a.mp4", image=False):
    """A frame whose regions have features at random, all of them apart."""
    rng = np.random.default_rng(number)
    corner = rng.integers(0, 30, (regions, 2))
    return MinedFrame(
        source=source,
        frame=None if image else 25 * number,
        time=None if image else float(number),
        image_size=(60, 80),
        boxes=np.hstack([corner, corner + 20]).astype(np.float32),
        cls=rng.integers(0, 2, regions),
        scores=rng.normal(size=regions).astype(np.float32),
        features=np.float32(np.float16(rng.normal(size=(regions, DIM)))),
        crops=[jpeg(10 * row) for row in range(regions)],
    )


@pytest.fixture
def frames():
    """Two images, one without regions, then a video of many frames."""
    images = [frame(0, 3, source="x.jpg", image=True), frame(1, 0, source="y.jpg", image=True)]
    return images + [frame(number, number % 4) for number in range(2, PART_IMAGES + 10)]


@pytest.fixture
def folder(frames, tmp_path):
    """A folder of mined regions."""
    parts = []
    for first in range(0, len(frames), PART_IMAGES):
        parts.append(tmp_path / f"{first}.part")
        save_part(parts[-1], frames[first : first + PART_IMAGES], {"next": [1, first]})
    lines = write_regions(tmp_path, parts, CLASSES, {"backbone": {"name": "toy"}}, DIM)
    (tmp_path / MANIFEST).write_text("".join(f"{line.line()}\n" for line in lines))
    return tmp_path


def test_a_part_is_read_as_it_was_written(frames, tmp_path):
    save_part(tmp_path / "a.h5", frames[:9], {"next": [3, 4]})
    found, settings = load_part(tmp_path / "a.h5")
    assert settings == {"next": [3, 4]}
    for one, other in zip(found, frames[:9], strict=True):
        for name, value in vars(other).items():
            np.testing.assert_array_equal(getattr(one, name), value, name)


def test_lines_name_regions_of_the_features_beside_them(frames, folder):
    cache = FeatureCache.open(folder / FEATURES)
    lines = read_manifest(folder / MANIFEST)
    by_id = {f.image_id: f for f in frames}
    assert [line.score for line in lines] == sorted((line.score for line in lines), reverse=True)
    assert sorted(line.id for line in lines) == [*range(cache.num_rows)]
    assert len(lines) > PART_IMAGES
    for line in lines:
        image, row = cache.keys([line.id])[0]
        regions = cache.regions(image)
        taken = by_id[regions.image_id]
        assert (line.source, line.frame, line.time) == (taken.source, taken.frame, taken.time)
        [place] = np.flatnonzero((taken.features == regions.features[row]).all(axis=1))
        assert line.box == regions.boxes[row].tolist() == taken.boxes[place].tolist()
        assert line.score == pytest.approx(taken.scores[place], abs=1e-4)
        assert line.cls == CLASSES[taken.cls[place]]
        assert (folder / line.crop).read_bytes() == taken.crops[place]


def test_a_region_is_a_negative_of_the_class_that_fired_alone(folder):
    lines = {line.id: line for line in read_manifest(folder / MANIFEST)}
    cache = mined_negatives(folder / MANIFEST, ("dog/wolf", "bird", "cat"))
    overlap = np.concatenate([block.overlap for block in cache.blocks()])
    for number, row in enumerate(overlap):
        expected = {"dog/wolf": [0, 1, 1], "cat": [1, 1, 0]}[lines[number].cls]
        assert row.tolist() == expected
    assert not any(block.gt.any() for block in cache.blocks())


def test_what_is_struck_out_is_no_negative(folder):
    manifest = folder / MANIFEST
    contents = [json.loads(text) for text in manifest.read_text().splitlines()]
    contents[0]["keep"] = False
    deleted = contents.pop(3)
    manifest.write_text("\n\n".join(map(json.dumps, contents)))
    gone = {contents[0]["id"], deleted["id"]}
    whole = FeatureCache.open(folder / FEATURES)
    kept = [number for number in range(whole.num_rows) if number not in gone]
    cache = mined_negatives(manifest, CLASSES)
    np.testing.assert_array_equal(cache.gather(np.arange(cache.num_rows)), whole.gather(kept))
    assert [cache.image_ids[i] for i in cache.keys(np.arange(cache.num_rows))[:, 0]] == [
        whole.image_ids[i] for i in whole.keys(kept)[:, 0]
    ]
    assert cache.fingerprint != mined_negatives_of_all(manifest, whole).fingerprint


def mined_negatives_of_all(manifest, whole):
    lines = []
    for number in range(whole.num_rows):
        image, row = whole.keys([number])[0]
        regions = whole.regions(image)
        cls = CLASSES[regions.overlap[row].argmin()]
        lines.append({"id": number, "source": "", "box": regions.boxes[row].tolist(), "class": cls, "score": 0})
    manifest.write_text("\n".join(map(json.dumps, lines)))
    return mined_negatives(manifest, CLASSES)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda lines: ["no json", *lines[1:]], "line 1 of .* is not a region"),
        (lambda lines: [lines[0], lines[0]], "line 2 of .* has id"),
        (lambda lines: [lines[0].replace('"keep": true', '"keep": "no"')], "has keep 'no', expected true or false"),
        (lambda lines: [lines[0].replace('"id": ', '"id": 9')], "the features beside it are of 0 to"),
        (lambda lines: [lines[0].replace('"box": [', '"box": [1')], "with another box or class"),
        (lambda lines: ['{"id": ' + "[" * 100_000], "line 1 of .* is not a region"),
        (lambda lines: [lines[0].replace('"id": ', '"id": 1e999, "x": ')], "line 1 of .* is not a region .*infinity"),
        (lambda lines: [lines[0].replace('"box": [', '"box": [1, ')], "line 1 of .* has a box of 5 numbers"),
        (lambda lines: [], "keeps no region"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder, edit, sentence):
    manifest = folder / MANIFEST
    manifest.write_text("\n".join(edit(manifest.read_text().splitlines())))
    with pytest.raises(InputError, match=sentence):
        mined_negatives(manifest, CLASSES)


def test_a_missing_manifest_is_refused(folder):
    with pytest.raises(InputError, match="cannot read the manifest"):
        mined_negatives(folder / "none.jsonl", CLASSES)
