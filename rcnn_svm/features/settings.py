"""What made features: the settings that a cache records, and after it every model that was trained on the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rcnn_svm.artefacts.identity import first_difference

POOL5 = "pool5"
FULLY_CONNECTED = ("fc6", "fc7")
PAPER_LAYERS = (POOL5, *FULLY_CONNECTED)

# What one must know to compute features like those of a cache, the network's first.
NETWORK_KEYS = ("name", "layer", "weights", "weights_digest")
CROP_KEYS = ("crop_size", "padding", "crop_mode")


@dataclass(frozen=True)
class FeatureSettings:
    """The settings of features by name, over the JSON object that is in caches and model files.

    The object itself is kept, so that what was read is written again byte for byte. One of features that were imported,
    or came from arrays, may lack anything: what it does not record is None here.

    Attributes:
        recorded: the JSON object.
    """

    recorded: Mapping[str, Any]

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> FeatureSettings:
        """Return the settings that a cache or a model records."""
        return cls(settings)

    @classmethod
    def of(
        cls,
        backbone: Mapping[str, Any],
        *,
        crop_size: int,
        padding: int,
        crop_mode: str,
        context: int | None = None,
        scene: bool = False,
    ) -> FeatureSettings:
        """Return everything that decides the features of given boxes.

        Args:
            backbone: settings of the network, as in `Backbone`.
            crop_size: side of a crop, pixels.
            padding: context on each side, pixels of the crop.
            crop_mode: `warp` or `square`.
            context: padding of a second crop, pixels; None where there is none.
            scene: there is a crop of the whole image.
        """
        crop = {"crop_size": crop_size, "padding": padding, "crop_mode": crop_mode}
        # Features without these record nothing of them, as before they existed.
        more = {**({} if context is None else {"context": context}), **({"scene": True} if scene else {})}
        return cls({"backbone": backbone, **crop, **more})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(self.recorded)

    @property
    def backbone(self) -> Mapping[str, Any]:
        """The settings of the network; empty where none is recorded."""
        backbone = self.recorded.get("backbone")
        return backbone if isinstance(backbone, Mapping) else {}

    @property
    def network(self) -> str | None:
        """The name of the network."""
        return self.backbone.get("name")

    @property
    def layer(self) -> str | None:
        """The layer whose output the features are."""
        return self.backbone.get("layer")

    @property
    def weights(self) -> str | None:
        """Where the weights came from: `trained`, or `random` by a fixed seed."""
        return self.backbone.get("weights")

    @property
    def crop_size(self) -> int | None:
        """The side of a crop, pixels."""
        return self.recorded.get("crop_size")

    @property
    def padding(self) -> int | None:
        """The context on each side, pixels of the crop."""
        return self.recorded.get("padding")

    @property
    def crop_mode(self) -> str | None:
        """`warp` or `square`."""
        return self.recorded.get("crop_mode")

    @property
    def context(self) -> int | None:
        """The padding of a second crop, pixels, whose last vector follows the features; None where there is none."""
        return self.recorded.get("context")

    @property
    def scene(self) -> bool:
        """Whether the last vector of the whole image ends the features."""
        return bool(self.recorded.get("scene"))

    @property
    def proposals(self) -> Mapping[str, Any] | None:
        """The settings of the proposals that the boxes are; None also for ground truth only."""
        return self.recorded.get("proposals")

    def digest_of(self, layer: str | None) -> str | None:
        """Return the digest of the weights up to `layer`, their own or one that follows from pool5."""
        if layer == self.layer:
            return self.backbone.get("weights_digest")
        return self.backbone.get("fc_digests", {}).get(layer)

    def missing(self) -> str | None:
        """Return the first setting that is missing to compute such features for other boxes, or None."""
        if not self.backbone:
            return "backbone"
        lacking = [key for key in NETWORK_KEYS if key not in self.backbone]
        lacking += [key for key in CROP_KEYS if key not in self.recorded]
        return lacking[0] if lacking else None

    def can_compute(self, layer: str | None) -> bool:
        """Return whether the features are pool5, and `layer` is one of those that follow."""
        return self.layer == POOL5 and layer in FULLY_CONNECTED

    def of_layer(self, layer: str) -> FeatureSettings:
        """Return the settings of features of `layer`, computed from these, which are pool5, without loading weights."""
        backbone = {key: value for key, value in self.backbone.items() if key != "fc_digests"}
        return self.with_backbone({**backbone, "layer": layer, "weights_digest": self.digest_of(layer)})

    def with_backbone(self, backbone: Mapping[str, Any]) -> FeatureSettings:
        """Return the settings with those of another network."""
        return FeatureSettings({**self.recorded, "backbone": backbone})

    def with_proposals(self, proposals: Mapping[str, Any] | None) -> FeatureSettings:
        """Return the settings of a cache of these features, whose boxes are proposals, or ground truth only for None.

        The digest of all images is left out: every shard records the images and boxes that it was made from.
        """
        kept = None if proposals is None else {key: value for key, value in proposals.items() if key != "images"}
        return FeatureSettings({**self.recorded, "proposals": kept})

    def difference(self, wanted: FeatureSettings) -> str | None:
        """Return where these settings and others first decide other features of the same boxes; None for nowhere.

        Proposals decide which boxes there are, not what features mean, and may differ.
        """
        here, there = self._without_proposals(), wanted._without_proposals()
        return None if here == there else first_difference(here, there)

    def _without_proposals(self) -> dict[str, Any]:
        return {key: value for key, value in self.recorded.items() if not key.startswith("proposals")}

    def description(self, kind: str) -> str:
        """Return `kind`, such as "4096-d", network, layer, and what is seen beside the box, as far as recorded."""
        more = " and ".join([*(["context"] if self.context is not None else []), *(["scene"] if self.scene else [])])
        names = [str(name) for name in (self.network, self.layer) if name]
        return " ".join([kind, *names, *([f"with {more}"] if more else [])])
