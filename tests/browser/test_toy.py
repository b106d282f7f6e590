"""The toy of the bootstrap in a browser: its keys are the reference's, and a reader can use it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rcnn_svm import paper
from rcnn_svm.cache import FeatureCache, mean_feature_norm
from rcnn_svm.mining.reference import ReferenceMiner
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.reports.toy import bootstrap_toy
from rcnn_svm.reports.toy.presets import PRESETS

OVERLAP = {"positive": 1.0, "neither": paper.NEG_OVERLAP, "negative": 0.1}
MINE = "([points, settings]) => { toy.load(points, settings); toy.run(); return toy.history(); }"
START = {"max_epochs": 2, "retrain_limit": 5, "svm_C": 0.01}  # what the page starts with


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The file of the page."""
    path = tmp_path_factory.mktemp("toy") / "toy.html"
    path.write_text(bootstrap_toy(), encoding="utf-8")
    return path


def some_points(rng: np.random.Generator) -> list[dict]:
    """Return points of all kinds, in images of some, in no order; the negatives of an image are alike."""
    centres = rng.uniform(-0.7, 0.7, (6, 2))
    points = []
    for _ in range(rng.integers(25, 60)):
        image = int(rng.integers(6))
        kind = str(rng.choice(["positive", "negative", "negative", "negative", "neither"]))
        place = centres[image] if kind == "negative" else [0.3, 0.3]
        x, y = rng.normal(place, 0.25).clip(-1, 1).tolist()
        points.append({"image": image, "x": x, "y": y, "kind": kind})
    return points


def some_settings(rng: np.random.Generator) -> dict:
    return {
        "max_epochs": int(rng.integers(1, 4)),
        "retrain_limit": int(rng.integers(0, 9)),
        "hard_thresh": float(rng.choice([paper.HARD_THRESH, -0.9, 0.1])),
        "evict_thresh": float(rng.choice([paper.EVICT_THRESH, -1.02])),
        "svm_C": float(rng.choice([paper.SVM_C, 0.01, 0.1])),
    }


def cache_of(points: list[dict]) -> FeatureCache:
    """Return the points as regions, of every image positives first."""
    points = sorted(points, key=lambda point: (point["image"], point["kind"] != "positive"))
    image = np.array([point["image"] for point in points])
    positive = np.array([point["kind"] == "positive" for point in points])
    return FeatureCache.from_arrays(
        features=np.array([(point["x"], point["y"]) for point in points], np.float32),
        boxes=np.tile([0, 0, 9, 9], (len(points), 1)),
        gt=positive,
        label=positive.astype(int),
        overlap=np.array([[OVERLAP[point["kind"]]] for point in points], np.float32),
        image_start=np.searchsorted(image, np.arange(image[-1] + 2)),
        classes=["thing"],
        name="toy",
    )


def reference_of(points: list[dict], settings: dict) -> ReferenceMiner:
    given = dict(settings)
    cache, rule_names = cache_of(points), MiningRules.__dataclass_fields__
    rules = MiningRules(**{name: given.pop(name) for name in rule_names if name in given})
    return ReferenceMiner(cache, rules, feat_norm_mean=mean_feature_norm(cache, seed=0), **given).mine()


def number_back(history: dict) -> int:
    """Return how often a negative came that had been evicted."""
    keys = [tuple(key) for _, *key in history["added"]]
    return len(keys) - len(set(keys))


