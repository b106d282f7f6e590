"""The file of the toy: whole, with the constants of the papers, and points that are where they can be seen."""

from __future__ import annotations

import json
import re

from rcnn_svm import paper
from rcnn_svm.reports.toy import bootstrap_toy
from rcnn_svm.reports.toy.presets import BORDER, PRESETS


def test_the_page_has_the_constants_of_the_papers():
    page = bootstrap_toy()
    (found,) = re.findall(r"^const CONSTANTS = (.*);$", page, re.M)
    constants = json.loads(found)
    names = {"hard_thresh", "evict_thresh", "neg_overlap", "retrain_limit", "max_epochs", "svm_C", "pos_loss_weight"}
    assert set(constants) == names | {"bias_mult", "target_norm"}
    assert constants == {name: getattr(paper, name.upper()) for name in constants}
    for name in ("hard_thresh", "evict_thresh"):  # where the toy starts as the paper
        assert f'name="{name}" value="{constants[name]}"' in page


def test_the_page_names_no_other_file_and_is_the_same_each_time():
    page = bootstrap_toy()
    named = re.findall(r"(?:src|href|url|import)\s*[=(]\s*[\"']?([^\"')\s>]+)", page)
    assert named == ["data:,"]
    assert page == bootstrap_toy()


def test_presets_are_within_the_plane_and_begin_with_image_0():
    assert PRESETS[-1].points() == []
    for preset in PRESETS[:-1]:
        points = preset.points()
        assert len(points) == sum(cluster.count for cluster in preset.clusters) <= 60
        assert max(abs(value) for point in points for value in (point["x"], point["y"])) <= BORDER
        images = {point["image"] for point in points}
        assert images == set(range(len(images)))
