"""Trained models on disk: an HDF5 file of settings, arrays, and the history of the training."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from rcnn_svm.artefacts.files import create_h5, members, open_h5, open_h5_of, read_settings
from rcnn_svm.artefacts.schema import check_schema
from rcnn_svm.errors import InputError
from rcnn_svm.parameters import plain
from rcnn_svm.words import counted, names_in_words

if TYPE_CHECKING:
    import h5py

# Where the class of every kind of model is; imported when a file of its kind is loaded, so that a detector loads no
# torch.
MODELS = {
    "detector": "rcnn_svm.detection.detector:Detector",
    "box regressor": "rcnn_svm.detection.bbox_regression:BoxRegressor",
    "proposal ranker": "rcnn_svm.proposals.ranker:ProposalRanker",
    "RoI head": "rcnn_svm.fast_rcnn.roi_head:RoIHead",
    "Fast R-CNN network": "rcnn_svm.fast_rcnn.model:FastRCNN",
}


class Model:
    """A trained model that one file holds.

    As it stands it serves a dataclass of a linear model on cached features: with `feat_norm_mean`, `feature_settings`
    and the attributes that `ARRAYS` names. A model of other parts overrides `settings`, `arrays` and `_restored`.

    Attributes:
        KIND: what a file says that it is, one of `MODELS`.
        SCHEMA: version of the layout of its files.
        ARRAYS: names of the attributes that are arrays, each a dataset; one that may be None is optional.
        PARTS: names of the attributes that are models themselves, or None, with their kinds; each a group of `parts`.
        classes: K class names.
        training: settings of the training and what it was trained on, JSON-able.
    """

    KIND: ClassVar[str]
    SCHEMA: ClassVar[int] = 1
    ARRAYS: ClassVar[tuple[str, ...]] = ()
    PARTS: ClassVar[Mapping[str, str]] = {}

    classes: tuple[str, ...]
    feat_norm_mean: float
    feature_settings: dict[str, Any]
    training: dict[str, Any]

    @property
    def digest(self) -> str:
        """16 hex digits that change with anything that decides what the model returns."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._classes_in_words()})"

    def _classes_in_words(self) -> str:
        return f"{counted(len(self.classes), 'class', 'classes')}: {names_in_words(self.classes, 3)}"

    def columns(self, classes: Sequence[str]) -> np.ndarray:
        """Return the (len(classes),) int64 indices of classes by name.

        Raises:
            InputError: a class is not among those of the model.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise InputError(
                f"the {self.KIND} has no class {plain(missing[0])!r}, it has {', '.join(self.classes)}; "
                "train one on a cache that has it"
            )
        return np.array([self.classes.index(name) for name in classes], np.int64)

    def settings(self) -> dict[str, Any]:
        """Return all that a file records of the model but its arrays, JSON-able."""
        return {
            "classes": list(self.classes),
            "feat_norm_mean": self.feat_norm_mean,
            "features": self.feature_settings,
            "training": self.training,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the model's arrays by the names of their datasets."""
        named = {name: getattr(self, name) for name in self.ARRAYS}
        return {name: array for name, array in named.items() if array is not None}

    def parts(self) -> dict[str, Model]:
        """Return the models that this one holds, by the names of their attributes."""
        held = {name: getattr(self, name) for name in self.PARTS}
        return {name: part for name, part in held.items() if part is not None}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes with which arrays fit the classes and each other, of those not checked elsewhere."""
        return {}

    @classmethod
    def _restored(cls, settings: dict[str, Any], datasets: Mapping[str, h5py.Dataset], **more: Any) -> Self:
        """Return the model of `settings` and `arrays` as they were saved; `more` are further attributes."""
        made_of: Callable[..., Self] = cls  # a dataclass with these fields, says the class
        return made_of(
            classes=tuple(settings["classes"]),
            feat_norm_mean=settings["feat_norm_mean"],
            feature_settings=settings["features"],
            training=settings["training"],
            **{name: datasets[name][...] for name in cls.ARRAYS if name in datasets},
            **more,
        )

    def save(self, path: str | os.PathLike, history: Mapping[str, np.ndarray] | None = None) -> None:
        """Write the model to an HDF5 file.

        Args:
            path: the file, replaced when the new one is complete.
            history: arrays of the history of its training, kept beside it; text as arrays of str objects.

        Raises:
            InputError: the file cannot be written; what was there is intact.
        """
        import h5py

        with create_h5(path, self.KIND, self.SCHEMA, self.settings()) as handle:
            self._write(handle)
            for name, array in (history or {}).items():
                text = array.dtype == object
                handle.create_dataset(f"history/{name}", data=array, dtype=h5py.string_dtype() if text else None)

    def _write(self, group: h5py.Group) -> None:
        """Write arrays and parts."""
        for name, array in self.arrays().items():
            group.create_dataset(name, data=array)
        for name, part in self.parts().items():
            inner = group.create_group(f"parts/{name}")
            inner.attrs["kind"], inner.attrs["schema"] = part.KIND, part.SCHEMA
            inner.attrs["settings"] = json.dumps(part.settings(), sort_keys=True)
            part._write(inner)

    @classmethod
    def _read(cls, group: h5py.Group) -> Self:
        """Return what `_write` wrote, with its parts.

        Raises:
            InputError: the model or a part makes no sense, or a part is of a kind or schema that is not known.
        """
        settings = read_settings(group)
        for name in settings.get("classes", ()):
            name.encode()  # damaged text decodes to what cannot be written again
        parts = {name: cls._read_part(name, inner) for name, inner in members(group.get("parts", {})).items()}
        model = cls._restored(settings, group, **parts)
        problem = _nonsense(model)
        if problem:
            raise InputError(problem)
        return model

    @classmethod
    def _read_part(cls, name: str, group: h5py.Group) -> Model:
        """Return the model that is a part of another."""
        kind, schema = group.attrs["kind"], int(group.attrs["schema"])
        part = model_class(kind) if kind in MODELS and cls.PARTS.get(name) == kind else None
        if part is None:
            raise InputError(f"its part {plain(name)} is a {plain(kind)} of schema {schema}, which is not known")
        check_schema(f"its part {plain(name)}", part.KIND, schema, part.SCHEMA)
        return part._read(group)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read a model written by `save`.

        Raises:
            InputError: the file is missing, damaged or of another kind.
        """
        with open_h5(path, cls.KIND, cls.SCHEMA) as handle:
            try:
                return cls._read(handle)
            except InputError as error:
                raise InputError(f"{path} cannot be used: {error}; train the model again") from error

    @classmethod
    def load_history(cls, path: str | os.PathLike) -> dict[str, np.ndarray]:
        """Return the arrays of the history that was saved beside a model, by name; none where there is no history.

        Raises:
            InputError: the file is missing, damaged or of another kind.
        """
        import h5py

        with open_h5(path, cls.KIND, cls.SCHEMA) as handle:
            return {
                name: data.asstr()[...] if h5py.check_string_dtype(data.dtype) else data[...]
                for name, data in members(handle.get("history", {})).items()
            }