def check_same(history: dict, miner: ReferenceMiner) -> None:
    """Check that the page mined what the reference did: keys, order, trainings, detector."""
    tables = miner.history.tables()
    assert history["added"] == tables["added"][:, 1:].tolist()
    assert history["scan"] == tables["scan"][:, 1:].tolist()
    assert history["evicted"] == tables["evicted"].tolist()
    assert history["updates"] == tables["updates"][:, 1:7].tolist()
    np.testing.assert_allclose(history["update_loss"], tables["update_loss"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(history["detectors"][-1], [*miner.W[:, 0], miner.B[0]], rtol=1e-4, atol=1e-6)
    assert max(history["update_gap"]) <= 1e-12


def test_its_keys_are_those_of_the_reference(toy, open_page, surroundings):
    opened = open_page(toy, *surroundings)
    opened.check_fits()
    rng = np.random.default_rng([surroundings[0], len(surroundings[1])])
    came_back = 0
    for _ in range(8):
        points, settings = some_points(rng), some_settings(rng)
        history = opened.page.evaluate(MINE, [points, settings])
        check_same(history, reference_of(points, settings))
        came_back += number_back(history)
    assert came_back  # so that rules meet that seldom do
    opened.check_fits()
    opened.check_silent()


def test_its_presets_are_mined_as_by_the_reference_and_show_what_they_say(toy, open_page):
    opened = open_page(toy)
    histories = []
    for number, preset in enumerate(PRESETS[:-1]):
        opened.page.select_option("#preset", str(number))
        assert opened.page.inner_text("#preset-note") == preset.note
        opened.page.evaluate("toy.run()")
        histories.append(opened.page.evaluate("toy.history()"))
        check_same(histories[-1], reference_of(preset.points(), START))
    easy, again, mixed, first = histories
    negatives = sum(point["kind"] == "negative" for point in PRESETS[0].points())
    assert len(easy["added"]) < negatives * 0.7
    assert number_back(again) >= 3
    assert mixed["update_loss"][-1][1] > 3 * easy["update_loss"][-1][1]
    (of_image_1,) = [scan for scan in first["scan"] if scan[:2] == [0, 1]]
    assert of_image_1[2] == 8
    opened.check_silent()


def test_a_step_says_what_it_did(toy, open_page):
    opened = open_page(toy)
    page = opened.page
    # Features are not scaled: the mean length is that which they are scaled to. See tests/mining/test_reference.py.
    points = [(0, 0.8, "positive"), (0, 0.2, "negative"), (0, 0.0, "negative"), (1, 0.4, "negative"), (1, 1, "neither")]
    given = [{"image": image, "x": x, "y": 0, "kind": kind} for image, x, kind in points]
    page.evaluate("given => toy.load(given, { max_epochs: 2, retrain_limit: 5, svm_C: 1 })", given)
    assert page.inner_text("#status") == "5 points in 2 images. Step scans the first image."
    said, current = [], []
    for _ in range(9):
        page.click("#step")
        said.append(page.inner_text("#status").replace("\u00a0", " "))
        current.append(page.eval_on_selector_all("[aria-current=step]", "rules => rules.map(rule => rule.id)"))
    assert said[0] == (
        "Pass 0, image 0. There is no detector yet, so all 2 negatives enter the cache. "
        "Training is next, as this was the first image."
    )
    assert said[1].startswith("Training 0, on 1 positive and 2 negatives of the cache. 2 support vectors, 1 of them")
    assert said[2] == "After training 0: 1 of 2 negatives scores below −1.2 and leaves: (0, 2)."
    assert said[3] == (
        "Pass 0, image 1. 1 of 1 negative scores above −1.0001. Added: (1, 0). "
        "No training: 1 added since the last, not more than 5."
    )
    assert said[4] == (
        "Pass 1, image 0. 1 of 2 negatives scores above −1.0001. In the cache already: (0, 1). None is new. "
        "No training: 1 added since the last, not more than 5."
    )
    assert said[5].endswith("None is new. Training is next, as this was the last image of the last pass.")
    assert said[6].startswith("Training 1, on 1 positive and 2 negatives")
    assert said[7] == (
        "After training 1: 1 of 2 negatives scores below −1.2 and leaves: (0, 1). "
        "Mining ends: that was the last image of the last pass."
    )
    assert said[8] == "Mining has ended; Reset begins anew."
    assert current[:5] == [["rule-1"], ["rule-2"], ["rule-3"], ["rule-1"], ["rule-1", "rule-4"]]
    rows = page.eval_on_selector_all("#keys tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    assert [[row[0].replace("\u00a0", " "), *row[2:]] for row in rows] == [
        ["(0, 1)", "evicted", "0", "1"],
        ["(0, 2)", "evicted", "0", "0"],
        ["(1, 0)", "support vector", "0", ""],
    ]
    assert page.locator("#steps li").count() == 8
    page.click("#reset")
    assert page.locator("#steps li").count() == 0
    opened.check_silent()


def test_it_plays_until_it_is_paused_or_at_the_end(toy, open_page):
    opened = open_page(toy)
    page = opened.page
    page.clock.install(time=0)
    page.clock.pause_at(60_000)
    page.click("#play")
    page.clock.run_for(5000)
    steps = page.locator("#steps li").count()
    assert page.inner_text("#play") == "Pause" and 3 <= steps <= 8
    page.click("#play")
    page.clock.run_for(5000)
    assert page.inner_text("#play") == "Play" and page.locator("#steps li").count() == steps
    page.click("#play")
    page.clock.run_for(100_000)
    assert "Mining ends" in page.inner_text("#status") and page.inner_text("#play") == "Play"
    opened.check_silent()


def test_points_come_and_go_by_pointer_and_by_keyboard(toy, open_page):
    opened = open_page(toy, width=360)
    page = opened.page
    page.select_option("#preset", label="An empty plane")
    page.click("#step")
    assert page.inner_text("#status").startswith("Add a positive")
    box = page.locator("#plane svg").bounding_box()
    page.check("text=adds a positive")
    page.locator("#plane").click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
    (said,) = re.findall(r"^Added to image 0 at (.*), (.*): positive\.", page.inner_text("#status"))
    assert [float(value) for value in said] == pytest.approx([0.5, 0.5], abs=0.015)  # whole pixels
    page.click("#step")
    assert page.inner_text("#status").startswith("Add a negative")
    page.check("text=adds a negative")
    page.select_option("#image", "1")
    page.focus("#plane")
    for key in ["ArrowLeft"] * 4 + ["ArrowDown"] * 2:
        page.keyboard.press(key)
    assert page.inner_text("#cursor").replace("\u00a0", " ") == "−0.20, −0.10; nearest is (0, 0), positive"
    page.keyboard.press("Enter")
    assert page.inner_text("#status").startswith("Added to image 1 at −0.20, −0.10: negative.")
    assert page.locator("#plane .sign").count() == 2
    page.keyboard.press("Delete")
    assert page.inner_text("#status").replace("\u00a0", " ").startswith("Removed (1, 0), negative.")
    page.check("text=removes")
    page.locator("#plane").click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.25})  # nothing is near
    assert page.locator("#plane .sign").count() == 1
    page.locator("#plane").click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
    assert page.locator("#plane .sign").count() == 0
    opened.check_silent()


