"""The rows there are, and the figures the paper printed."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.experiments.reproduce.published import published_figures
from rcnn_svm.experiments.reproduce.rows import choose_rows, rows_of


def test_chooses_rows_in_their_order():
    known, chosen = choose_rows(["alexnet", "lite0"], ["lite0-penultimate", "alexnet-fc6"])
    assert [row.id for row in chosen] == ["alexnet-fc6", "lite0-penultimate"]
    assert len(known) > 10 and choose_rows(["alexnet", "lite0"], None) == (known, known)
    with pytest.raises(InputError, match=r"'fc6' is unknown for vgg16; expected vgg16-ft-fc7, vgg16-ft-fc7-bb"):
        choose_rows(["vgg16"], ["fc6"])


def test_every_published_row_is_made():
    titles = {row.title for backbone in ("alexnet", "vgg16") for row in rows_of(backbone)}
    assert titles >= set(published_figures())


def test_published_means_are_those_of_their_classes():
    for title, figures in published_figures().items():
        if figures.classes:
            assert len(figures.classes) == 20
            assert np.mean(list(figures.classes.values())) == pytest.approx(figures.mean_ap, abs=0.06), title
    assert published_figures()["AlexNet fc7"].mean_ap == 44.7
    assert published_figures()["AlexNet fine-tuned softmax"].classes == {}


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16", "vgg11", "lite0", "resnet18"])
def test_ids_are_unique_and_models_are_shared_by_equal_trainings_only(backbone):
    rows = rows_of(backbone)
    assert len({row.id for row in rows}) == len({row.title for row in rows}) == len(rows)
    trainings = {}
    for row in rows:
        if not row.softmax:
            what = (row.layer, row.finetuned, row.train, row.random_as)
            assert trainings.setdefault(row.model, what) == what
    assert len(set(trainings.values())) == len(trainings)
