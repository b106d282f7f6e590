"""What the page shows of a mining: its film, its hardest negatives, and a crop of every region in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.data.database import ImageDatabase
from rcnn_svm.mining.kinds_of_negatives import WORDS, negative_kinds
from rcnn_svm.mining.replay import ClassReplay, Replay
from rcnn_svm.mining.rules import MiningRules
from rcnn_svm.mining.suspects import Suspects
from rcnn_svm.reports.html.album import Album, Picks
from rcnn_svm.reports.html.charts import LEFT, RIGHT, objective_chart, size_chart
from rcnn_svm.reports.html.crops import crop_texts, lost_crops
from rcnn_svm.reports.html.film import class_film, film_picks
from rcnn_svm.reports.html.hardest import Hardest, hardest_negatives
from rcnn_svm.reports.html.page import score_text

# Suspects that are shown, and what the hardest negatives among all of them are called.
SUSPECTS, SUSPECT = 60, "suspect"
# Regions that the page shows, and characters of their crops, which have some 4,000 each.
MOST_REGIONS, MOST_CHARACTERS = 4000, 12_000_000


@dataclass(frozen=True, eq=False)
class Mined:
    """A mining as the page takes it.

    Attributes:
        classes: K class names of the detector.
        record: the record of the training.
        replay: the same in scores; None where there was no mining.
        cache: the features that it was trained on.
        suspects: hard negatives that look like objects without a label, the most suspicious first.
        images: the training images, for crops; None for none.
    """

    classes: tuple[str, ...]
    record: Mapping[str, np.ndarray]
    replay: Replay | None
    cache: FeatureCache
    suspects: Suspects
    images: ImageDatabase | None

    @property
    def content(self) -> dict[str, Any]:
        """What the template shows."""
        films = {name: place for place, (name, _) in enumerate(self._films)}
        return {
            "num_keys": f"{len(self.record['added']):,}",
            "films": [
                {"name": self.classes[index], **self._charts(self.classes[index], replay.updates)}
                for index, replay in self._replays
            ],
            "hardest": [
                {
                    "name": name,
                    "film": films.get(name),
                    "says": f"{len(regions)} of {self._hardest[index].num_support:,} on or inside the margin",
                    "regions": regions,
                }
                for index, (name, regions) in enumerate(zip(self.classes, self._hardest_regions, strict=True))
            ],
            "why": [*WORDS.values(), SUSPECT],
            "suspects": self._suspects,
            "num_suspects": f"{len(self.suspects):,}",
        }

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads, JSON-able."""
        album = self.album
        images, place = np.unique(album.keys[:, 0], return_inverse=True)
        columns = (place, album.keys[:, 1], album.overlap.astype(np.float64).round(3), album.nearest)
        return {
            "images": [self.cache.image_ids[image] for image in images.tolist()],
            "regions": list(zip(*(column.tolist() for column in columns), strict=True)),
            "crops": self._crops[0],
            "classes": self.cache.classes,
            "numImages": self.cache.num_images,
            "passes": int(self.record["updates"][:, 1].max(initial=0)) + 1,
            "axis": [LEFT, RIGHT],
            "edges": [] if self.replay is None else self.replay.edges.round(3).tolist(),
            "marks": [] if self.replay is None else _marks(self.replay.rules),
            "films": [{"name": name, **film} for name, film in self._films],
        }

    @property
    def notes(self) -> list[str]:
        """Sentences on what is missing."""
        if self.images is None:
            return ["There are no crops, as the training images were not given."]
        return lost_crops(*self._crops, "regions")

    @cached_property
    def album(self) -> Album:
        """The regions that are shown."""
        return Album.of_cache(self.cache, Picks.joined(self._picks).most_wanted(MOST_REGIONS))

    @cached_property
    def _hardest(self) -> list[Hardest]:
        return [hardest_negatives(index, self.record) for index in range(len(self.classes))]

    @cached_property
    def _picks(self) -> list[Picks]:
        """What is to be shown of every class."""
        films = [] if self.replay is None else map(film_picks, self.replay.classes)
        of_films = list(films) or [Picks.joined([])] * len(self.classes)
        pairs = zip(self._hardest, of_films, strict=True)
        return [Picks.joined([hardest.picks, of_film]) for hardest, of_film in pairs]

    @property
    def _replays(self) -> list[tuple[int, ClassReplay]]:
        """Number and mining of every class that was mined."""
        replays = () if self.replay is None else self.replay.classes
        return [(index, replay) for index, replay in enumerate(replays) if len(replay.updates)]

    @cached_property
    def _films(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and film of every class that was mined."""
        return [
            (self.classes[index], class_film(index, replay, self.record, self.album, self._picks[index].keys))
            for index, replay in self._replays
        ]

    def _charts(self, name: str, rows: np.ndarray) -> dict[str, Any]:
        return {
            "objective": objective_chart(self.record["update_loss"][rows], name),
            "size": size_chart(self.record["updates"][rows], name),
        }

    @cached_property
    def _crops(self) -> tuple[list[str | None], list[str]]:
        """The crop of every region of the album, then of every suspect shown, and why some images gave none."""
        image = np.concatenate([self.album.keys[:, 0], self.suspects.keys[:SUSPECTS, 1]])
        if self.images is None:
            return [None] * len(image), []
        boxes = np.concatenate([self.album.boxes, self.suspects.box[:SUSPECTS]])
        return crop_texts(image, boxes, self.cache.image_ids, self.images, MOST_CHARACTERS)

    @cached_property
    def _hardest_regions(self) -> list[list[dict[str, Any]]]:
        """The hardest negatives of every class as the template takes them, those that the album has."""
        parts = [np.insert(hardest.keys, 0, index, axis=1) for index, hardest in enumerate(self._hardest)]
        keys = np.concatenate(parts)
        kinds = negative_kinds(self.cache, self.classes, keys)
        suspects = set(map(tuple, self.suspects.keys.tolist()))
        regions: list[list[dict[str, Any]]] = [[] for _ in self.classes]
        scores = np.concatenate([hardest.scores for hardest in self._hardest]).tolist()
        numbers = self.album.numbers(keys[:, 1:]).tolist()
        for (index, image, row), number, score, kind, says in zip(
            keys.tolist(), numbers, scores, kinds.kind.tolist(), kinds.words, strict=True
        ):
            if number >= 0:
                regions[index].append(
                    {
                        "number": number,
                        "score": round(score, 3),
                        "shown": score_text(score),
                        "overlap": f"{self.album.overlap[number]:.3f}",
                        "image": self.cache.image_ids[image],
                        "kind": WORDS[kind],
                        "says": says,
                        "suspect": (index, image, row) in suspects,
                    }
                )
        return regions

    @property
    def _suspects(self) -> list[dict[str, Any]]:
        """The suspects that are shown as the template takes them."""
        suspects = self.suspects
        return [
            {
                "number": len(self.album) + place,
                "name": self.classes[cls],
                "suspicion": score_text(suspicion),
                "score": score_text(score),
                "says": says,
                "image": self.cache.image_ids[image],
            }
            for place, ((cls, image, _), suspicion, score, says) in enumerate(
                zip(
                    suspects.keys[:SUSPECTS].tolist(),
                    suspects.suspicion[:SUSPECTS].tolist(),
                    suspects.score[:SUSPECTS].tolist(),
                    suspects.kinds.words[:SUSPECTS],
                    strict=True,
                )
            )
        ]


def _marks(rules: MiningRules) -> list[dict[str, Any]]:
    """Return the scores that a histogram marks, with their names."""
    return [
        {"at": rules.evict_thresh, "name": f"easy < {rules.evict_thresh:g}"},
        {"at": rules.hard_thresh, "name": f"hard > {rules.hard_thresh:g}"},
        {"at": -1, "name": "margin -1"},
        {"at": 1, "name": "margin 1"},
    ]
