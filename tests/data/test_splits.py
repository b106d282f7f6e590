"""Automatic splits: whole, disjoint, the same for the same seed, with every class on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_svm.data import Annotation, ImageDatabase, split_database
from rcnn_svm.data.splits import split_images
from rcnn_svm.errors import InputError

PRESENT = st.tuples(st.integers(2, 30), st.integers(1, 6)).flatmap(lambda shape: arrays(bool, shape))


def database_of(present):
    def read(image_id):
        labels = np.flatnonzero(present[int(image_id)])
        boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (len(labels), 1))
        none = np.zeros(len(labels), bool)
        return Annotation((10, 10), boxes, labels, none, none)

    classes = [f"class{k}" for k in range(present.shape[1])]
    return ImageDatabase("toy", classes, [str(i) for i in range(len(present))], Path, read)


def test_two_images_of_a_class_are_one_on_each_side():
    train, test = split_database(database_of(np.array([[True], [True]])), 0.1, seed=0)
    assert sorted([train.image_ids, test.image_ids]) == [("0",), ("1",)]


@settings(max_examples=60, deadline=None)
@given(PRESENT, st.floats(0.01, 0.99), st.integers(0, 5))
def test_both_sides_together_are_the_images(present, fraction, seed):
    database = database_of(present)
    train, test = split_database(database, fraction, seed)
    assert sorted(train.image_ids + test.image_ids) == sorted(database.image_ids)
    assert len(train) and len(test)
    assert (train.name, test.name) == ("toy_train", "toy_test")
    assert train.classes == test.classes == database.classes
    again = split_database(database, fraction, seed)
    assert [side.image_ids for side in again] == [train.image_ids, test.image_ids]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1, 5), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 3))
def test_one_class_an_image_is_split_in_proportion(labels, fraction, seed):
    """With at most one class in an image nothing stands in the way of any class."""
    present = np.array(labels)[:, None] == np.arange(6)
    test = split_images(present, fraction, np.random.default_rng(seed))
    for column in present.T[present.sum(axis=0) > 1]:
        expected = np.clip(np.rint(column.sum() * fraction), 1, column.sum() - 1)
        assert test[column].sum() == expected


@settings(max_examples=100, deadline=None)
@given(PRESENT, st.integers(0, 3))
def test_no_image_could_be_moved_to_a_missing_class_without_loss(present, seed):
    test = split_images(present, 0.25, np.random.default_rng(seed))
    shared = present.sum(axis=0) > 1

    def there(chosen):
        """Which classes are on which side."""
        return np.array([present[side][:, shared].any(axis=0) for side in (chosen, ~chosen)])

    for i in range(len(test)):
        moved = test.copy()
        moved[i] ^= True
        lost, gained = there(test) & ~there(moved), there(moved) & ~there(test)
        only_one = bool(present[i][~shared].any())
        assert lost.any() or not gained.any() or only_one


def test_shares_of_a_realistic_set():
    rng = np.random.default_rng(0)
    present = rng.random((400, 10)) < np.linspace(0.02, 0.6, 10)
    test = split_images(present, 0.25, rng)
    assert abs(test.mean() - 0.25) < 0.02
    shares = present[test].sum(axis=0) / present.sum(axis=0)
    np.testing.assert_allclose(shares, 0.25, atol=0.08)


def test_seeds_differ():
    database = database_of(np.ones((20, 1), bool))
    assert len({split_database(database, 0.25, seed)[1].image_ids for seed in range(5)}) > 1


@settings(max_examples=100, deadline=None)
@given(PRESENT, st.integers(0, 3))
def test_a_class_of_one_image_is_trained_on(present, seed):
    test = split_images(present, 0.5, np.random.default_rng(seed))
    single = present.sum(axis=0) == 1
    # A test set of one image may have had to take it: there was none without such a class.
    assert not present[test][:, single].any() or (test.sum() == 1 and present[:, single].any(axis=1).all())


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (4, {"test_fraction": 0.0}, "must be between 0 and 1, not 0.0"),
        (4, {"test_fraction": float("nan")}, "must be between 0 and 1, not nan"),
        (4, {"seed": -1}, "the seed of the split is -1"),
        (1, {}, "toy has one image, which cannot be split"),
    ],
)
def test_bad_arguments(count, options, message):
    with pytest.raises(InputError, match=message):
        split_database(database_of(np.ones((count, 1), bool)), **options)


def test_images_that_came_later_are_drawn_and_the_others_stay():
    """Of eight images of one class, six are known: the two new ones go where the quarter to test on lacks them."""
    database = database_of(np.ones((8, 1), bool))
    train, test = split_database(database, 0.25, known=(["0", "1", "2", "3", "4"], ["5", "gone"]))
    assert set(train.image_ids) > {*"01234"} and set(test.image_ids) > {"5"}
    assert (len(train), len(test)) == (6, 2)
    with pytest.raises(InputError, match=r"no image of toy is left to test on.*--overwrite"):
        split_database(database, 0.25, known=(["0", "1", "2", "3", "4", "5", "6", "7"], ["gone"]))


@settings(max_examples=60, deadline=None)
@given(PRESENT, st.data())
def test_no_known_image_changes_its_side(present, data):
    known = data.draw(arrays(np.int64, len(present), elements=st.integers(-1, 1)))
    test = split_images(present, 0.25, np.random.default_rng(0), known)
    assert test[known == 1].all() and not test[known == 0].any()
