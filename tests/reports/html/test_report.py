"""The page as a whole: what is in it, that nothing in it is taken for markup, and what it says it was made from."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rcnn_svm import Report
from rcnn_svm.detection.detector import Detector
from rcnn_svm.errors import InputError
from rcnn_svm.mining.kinds_of_negatives import WORDS, negative_kinds
from rcnn_svm.mining.random_negatives import RandomNegativeTrainer
from rcnn_svm.reports.html import read_made_from
from rcnn_svm.reports.html.charts import objective_chart
from rcnn_svm.reports.html.crops import crop_texts
from rcnn_svm.reports.html.hardest import hardest_negatives
from rcnn_svm.reports.html.mined import SUSPECTS
from tests.reports.html.made import CLASSES, make_report, mined

VOID = {"meta", "link", "img", "br", "input"}


class Parsed(HTMLParser):
    """A page's tags with their attributes, its texts, and what stands in its scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.opened: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.opened.pop() != tag:
            self.unbalanced.append(tag)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.opened.append(tag)
        self._script = dict(attributes).get("id", "code") if tag == "script" else None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] = data
            self._script = None
        else:
            self.texts.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Report:
    return make_report(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def page(report) -> Parsed:
    return Parsed(report.html())


def test_names_are_texts_and_no_tags(page):
    assert [given["src"] for _, given in page.tags if not given.get("src", "data:").startswith("data:")] == []
    # Of ours, `b` has no name of a class in it, and `i` is the mark of a chart.
    assert {given.get("class") for tag, given in page.tags if tag == "i"} == {"cursor"}
    assert [given for _, given in page.tags if any(name.startswith("on") for name in given)] == []
    assert [tag for tag, _ in page.tags].count("script") == 3
    for name in CLASSES:
        assert name in page.texts


def test_nothing_is_asked_of_anyone_and_only_our_script_runs(page):
    for _, given in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            assert (given.get(name) or "#").startswith(("#", "data:")), given
    assert not re.search(r"url\((?!#)|@import", "".join(page.texts))
    (policy,) = [given["content"] for _, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.scripts["code"].encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")


def test_the_script_has_all_that_is_shown(report, page):
    data = json.loads(page.scripts["data"])
    assert [film["name"] for film in data["films"]] == list(CLASSES) == data["classes"]
    suspects, cases = min(len(report.suspects), SUSPECTS), len(report._found.cases.box)
    assert len(data["regions"]) + suspects + cases == len(data["crops"]) and None not in data["crops"]
    shown = {int(given["data-region"]) for _, given in page.tags if "data-region" in given}
    assert shown and shown <= set(range(len(data["regions"])))
    crops = {int(given["data-crop"]) for _, given in page.tags if "data-crop" in given}
    assert crops - shown == set(range(len(data["regions"]), len(data["crops"])))
    for film in data["films"]:
        assert {int(number) for number in film["ends"]} <= set(range(len(data["regions"])))
    assert data["passes"] == 3 and data["numImages"] == report.cache.num_images
    assert {mark["at"] for mark in data["marks"]} == {-1, 1, -1.2, -1.0001}


def test_tags_are_balanced_and_names_of_places_are_there_once(page):
    assert page.opened == [] and page.unbalanced == []
    ids = [given["id"] for tag, given in page.tags if "id" in given and tag not in ("path", "clippath")]
    assert len(ids) == len(set(ids))
    labelled = {given[name] for _, given in page.tags for name in ("aria-labelledby", "for", "list") if name in given}
    targets = {given["href"][1:] for tag, given in page.tags if tag == "a"}
    assert labelled | targets <= set(ids)


def test_why_a_negative_is_hard_and_what_is_suspicious(report, page):
    items = [given for tag, given in page.tags if tag == "li" and "data-score" in given]
    record = report.record
    keys = np.concatenate([np.insert(hardest_negatives(index, record).keys, 0, index, axis=1) for index in range(3)])
    kinds = negative_kinds(report.cache, CLASSES, keys)
    assert [given["data-kind"] for given in items] == [WORDS[kind] for kind in kinds.kind]
    suspects = set(map(tuple, report.suspects.keys.tolist()))
    assert ["data-suspect" in given for given in items] == [tuple(key) in suspects for key in keys.tolist()]
    assert 0 < sum("data-suspect" in given for given in items) < len(items)
    assert {*kinds.words, *report.suspects.kinds.words[:SUSPECTS]} <= set(page.texts)


def test_a_crop_of_a_suspect_is_of_the_box_that_fits_it(report, page):
    crops = json.loads(page.scripts["data"])["crops"]
    first = len(json.loads(page.scripts["data"])["regions"])
    image, box = report.suspects.keys[:2, 1], report.suspects.box[:2]
    wanted, _ = crop_texts(image, box, report.cache.image_ids, report.images, 10**6)
    assert crops[first : first + 2] == wanted


def test_what_it_was_made_from_is_in_it(report, tmp_path):
    path = report.save(tmp_path / "new" / "folder")
    made = read_made_from(path)
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert made["settings"] == json.loads(json.dumps(report.settings))
    assert made["settings"]["features"] == report.cache.fingerprint and made["provenance"]["command"]
    path.write_text("<html></html>")
    with pytest.raises(InputError, match=r"report\.html is damaged"):
        read_made_from(path)


def test_without_images_the_page_comes_and_says_so(tmp_path):
    page = Parsed(make_report(tmp_path, images=None, detections=None, test_images=None).html())
    assert "There are no crops, as the training images were not given." in page.texts
    assert set(json.loads(page.scripts["data"])["crops"]) == {None}


def test_lost_images_are_counted(tmp_path):
    report = make_report(tmp_path)
    for path in (*sorted(tmp_path.glob("train/*.jpg"))[:11], *tmp_path.glob("test/*.jpg")):
        path.unlink()
    page = Parsed(report.html())
    lost, of_test = report.notes
    count, crops = int(lost.split()[0]), json.loads(page.scripts["data"])["crops"]
    errors = len(report._found.cases.box)
    assert crops[-errors:] == [None] * errors and sum(crop is None for crop in crops[:-errors]) == count > 0
    assert re.match(r"\d+ of \d+ regions have no crop: \d+ images could not be used, the first because ", lost)
    assert of_test.startswith(f"{errors} of {errors} errors have no crop: ")
    assert lost in page.texts and of_test in page.texts


def test_a_model_of_random_negatives_has_no_film(tmp_path):
    cache, _ = mined()
    trainer = RandomNegativeTrainer(num_negatives=100, svm_C=0.01).fit(cache)
    trainer.save(tmp_path / "random.h5")
    page = Parsed(Report.of_model(tmp_path / "random.h5", cache).html())
    data = json.loads(page.scripts["data"])
    assert data["films"] == [] and len(data["regions"]) > 10
    assert any("so there was no mining" in text for text in page.texts)
    assert str(tmp_path / "random.h5") in page.texts


def test_a_detector_without_a_record_is_refused():
    cache, miner = mined()
    with pytest.raises(InputError, match="the model has no record of its training"):
        Report(Detector(CLASSES, miner.detector_.W, miner.detector_.B, 1.0), {}, cache)


@pytest.mark.parametrize("missing", ["detections", "test_images"])
def test_a_test_needs_detections_and_images(tmp_path, missing):
    with pytest.raises(InputError, match="give both"):
        make_report(tmp_path, **{missing: None})


def test_a_miner_writes_its_report(tmp_path):
    cache, miner = mined()
    path = miner.report(cache, tmp_path)
    assert read_made_from(path)["settings"]["model"]["digest"] == miner.detector_.digest


def test_charts_take_the_colours_of_the_page():
    chart = objective_chart(np.random.default_rng(0).random((5, 4)), "a \"name\" <of> '&'")
    assert Parsed(chart).tags[0][1]["aria-label"] == "objective of a \"name\" <of> '&' over its 5 trainings"
    assert {"var(--ink)", "var(--positive)", "var(--negative)", "var(--quiet)", "var(--line)"} <= set(
        re.findall(r"var\(--\w+\)", chart)
    )
    assert not re.search(r"#[0-9a-f]{6}\b(?!\))", re.sub(r'"#\w+"|url\(#\w+\)', "", chart))
    assert objective_chart(np.ones((1, 4)), "one").count("<svg") == 1
