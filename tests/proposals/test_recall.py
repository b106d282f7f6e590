from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.proposals.recall import best_overlaps, coverage, format_recall, recall_report
from rcnn_svm.proposals.store import ProposalSet


def iou_by_counting(a, b, size=40):
    masks = []
    for x1, y1, x2, y2 in (a, b):
        mask = np.zeros((size, size), bool)
        mask[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = True
        masks.append(mask)
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


def random_boxes(rng, count):
    corners = rng.integers(0, 20, (count, 2))
    return np.hstack([corners, corners + rng.integers(0, 19, (count, 2))])


def test_one_of_two_objects_is_covered_by_hand(make_database):
    database = make_database([(40, 40)], [[(0, 0, 0, 9, 9, False), (0, 20, 20, 29, 29, False)]])
    proposals = ProposalSet(database.image_ids, [np.array([[0, 0, 9, 19], [0, 0, 9, 11]])], {})
    report = recall_report(database, proposals, thresholds=(0.5, 0.9))
    assert (report.overall.objects, list(report.overall.recall)) == (2, [0.5, 0])
    assert report.overall.best_overlap == pytest.approx((100 / 120 + 0) / 2)


def test_report_equals_counting_pixels(make_database):
    rng = np.random.default_rng(3)
    objects = [
        [(rng.integers(0, 2), *box, rng.random() < 0.3) for box in random_boxes(rng, count)] for count in (3, 0, 6, 5)
    ]
    database = make_database([(40, 40)] * 4, objects)
    proposals = ProposalSet(database.image_ids, [random_boxes(rng, n) for n in (20, 5, 0, 30)], {})
    report = recall_report(database, proposals, thresholds=(0.3, 0.5))

    best = [
        (row[0], row[5], max((iou_by_counting(row[1:5], box) for box in boxes), default=0))
        for rows, boxes in zip(objects, proposals.boxes, strict=True)
        for row in rows
    ]

    def check(found, overlaps):
        assert found.objects == len(overlaps)
        for recall, threshold in zip(found.recall, report.thresholds, strict=True):
            np.testing.assert_allclose(recall, np.mean([o >= threshold for o in overlaps]))
        np.testing.assert_allclose(found.best_overlap, np.mean(overlaps), rtol=1e-6)

    for k, name in enumerate(("cat", "dog")):
        check(report.by_class[name], [o for c, difficult, o in best if c == k and not difficult])
    check(report.overall, [o for _, difficult, o in best if not difficult])
    check(report.with_difficult, [o for _, _, o in best])
    assert report.by_class["cow"].objects == 0
    assert report.boxes_per_image.tolist() == [20, 5, 0, 30]
    assert any(difficult for _, difficult, _ in best)


def test_a_threshold_just_reached_counts():
    # 2 of 4 pixels shared.
    overlaps = best_overlaps(np.array([[0, 0, 1, 0]]), np.array([[0, 0, 3, 0]]))
    assert overlaps.tolist() == [0.5]
    assert coverage(overlaps, (0.5, 0.51)).recall == (1.0, 0.0)


def test_without_objects_there_is_no_recall():
    assert np.isnan(coverage(np.empty(0), (0.5,)).recall[0])


def test_table(make_database):
    database = make_database([(40, 40), (40, 40)], [[(0, 0, 0, 9, 9, False), (0, 5, 5, 9, 9, True)], []])
    proposals = ProposalSet(database.image_ids, [[[0, 0, 9, 9]], [[0, 0, 1, 1]] * 4], {})
    lines = format_recall(recall_report(database, proposals)).splitlines()
    assert lines[0].split() == ["class", "objects", "recall@0.5", "recall@0.7", "best", "IoU"]
    assert lines[1].split() == ["cat", "1", "1.000", "1.000", "1.000"]
    assert lines[2].split() == ["dog", "0", "-", "-", "-"]
    assert lines[4].split() == ["all", "1", "1.000", "1.000", "1.000"]
    assert lines[5].split() == ["all", "+", "difficult", "2", "0.500", "0.500", "0.625"]
    assert lines[6] == "boxes per image: min 1, median 2, mean 2, max 4"
    assert len({len(line) for line in lines[:6]}) == 1