def test_all_controls_are_reached_by_tab(toy, open_page):
    page = open_page(toy).page
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    controls = ["plane", "step", "play", "reset", "preset", "kind", "image"]
    assert [name for name in dict.fromkeys(reached) if name in controls] == controls


def test_a_setting_that_cannot_be_is_named_and_the_next_good_one_is_used(toy, open_page):
    opened = open_page(toy)
    page = opened.page
    page.click("summary")
    page.fill("[name=svm_C]", "-1")
    page.locator("[name=svm_C]").blur()
    assert page.inner_text("#status").startswith("The setting svm_C cannot be used")
    page.click("#step")
    assert page.locator("#steps li").count() == 0
    page.fill("[name=svm_C]", "0.05")
    page.fill("[name=evict_thresh]", "-1.5")
    page.locator("[name=evict_thresh]").blur()
    page.evaluate("toy.run()")
    expected = reference_of(PRESETS[0].points(), {**START, "svm_C": 0.05, "evict_thresh": -1.5})
    check_same(page.evaluate("toy.history()"), expected)
    assert "below −1.5" in page.inner_text("#rule-3")
    opened.check_silent()


def test_load_refuses_what_is_no_point(toy, open_page):
    page = open_page(toy).page
    for wrong in ({"kind": "thing"}, {"x": 2}, {"y": None}, {"image": 0.5}, {"image": -1}):
        given = {"image": 0, "x": 0, "y": 0, "kind": "negative", **wrong}
        said = page.evaluate("given => { try { toy.load([given]); } catch (error) { return error.message; } }", given)
        assert said.startswith("a point is { image: 0, 1, ...")
