"""The points that the toy starts from: clusters, each in an image, drawn by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Points keep so far from the border that their signs are whole.
BORDER = 0.94


@dataclass(frozen=True)
class Cluster:
    """Points of one kind around a place.

    Attributes:
        image: index of their image.
        kind: `positive`, an object; `negative`; or `neither`, what overlaps an object too far to be a negative.
        x, y: the place, -1 to 1.
        spread: standard deviation around it.
        count: number of points.
    """

    image: int
    kind: str
    x: float
    y: float
    spread: float
    count: int


@dataclass(frozen=True)
class Preset:
    """Points to start from.

    Attributes:
        name: what the page calls it.
        note: what there is to see.
        clusters: where the points are.
        seed: seeds the draw.
    """

    name: str
    note: str
    clusters: tuple[Cluster, ...]
    seed: int = 0

    def points(self) -> list[dict]:
        """Return the points as the page takes them: image, x, y and kind of each."""
        rng = np.random.default_rng(self.seed)
        points = []
        for cluster in self.clusters:
            drawn = rng.normal((cluster.x, cluster.y), cluster.spread, (cluster.count, 2))
            points += [
                {"image": cluster.image, "x": x, "y": y, "kind": cluster.kind}
                for x, y in drawn.clip(-BORDER, BORDER).round(3).tolist()
            ]
        return points


PRESETS = (
    Preset(
        "Some hard, many easy",
        "Most negatives of the later images are easy and never enter; each image has a few that look like objects.",
        (
            Cluster(0, "positive", 0.4, 0.4, 0.1, 3),
            Cluster(0, "neither", 0.2, 0.45, 0.07, 2),
            Cluster(0, "negative", -0.5, -0.45, 0.22, 8),
            Cluster(1, "positive", 0.5, 0.35, 0.1, 2),
            Cluster(1, "negative", -0.6, -0.3, 0.2, 7),
            Cluster(1, "negative", 0.05, 0.0, 0.08, 3),
            Cluster(2, "positive", 0.4, 0.6, 0.1, 2),
            Cluster(2, "negative", -0.5, 0.1, 0.2, 7),
            Cluster(2, "negative", 0.5, -0.15, 0.08, 3),
            Cluster(3, "positive", 0.6, 0.5, 0.1, 2),
            Cluster(3, "negative", -0.1, -0.7, 0.18, 7),
            Cluster(3, "negative", 0.0, 0.65, 0.06, 3),
        ),
    ),
    Preset(
        "Evicted, and back again",
        "The first detector finds some negatives of image 0 easy. Image 1 turns its line, and in the next pass some of "
        "them are hard again.",
        (
            Cluster(0, "positive", 0.4, 0.0, 0.1, 4),
            Cluster(0, "negative", -0.4, 0.6, 0.15, 5),
            Cluster(0, "negative", -0.3, -0.3, 0.15, 5),
            Cluster(1, "positive", 0.3, 0.1, 0.1, 3),
            Cluster(1, "negative", 0.5, -0.6, 0.15, 8),
            Cluster(2, "positive", 0.4, 0.1, 0.1, 2),
            Cluster(2, "negative", 0.2, -0.4, 0.12, 6),
        ),
        seed=3,
    ),
    Preset(
        "Look-alikes",
        "Some negatives are where the objects are: no line parts them. They stay in the cache as support vectors, and "
        "the objective stays high.",
        (
            Cluster(0, "positive", 0.3, 0.2, 0.2, 5),
            Cluster(0, "negative", -0.5, -0.3, 0.2, 7),
            Cluster(1, "positive", 0.4, 0.3, 0.2, 4),
            Cluster(1, "negative", 0.3, 0.3, 0.15, 4),
            Cluster(1, "negative", -0.6, 0.3, 0.2, 5),
            Cluster(2, "positive", 0.2, 0.4, 0.2, 3),
            Cluster(2, "negative", 0.0, -0.5, 0.25, 7),
        ),
    ),
    Preset(
        "A first image that says little",
        "The negatives of image 0 are all of one kind, so the first detector is wrong about the others: all of image 1 "
        "is hard.",
        (
            Cluster(0, "positive", 0.0, 0.45, 0.1, 4),
            Cluster(0, "negative", 0.0, -0.6, 0.12, 6),
            Cluster(1, "positive", 0.1, 0.5, 0.1, 3),
            Cluster(1, "negative", -0.65, 0.4, 0.12, 8),
            Cluster(2, "positive", 0.0, 0.55, 0.1, 2),
            Cluster(2, "negative", -0.5, -0.3, 0.2, 8),
            Cluster(2, "negative", 0.6, -0.3, 0.15, 5),
        ),
    ),
    Preset("An empty plane", "Add positives and negatives with a click, image by image.", ()),
)