def _nonsense(model: Model) -> str | None:
    """Return what makes the results of a model wrong without an error; None for nothing."""
    twice = next((name for name in model.classes if model.classes.count(name) > 1), None)
    if twice is not None or not model.classes:
        return "it has no classes" if twice is None else f"it has class {twice!r} more than once"
    settings = model.settings()
    for name in ("features", "training", "network", "thresholds_from"):
        if not isinstance(settings.get(name, {}), dict):
            return f"its settings of {name} are {str(settings[name])[:60]!r}"
    mean = settings.get("feat_norm_mean", 1.0)
    if not (isinstance(mean, int | float) and 0 < mean < math.inf):
        return f"feat_norm_mean is {mean}, expected the mean length of the features"
    stds = settings.get("box_stds", [1.0] * 4)
    if len(stds) != 4 or not all(isinstance(value, int | float) and 0 < value < math.inf for value in stds):
        return f"box_stds are {stds}, expected 4 numbers above 0"
    arrays = model.arrays()
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            return f"its {name} are not finite numbers"
    for name, shape in model.shapes().items():
        if name in arrays and arrays[name].shape != shape:
            return f"its {name} have shape {arrays[name].shape}, expected {shape}"
    return None


def load_model(path: str | os.PathLike, kinds: Sequence[str] = tuple(MODELS)) -> Model:
    """Read a model of whichever kind the file says.

    Args:
        path: a file written by `Model.save`.
        kinds: the kinds that will do, among `MODELS`.

    Raises:
        InputError: the file is missing, damaged or of none of these kinds.
    """
    with open_h5_of(path, kinds) as handle:
        kind = handle.attrs["kind"]
    return model_class(kind).load(path)


def model_class(kind: str) -> type[Model]:
    """Return the class of a kind of model, one of `MODELS`."""
    module, name = MODELS[kind].split(":")
    return getattr(importlib.import_module(module), name)
