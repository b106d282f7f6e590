"""Fast R-CNN's sampler against its definition, one RoI at a time, and the laws of random draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from rcnn_svm.errors import InputError
from rcnn_svm.mining.fast_rcnn import RoISampler, assign_labels
from rcnn_svm.mining.sampling import BACKGROUND, IGNORED, RoIs

# The thresholds themselves and their neighbours in single precision.
EDGES = [np.nextafter(np.float32(t), np.float32(s)) for t in (0.1, 0.5) for s in (0, t, 1)]
overlaps = st.lists(st.sampled_from([0.0, *map(float, EDGES), 0.3, 0.7, 1.0]), max_size=60)


def as_rois(values):
    """Return overlaps, and classes that tell the RoIs apart."""
    return torch.tensor(values, dtype=torch.float32), torch.arange(1, len(values) + 1)


def draw(max_overlaps, max_classes, seed=3, **options):
    """Return the rows that a sampler draws, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    rows = RoISampler(**options).select(RoIs(max_overlaps=max_overlaps, max_classes=max_classes), generator=generator)
    thresholds = {name: value for name, value in options.items() if "thresh" in name}
    return rows, assign_labels(max_overlaps, max_classes, **thresholds)[rows]


def test_labels_by_hand():
    labels = assign_labels(torch.tensor([0.7, 0.5, 0.3, 0.1, 0.05]), torch.tensor([4, 5, 6, 7, 8]))
    assert labels.tolist() == [4, 5, BACKGROUND, BACKGROUND, IGNORED]


def test_without_a_lower_bound_all_the_rest_is_background():
    labels = assign_labels(torch.tensor([0.0, 0.05, 0.5]), torch.tensor([0, 0, 2]), bg_thresh_lo=0)
    assert labels.tolist() == [BACKGROUND, BACKGROUND, 2]


@given(overlaps)
def test_label_follows_the_definition(values):
    max_overlaps, classes = as_rois(values)
    low, high = np.float32(0.1), np.float32(0.5)
    expected = [
        number if value >= high else BACKGROUND if value >= low else IGNORED
        for number, value in enumerate(max_overlaps.numpy(), 1)
    ]
    assert assign_labels(max_overlaps, classes).tolist() == expected


def test_label_at_the_thresholds():
    labels = assign_labels(torch.tensor(np.array(EDGES)), torch.full((6,), 7))
    assert labels.tolist() == [IGNORED, BACKGROUND, BACKGROUND, BACKGROUND, 7, 7]


def test_between_background_and_foreground_nothing_takes_part():
    values = [np.nextafter(np.float32(0.3), np.float32(s)) for s in (0, 0.3, 1)] + [np.float32(0.59), np.float32(0.6)]
    max_overlaps, classes = torch.tensor(np.array(values)), torch.full((5,), 7)
    expected = [BACKGROUND, IGNORED, IGNORED, IGNORED, 7]
    assert assign_labels(max_overlaps, classes, fg_thresh=0.6, bg_thresh_hi=0.3).tolist() == expected
    rows, _ = draw(max_overlaps, classes, fg_thresh=0.6, bg_thresh_hi=0.3)
    assert rows.tolist() == [4, 0]


@settings(deadline=None)
@given(overlaps, st.integers(1, 40), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 99))
def test_draw_has_the_counts_of_the_paper(values, size, fraction, seed):
    max_overlaps, classes = as_rois(values)
    labels = assign_labels(max_overlaps, classes)
    rows, drawn = draw(max_overlaps, classes, seed, rois_per_image=size, fg_fraction=fraction)
    assert len(set(rows.tolist())) == len(rows)
    assert (drawn != IGNORED).all()
    num_fg = min(int(np.round(fraction * size)), int((labels > 0).sum()))
    assert int((drawn > 0).sum()) == num_fg
    assert int((drawn == BACKGROUND).sum()) == min(size - num_fg, int((labels == BACKGROUND).sum()))
    assert (drawn[:num_fg] > 0).all()


def test_defaults_are_16_of_64():
    max_overlaps = torch.cat([torch.full((300,), 0.8), torch.full((300,), 0.2), torch.full((300,), 0.05)])
    _, labels = draw(max_overlaps, torch.full((900,), 5))
    assert labels.tolist() == [5] * 16 + [BACKGROUND] * 48


def test_every_roi_is_drawn_equally_often():
    num_fg, num_bg, size, times = 30, 50, 24, 3000
    max_overlaps = torch.cat([torch.full((num_fg,), 0.8), torch.full((num_bg,), 0.2)])
    classes = torch.ones(num_fg + num_bg, dtype=torch.int64)
    sampler, rois = RoISampler(rois_per_image=size), RoIs(max_overlaps=max_overlaps, max_classes=classes)
    generator = torch.Generator().manual_seed(3)
    draws = (sampler.select(rois, generator=generator) for _ in range(times))
    counts = sum(torch.bincount(rows, minlength=80) for rows in draws).numpy()
    for part, drawn in ((counts[:num_fg], size // 4), (counts[num_fg:], size - size // 4)):
        number = len(part)
        p = drawn / number
        # Variance of a count is times p (1 - p); the counts of a draw sum to `drawn`.
        statistic = ((part - times * p) ** 2).sum() / (times * p * (1 - p)) * (number - 1) / number
        assert 0.001 < chi2.sf(statistic, number - 1) < 0.999


def test_the_seed_decides_the_draws():
    rois = RoIs(max_overlaps=torch.full((200,), 0.2), max_classes=torch.zeros(200, dtype=torch.int64))

    def draws(seed):
        generator = torch.Generator().manual_seed(seed)
        return [RoISampler().select(rois, generator=generator).tolist() for _ in range(2)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    first, second = draws(1)
    assert first != second


def test_image_without_rois():
    rows, labels = draw(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert rows.shape == labels.shape == (0,)


@pytest.mark.parametrize(
    ("overlap", "label", "message"),
    [(0.7, 0, "class 0"), (float("nan"), 1, "NaN"), (1.5, 1, "outside")],
)
def test_bad_rois(overlap, label, message):
    with pytest.raises(InputError, match=message):
        draw(torch.tensor([overlap]), torch.tensor([label]))


def test_lengths_must_fit():
    with pytest.raises(InputError, match="one of each per RoI"):
        draw(torch.zeros(3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="one of each per RoI"):
        assign_labels(torch.zeros(3), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("options", [{"rois_per_image": 0}, {"fg_fraction": 1.1}, {"fg_thresh": 0.4}])
def test_bad_settings(options):
    with pytest.raises(InputError, match=next(iter(options))):
        RoISampler(**options)


def test_thresholds_out_of_order_are_refused_where_labels_are_assigned_too():
    overlaps, classes = torch.tensor([0.2, 1.0]), torch.tensor([0, 1])
    for wrong in ({"fg_thresh": 0.4}, {"bg_thresh_lo": 0.6}, {"fg_thresh": 1.1}, {"bg_thresh_lo": -0.1}):
        with pytest.raises(InputError, match="in rising order"):
            assign_labels(overlaps, classes, **wrong)
    assert assign_labels(overlaps, classes, fg_thresh=1.0).tolist() == [0, 1]
