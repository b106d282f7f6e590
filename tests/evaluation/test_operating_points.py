"""Operating points against thresholds that are tried one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rcnn_svm.data.database import Annotation
from rcnn_svm.evaluation.at_threshold import errors_at
from rcnn_svm.evaluation.bootstrap import bootstrap_ap, interval
from rcnn_svm.evaluation.errors import detection_errors
from rcnn_svm.evaluation.operating_points import MIN_OBJECTS, find_operating_points, precise_thresh
from rcnn_svm.evaluation.voc import PrecisionRecall, evaluate_detections
from rcnn_svm.reports.operating_points import points_csv, points_records, points_table
from rcnn_svm.reports.thresholds import thresholds_in_words
from tests.evaluation.test_bootstrap import CLASSES, _made, _set


def made_set(images, seed=0):
    """Return an image set and detections of it; those near objects have higher scores."""
    annotations, found = _made(np.random.default_rng(seed), images)
    for annotation, (_, cls, scores) in zip(annotations, found, strict=True):
        near = len(annotation.classes)
        cls[:near] = annotation.classes
        scores[:near] += 1
    database, detections = _set(annotations, found, np.ones(images, int))
    return database, detections.after_nms(0.3)


def points_of(images, seed=0):
    """Return the operating points of made detections, what is wrong with these, and their evaluation."""
    database, detections = made_set(images, seed)
    errors = detection_errors(detections, database, nms_threshold=None)
    result = evaluate_detections(detections, database, nms_threshold=None)
    return find_operating_points(result, errors, database), errors, result


def test_no_other_threshold_is_better():
    points, errors, _ = points_of(30)
    tried = [errors_at(errors, thresh) for thresh in [-10, *np.unique(errors.detections.score), 10]]
    f1 = np.array([at.f1 for at in tried])
    np.testing.assert_allclose(points.best_f1.f1, f1.max(axis=0))
    assert (points.best_f1.objects >= MIN_OBJECTS).all()
    np.testing.assert_array_equal(points.thresh, points.best_f1.thresh)
    assert not points.borrowed.any()
    for k in range(len(CLASSES)):
        good = [at.recall[k] for at in tried if at.precision[k] >= 0.9]
        if good:
            assert points.precise.precision[k] >= 0.9 and points.precise.recall[k] == max(good)
        else:
            assert points.precise.thresh[k] == np.inf
    assert np.isfinite(points.precise.thresh).any()


def test_the_interval_of_a_class_is_that_of_its_resamples():
    points, _, result = points_of(25)
    database, detections = made_set(25)
    ap = bootstrap_ap(detections, database)[:, :, 1]
    for k, of_class in enumerate(result.classes):
        assert points.ap_interval[k].tolist() == list(interval(ap[:, k]))
        assert points.ap_interval[k, 0] < of_class.ap_area < points.ap_interval[k, 1]
    assert points.map_interval == interval(ap.mean(axis=1))


def test_detections_of_one_score_are_accepted_together():
    def of(scores, right):
        tp, count = np.cumsum(right), np.arange(1, len(right) + 1)
        return PrecisionRecall("cat", 4, 0, np.array(scores, float), tp / 4, tp / count, 0.0, 0.0)

    assert 1 < precise_thresh(of([3, 2, 1, 0], [1, 1, 0, 1])) < 2
    assert 2 < precise_thresh(of([3, 2, 2, 0], [1, 1, 0, 1])) < 3
    assert precise_thresh(of([3, 3], [1, 0])) == np.inf
    assert precise_thresh(of([], [])) == np.inf


def test_a_class_of_few_objects_takes_the_others_threshold():
    """One class with objects enough, and one of which all objects but three are taken away."""
    annotations, found = _made(np.random.default_rng(1), 40)
    seen = 0
    for place, annotation in enumerate(annotations):
        keep = np.ones(len(annotation.classes), bool)
        for row in np.flatnonzero(annotation.classes == 1):
            seen += 1
            keep[row] = seen <= 3
        kept = {name: getattr(annotation, name)[keep] for name in ("boxes", "classes", "difficult", "truncated")}
        annotations[place] = replace(annotation, **kept)
    database, detections = _set(annotations, found, np.ones(40, int))
    detections = detections.after_nms(0.3)
    errors = detection_errors(detections, database, nms_threshold=None)
    points = find_operating_points(evaluate_detections(detections, database, nms_threshold=None), errors, database)
    assert points.borrowed.tolist() == [False, True]
    assert points.thresh.tolist() == [points.best_f1.thresh[0]] * 2
    assert "chance: dog. The median of the other classes is taken" in points_table(points).text()
    records = points_records(points)
    assert [record["borrowed"] for record in records] == [False, True]
    assert points_csv(points).splitlines()[0] == ",".join(records[0])
    chosen = {"images": 40, "of_this_model": True, "borrowed": ["dog"], "min_objects": MIN_OBJECTS}
    words = thresholds_in_words(CLASSES, points.thresh, chosen)
    assert words.endswith(
        f"on 40 images; of dog the median of the others, as fewer than {MIN_OBJECTS} objects say too little"
    )
    assert thresholds_in_words(CLASSES, points.thresh, chosen, 0) == words.partition(";")[0]
    few = thresholds_in_words(CLASSES, [0.5, 0.5], {**chosen, "borrowed": list(CLASSES)})
    assert few.startswith("0.50, the best F1") and "; the median of all, as fewer than" in few
    assert thresholds_in_words(CLASSES, [0.5, -1], {}) == "-1.00 (dog) to 0.50 (cat)"


@pytest.mark.parametrize("objects", [True, False])
def test_without_detections_or_objects_thresholds_are_zero(objects):
    annotations, found = _made(np.random.default_rng(0), 5)
    if objects:
        found = [tuple(part[:0] for part in of_image) for of_image in found]
    else:
        boxes, classes, flags = np.empty((0, 4), np.float32), np.empty(0, int), np.empty(0, bool)
        annotations = [Annotation((100, 100), boxes, classes, flags, flags)] * 5
    database, detections = _set(annotations, found, np.ones(5, int))
    errors = detection_errors(detections, database)
    points = find_operating_points(evaluate_detections(detections, database), errors, database)
    assert points.thresh.tolist() == [0, 0] and points.borrowed.all()
    assert np.isnan(points.ap_interval).all() == (not objects)
    assert "-" in points_table(points).text()
