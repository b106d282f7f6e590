"""Training of a ranker: what it learns on images whose objects can be seen, and that it goes on where it was."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.boxes import iou_matrix
from rcnn_svm.data.database import Annotation
from rcnn_svm.errors import InputError
from rcnn_svm.proposals import ranker_training
from rcnn_svm.proposals.ranker import WINDOWS
from rcnn_svm.proposals.ranker_training import RankerTrainer

SIZE = (96, 128)


class Maps:
    """Means over cells of 8 pixels: the image is its own map."""

    settings = {"name": "cells of 8 pixels"}  # noqa: RUF012

    def __call__(self, image):
        height, width = SIZE
        return [image.reshape(height // 8, 8, width // 8, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).astype(np.float32)]


class Rectangles:
    """Images of one to three bright rectangles on noise, which are the objects."""

    def __init__(self, count, seed=0):
        self.name = "rectangles"
        rng = np.random.default_rng(seed)
        self._images, self._annotations = [], []
        for _ in range(count):
            image = rng.integers(0, 90, (*SIZE, 3)).astype(np.uint8)
            sides = rng.integers(24, 60, (rng.integers(1, 4), 2))
            corners = (rng.random((len(sides), 2)) * (np.array(SIZE[::-1]) - sides)).astype(int)
            boxes = np.hstack([corners, corners + sides - 1]).astype(np.float32)
            for x1, y1, x2, y2 in boxes.astype(int):
                image[y1 : y2 + 1, x1 : x2 + 1] = rng.integers(150, 255, 3)
            self._images.append(image)
            none = np.zeros(len(boxes), bool)
            self._annotations.append(Annotation(SIZE, boxes, np.zeros(len(boxes), np.int32), none, none))

    def __len__(self):
        return len(self._images)

    def load_image(self, i):
        return self._images[i]

    def annotation(self, i):
        return self._annotations[i]

    def source_digest(self, i):
        return f"{i}"


@pytest.fixture(scope="module")
def trained():
    return RankerTrainer(hidden=16, epochs=12, batch_size=256).fit(Rectangles(30), Maps()).ranker_


def _recall(propose, images, count, iou):
    found = [iou_matrix(propose(i)[:count], images.annotation(i).boxes).max(axis=0) >= iou for i in range(len(images))]
    return np.concatenate(found).mean()


def test_few_boxes_hold_the_objects_of_images_it_has_not_seen(trained):
    others = Rectangles(20, seed=1)
    rng = np.random.default_rng(0)

    def ranked(i):
        return trained.propose(Maps()(others.load_image(i)), SIZE)

    def at_random(i):
        return rng.permutation(WINDOWS.windows(SIZE))

    assert _recall(ranked, others, 20, 0.5) > 0.6
    assert _recall(ranked, others, 20, 0.5) > 3 * _recall(at_random, others, 20, 0.5)


def test_the_same_for_any_number_of_jobs_and_another_for_another_seed(trained):
    trainer = RankerTrainer(hidden=16, epochs=12, batch_size=256)
    assert trainer.fit(Rectangles(30), Maps(), jobs=2).ranker_.digest == trained.digest
    quick = [RankerTrainer(hidden=2, epochs=1, seed=s).fit(Rectangles(30), Maps()).ranker_.digest for s in (0, 1)]
    assert quick[0] != quick[1]


def test_an_interrupted_training_goes_on_after_the_last_stage(trained, tmp_path, monkeypatch):
    trainer = RankerTrainer(hidden=16, epochs=12, batch_size=256)

    class Stopped(Exception):
        pass

    def stop(checkpoint, done):
        if done == 2:
            raise Stopped

    monkeypatch.setattr(Checkpoint, "on_save", stop)
    with pytest.raises(Stopped):
        trainer.fit(Rectangles(30), Maps(), checkpoint=tmp_path / "c.h5")
    learnt = []
    learn = RankerTrainer._learn
    # Counted, not replaced: which stages are learnt is what going on means.
    count = lambda self, stage, examples: learnt.append(stage) or learn(self, stage, examples)  # noqa: E731
    monkeypatch.setattr(RankerTrainer, "_learn", count)
    monkeypatch.setattr(Checkpoint, "on_save", None)
    assert trainer.fit(Rectangles(30), Maps(), checkpoint=tmp_path / "c.h5").ranker_.digest == trained.digest
    assert learnt == [2]


def test_going_on_is_equal_to_the_last_bit_where_products_are_rounded(tmp_path, monkeypatch):
    """Wide layers: BLAS adds in another order where the same weights are in memory by rows, not by columns."""

    class ManyMaps(Maps):
        def __call__(self, image):
            return [np.concatenate([factor * super(ManyMaps, self).__call__(image)[0] for factor in range(1, 20)])]

    def stop(checkpoint, done):
        raise KeyboardInterrupt

    trainer, images = RankerTrainer(hidden=128, epochs=1), Rectangles(8)
    monkeypatch.setattr(ranker_training, "MIN_OBJECTS", 1)
    whole = trainer.fit(images, ManyMaps()).ranker_
    monkeypatch.setattr(Checkpoint, "on_save", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(images, ManyMaps(), checkpoint=tmp_path / "c.h5")
    monkeypatch.setattr(Checkpoint, "on_save", None)
    gone_on = trainer.fit(images, ManyMaps(), checkpoint=tmp_path / "c.h5").ranker_
    assert gone_on.digest == whole.digest


def test_examples_say_how_boxes_fit_and_where_the_object_is():
    images = Rectangles(3)
    seen = ranker_training._see(images, [2], Maps(), 1)[0]
    rng = np.random.default_rng(0)
    boxes = ranker_training._choose(0, WINDOWS.windows(SIZE), seen, rng)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [SIZE[1] - 1, SIZE[0] - 1]).all()
    examples = ranker_training._labelled(Maps()(images.load_image(2)), boxes, seen)
    for box, iou, delta in zip(boxes, examples.iou, examples.deltas, strict=True):
        overlaps = iou_matrix(box[None], seen.objects)[0]
        assert iou == pytest.approx(overlaps.max())
        thing = seen.objects[overlaps.argmax()]
        assert delta[0] * (box[2] - box[0]) == pytest.approx((thing[0] + thing[2] - box[0] - box[2]) / 2, abs=1e-2)


def test_what_all_training_images_share_decides_nothing_elsewhere(trained):
    """All have one shape; where the next one was another, the IoU that was expected ran into the thousands."""
    tall = np.zeros((128, 48, 3), np.uint8)
    tall[30:90, 10:40] = 200
    maps = [tall.reshape(16, 8, 6, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).astype(np.float32)]
    fits, deltas = trained.judge(0, maps, WINDOWS.windows(tall.shape[:2]), tall.shape[:2])
    assert abs(fits).max() < 3 and abs(deltas).max() < 10


def test_memory_is_bounded_by_a_draw_of_images():
    ranker = RankerTrainer(hidden=2, epochs=1, max_images=7).fit(Rectangles(30), Maps()).ranker_
    assert ranker.training["num_images"] == 7


def test_too_few_objects_teach_no_order():
    with pytest.raises(InputError, match=r"rectangles has [0-9]+ objects, and an order .* from 50 or more"):
        RankerTrainer().fit(Rectangles(3), Maps())
