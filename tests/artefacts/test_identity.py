"""One policy: the same is there: done; something else: refused with the difference; --overwrite: replaced."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm import cli
from rcnn_svm.artefacts.checkpoint import Checkpoint, checkpoint_beside
from rcnn_svm.artefacts.identity import already_done, differences, first_difference, only_data_differs, say_written
from rcnn_svm.errors import InputError

SETTINGS = {"parameters": {"svm_C": 0.001, "epochs": 1}, "classes": ["cat", "dog"]}
OTHER = {"parameters": {"svm_C": 0.01, "epochs": 2}, "classes": ["cat", "dog"]}


@pytest.fixture
def path(tmp_path):
    """A file that is there."""
    (tmp_path / "model.h5").write_text("")
    return tmp_path / "model.h5"


def damaged():
    raise InputError("model.h5 is damaged")


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, "b.c: 2 there, 3 wanted"),
        ({"a": 1}, {"b": 1}, "a: 1 there, None wanted"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a[1]: 2 there, 3 wanted"),
        ({"a": [1, 2]}, {"a": [1]}, "a: 2 there, 1 wanted"),
        (None, {"a": 1}, "settings: None there, {'a': 1} wanted"),
    ],
)
def test_the_first_difference_is_named(found, wanted, expected):
    assert first_difference(found, wanted) == expected


def test_all_differences_are_found():
    a = {"a": 1, "b": {"c": [1, 2, {"d": 3}], "e": [1]}, "same": [1, {"x": None}]}
    b = {"b": {"c": [1, 5, {"d": 4}], "e": [1, 2]}, "new": None, "same": [1, {"x": None}]}
    expected = [("a", 1, None), ("b.c[1]", 2, 5), ("b.c[2].d", 3, 4), ("b.e", [1], [1, 2])]
    assert list(differences(a, b)) == expected
    assert list(differences(a, a)) == []


def test_nothing_is_there(tmp_path):
    assert not already_done(tmp_path / "none.h5", damaged, SETTINGS)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_is_there(path, capsys, overwrite):
    assert already_done(path, lambda: SETTINGS, SETTINGS, overwrite=overwrite)
    assert capsys.readouterr().out == f"done already: {path}\n"


def test_something_else_is_there(path, capsys):
    with pytest.raises(InputError) as error:
        already_done(path, lambda: OTHER, SETTINGS)
    assert str(error.value) == (
        f"{path} was made with other settings (parameters.epochs: 2 there, 1 wanted); "
        "give another --out, or --overwrite to replace it"
    )
    assert not already_done(path, lambda: OTHER, SETTINGS, overwrite=True)
    told = f"made again: {path}, as settings changed (parameters.epochs: 2 there, 1 wanted)\n"
    assert capsys.readouterr().out == told and path.exists()


def test_what_cannot_be_read_is_replaced_on_request_only(path):
    with pytest.raises(InputError, match=r"model\.h5 is damaged; or replace it with --overwrite"):
        already_done(path, damaged, SETTINGS)
    assert not already_done(path, damaged, SETTINGS, overwrite=True)


def test_a_checkpoint_of_another_training_is_removed_on_request_only(path):
    kept = Checkpoint(checkpoint_beside(path, SETTINGS), SETTINGS)
    kept.save(3, {})
    assert checkpoint_beside(path, SETTINGS, overwrite=True) == kept.path and kept.load() == (3, {})
    checkpoint_beside(path, OTHER)
    assert kept.exists()
    checkpoint_beside(path, OTHER, overwrite=True)
    assert not kept.exists()


def test_a_training_can_be_interrupted_after_a_save(path, monkeypatch):
    saved = []
    # The hook belongs to the class: it has to be None again for the tests that follow.
    monkeypatch.setattr(Checkpoint, "on_save", lambda checkpoint, done: saved.append((checkpoint.path, done)))
    Checkpoint(path, SETTINGS).save(3, {})
    assert saved == [(path, 3)]
    assert Checkpoint(path, SETTINGS).load()[0] == 3


def test_what_was_removed_is_not_said_to_be_written(tmp_path, capsys):
    (tmp_path / "a").write_text("")
    say_written(tmp_path, tmp_path / "a")
    assert capsys.readouterr().out == f"wrote {tmp_path}\n"
    (tmp_path / "a").unlink()
    with pytest.raises(InputError, match="a was removed while it was made; run the same command again"):
        say_written(tmp_path, tmp_path / "a")
    assert not capsys.readouterr().out


def test_no_command_says_that_it_wrote_without_looking():
    commands = Path(cli.__file__).parent
    assert [path.name for path in commands.glob("*.py") if re.search(r"print\(.*wrote", path.read_text("utf-8"))] == []


def test_a_checkpoint_without_what_the_training_needs_is_one_sentence(tmp_path):
    """Whole as a file, but not of this training's making: KeyError, IndexError and AttributeError before."""
    kept = Checkpoint(tmp_path / "model.h5.checkpoint", SETTINGS)
    kept.save(3, {"w": np.ones(2)})
    assert kept.resume(lambda done, arrays: (done, arrays["w"].tolist())) == (3, [1, 1])
    for broken in (lambda _, arrays: arrays["v"], lambda _, arrays: arrays["w"][5], lambda _, arrays: arrays["w"].v):
        with pytest.raises(InputError, match=r"model\.h5\.checkpoint is damaged \(.*; delete it to start anew"):
            kept.resume(broken)
    kept.save(-1, {})
    with pytest.raises(InputError, match="taken at step -1"):
        kept.load()


def test_what_other_images_or_labels_made_is_made_again_on_request(path, capsys):
    found, wanted = ({**SETTINGS, "cache": digest} for digest in ("1234", "5678"))
    options = {"same_settings": lambda there: only_data_differs(there, wanted)}
    with pytest.raises(InputError, match=r"cache: 1234 there, 5678 wanted\); give another --out, --update to make"):
        already_done(path, lambda: found, wanted, **options)
    assert not already_done(path, lambda: found, wanted, update=True, **options)
    said = f"made again: {path}, as images or labels changed (cache: 1234 there, 5678 wanted)\n"
    assert capsys.readouterr().out == said
    with pytest.raises(InputError, match=r"epochs: 2 there, 1 wanted\); give another --out, or --overwrite"):
        already_done(path, lambda: {**OTHER, "cache": "1234"}, wanted, update=True, **options)


def test_only_images_and_labels_differ():
    found = {**SETTINGS, "cache": "1234", "classes": ["cat"]}
    assert not only_data_differs(found, {**SETTINGS, "cache": "5678"})
    assert only_data_differs(found, {**SETTINGS, "cache": "5678"}, ["classes"])
    assert not only_data_differs(found, found)


def test_a_checkpoint_of_other_images_goes_where_they_changed(path):
    identity = {**SETTINGS, "cache": "1234"}
    checkpoint = checkpoint_beside(path, identity)
    for other, stays in (({**OTHER, "cache": "5678"}, True), (identity, True), ({**identity, "cache": "5678"}, False)):
        Checkpoint(checkpoint, identity).save(3, {})
        assert checkpoint_beside(path, other).exists()
        assert checkpoint_beside(path, other, update=True).exists() == stays
