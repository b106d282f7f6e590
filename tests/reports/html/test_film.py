"""The film against the record of the mining, whose tables it retells."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rcnn_svm.mining.replay import replay_mining
from rcnn_svm.reports.html import film as module
from rcnn_svm.reports.html.album import Album, Picks
from rcnn_svm.reports.html.film import class_film, film_picks, frame_updates
from rcnn_svm.reports.html.hardest import PER_CLASS, hardest_negatives
from tests.reports.html.made import make_report


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A report, and its mining in scores."""
    report = make_report(tmp_path_factory.mktemp("images"))
    return report, replay_mining(report.detector, report.record, report.cache, n_jobs=1)


def everything(replay):
    """Return picks of all that came."""
    return Picks(np.zeros(len(replay.entered), np.int64), replay.entered.keys.astype(np.int64))


def test_frames_are_spread_from_the_first_training_to_the_last():
    assert [frame_updates(number, 120).tolist() for number in (0, 1, 3)] == [[], [0], [0, 1, 2]]
    many = frame_updates(1000, 120)
    assert len(many) == 120 and many[0] == 0 and many[-1] == 999 and np.ptp(np.diff(many)) <= 1


@pytest.mark.parametrize("most_frames", [120, 3])
def test_a_film_of_everything_is_the_record(told, monkeypatch, most_frames):
    monkeypatch.setattr(module, "MOST_FRAMES", most_frames)
    report, replay = told
    for index, of_class in enumerate(replay.classes):
        keys = everything(of_class).most_wanted(10**6)
        album = Album.of_cache(report.cache, keys)
        film = class_film(index, of_class, report.record, album, keys)
        number = {tuple(key): place for place, key in enumerate(keys.tolist())}
        added = report.record["added"][report.record["added"][:, 0] == index]
        left = report.record["evicted"][np.isin(report.record["evicted"][:, 0], of_class.updates)]
        assert len(film["frames"]) == min(most_frames, film["updates"])
        for name, table, count in (("came", added[:, 2:], "numCame"), ("left", left[:, 1:], "numLeft")):
            told_rows = [row[0] for frame in film["frames"] for row in frame[name]]
            assert Counter(told_rows) == Counter(number[tuple(key)] for key in table.tolist())
            assert [len(frame[name]) for frame in film["frames"]] == [frame[count] for frame in film["frames"]]
        for frame in film["frames"]:
            row = report.record["updates"][of_class.updates[frame["update"]]]
            assert [frame["epoch"], frame["image"], frame["trainedOn"], frame["stayed"]] == row[[1, 2, 4, 5]].tolist()
            assert frame["id"] == report.cache.image_ids[row[2]] and sum(frame["negatives"]) == row[4]
            assert all((row[1] is None) == (frame["update"] == 0) for row in frame["came"]) or most_frames == 3
        times = Counter(number[tuple(key)] for key in added[:, 2:].tolist())
        support = report.record["support"][:, 0] == index
        final = dict(
            zip(
                map(tuple, report.record["support"][support, 1:].tolist()),
                report.record["support_scores"][support],
                strict=True,
            )
        )
        stayed = {
            tuple(key) for key in report.record["negatives"][report.record["negatives"][:, 0] == index, 1:].tolist()
        }
        for key, place in number.items():
            end = final[key].round(3) if key in final else (True if key in stayed else None)
            assert film["ends"][str(place)] == [times[place], pytest.approx(end) if key in final else end]
        assert max(times.values()) > 1, "the case has negatives that come back"


def test_picks_are_the_highest_of_every_frame(told):
    _, replay = told
    for of_class in replay.classes:
        picks = film_picks(of_class)
        first = {tuple(key) for key in picks.keys[picks.rank == 0].tolist()}
        for update in range(len(of_class.updates)):
            for scored, score in ((of_class.entered, "before"), (of_class.left, "before"), (of_class.hardest, "after")):
                here = np.flatnonzero(scored.update == update)
                if len(here):
                    scores = scored.after if update == 0 else getattr(scored, score)
                    assert tuple(scored.keys[here[np.argmax(scores[here])]].tolist()) in first
        assert picks.rank.max() == module.PER_FRAME - 1
        assert len(picks.keys) <= 3 * module.PER_FRAME * len(of_class.updates)


def test_what_the_album_has_not_is_not_told(told):
    report, replay = told
    keys = film_picks(replay.classes[0]).most_wanted(10**6)
    album = Album.of_cache(report.cache, keys[::2])
    film = class_film(0, replay.classes[0], report.record, album, keys)
    assert {int(number) for number in film["ends"]} == set(range(len(album)))
    assert {row[0] for frame in film["frames"] for name in ("came", "left", "top") for row in frame[name]} <= set(
        range(len(album))
    )


def test_the_hardest_negatives_are_those_with_the_highest_scores(told):
    report, _ = told
    for index in range(3):
        hardest = hardest_negatives(index, report.record)
        rows = np.flatnonzero(report.record["support"][:, 0] == index)
        scores = report.record["support_scores"][rows]
        assert hardest.num_support == len(rows) > 9 and len(hardest.keys) == min(len(rows), PER_CLASS)
        np.testing.assert_array_equal(hardest.scores, np.sort(scores)[::-1][:PER_CLASS])
        of_key = dict(zip(map(tuple, report.record["support"][rows, 1:].tolist()), scores, strict=True))
        assert [of_key[tuple(key)] for key in hardest.keys.tolist()] == hardest.scores.tolist()
