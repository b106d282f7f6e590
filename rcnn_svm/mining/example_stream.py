"""What bootstrapping goes through: all examples as a stream of batches, and the few of them that are in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import process_routing

from rcnn_svm.errors import InputError

# Examples, (n, D), and their labels or class indices, (n,).
Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ExampleSet:
    """Examples in memory, in the order of the stream.

    Attributes:
        indices: (n,) int64, positions in the stream, rising.
        X: (n, D) array or CSR matrix.
        target: (n,) int64, indices of the classes.
        added_round: (n,) int32, the round they are first trained on in.
    """

    indices: np.ndarray
    X: np.ndarray
    target: np.ndarray
    added_round: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def digest(self) -> bytes:
        """Return what is the same for the same examples."""
        return hashlib.blake2b(self.indices.tobytes(), digest_size=16).digest()

    def take(self, rows: np.ndarray) -> ExampleSet:
        """Return some of the examples."""
        return ExampleSet(self.indices[rows], self.X[rows], self.target[rows], self.added_round[rows])

    def found_in(self, index: np.ndarray, X: np.ndarray, target: np.ndarray) -> tuple[slice, np.ndarray]:
        """Find the examples of this set that are in a batch of a later pass.

        Args:
            index: (m,) int64, positions of the batch in the stream, rising.
            X: (m, D) array or CSR matrix.
            target: (m,) int64, indices of the classes.

        Returns:
            which examples of the set, and their (k,) rows in the batch.

        Raises:
            InputError: one of them is not what it was.
        """
        in_batch = slice(*np.searchsorted(self.indices, [index[0], index[-1] + 1]))
        rows = np.searchsorted(index, self.indices[in_batch])
        if not (np.array_equal(target[rows], self.target[in_batch]) and _equal(X[rows], self.X[in_batch])):
            raise InputError(
                f"examples {index[0]} to {index[-1]} are not those of the pass before; batches() must yield the "
                "same in every call and in the same order, so do not shuffle or change them"
            )
        return in_batch, rows

    @staticmethod
    def merged(parts: Sequence[ExampleSet]) -> ExampleSet:
        """Return all examples of disjoint sets."""
        X = [part.X for part in parts]
        merged = ExampleSet(
            np.concatenate([part.indices for part in parts]),
            sparse.vstack(X, format="csr") if sparse.issparse(X[0]) else np.concatenate(X),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.added_round for part in parts]),
        )
        return merged.take(np.argsort(merged.indices))


class ExampleStream:
    """All batches with the positions of their examples, without those that are held out.

    Args:
        batches: yields the batches anew at every call, as in `fit_batches`, with class indices for labels.
        total: number of examples in all batches.
        further: yields batches of other examples at every call, such as images not seen before; none where None.
    """

    def __init__(
        self,
        batches: Callable[[], Iterable[Batch]],
        total: int,
        further: Callable[[], Iterable[Batch]] | None = None,
    ):
        self.batches = batches
        self.total = total
        self.further = further
        self._next = total  # position of the next further example
        self.held_out = np.empty(0, np.int64)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for index, X, target in self._whole():
            out = slice(*np.searchsorted(self.held_out, [index[0], index[-1] + 1]))
            rows = np.delete(np.arange(len(index)), self.held_out[out] - index[0])
            if len(rows) == len(index):
                yield index, X, target
            elif len(rows):
                yield index[rows], X[rows], target[rows]

    def scanned(self, examples: ExampleSet) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield what a round scans: all batches, those of a set that came from further batches, and a call of these."""
        yield from self
        if self.further is None:
            return
        kept = examples.indices >= self.total
        if kept.any():
            yield examples.indices[kept], examples.X[kept], examples.target[kept]
        for X, target in self.further():
            if len(target):
                yield np.arange(self._next, self._next + len(target)), X, target
            self._next += len(target)

    def begin(
        self, begin: list[np.ndarray], held_out: list[np.ndarray], given: np.ndarray
    ) -> tuple[ExampleSet, ExampleSet]:
        """Return the examples to begin with and those held out, which the stream leaves out from now on.

        Args:
            begin, held_out: (n,) int for every class, numbers of the examples within the class, rising.
            given: (n,) int, positions of further examples to begin with, rising.
        """
        # What was drawn are numbers within a class, as only the counts of the classes were known. So the examples of
        # each class are counted along the stream: those from seen[c] on are in the batch at hand, and the drawn
        # numbers among these, minus seen[c], point into the batch's rows of the class.
        parts: tuple[list[ExampleSet], list[ExampleSet]] = ([], [])
        seen = np.zeros(len(begin), np.int64)
        for index, X, target in self._whole():
            chosen = np.zeros((2, len(index)), bool)
            chosen[0, given[slice(*np.searchsorted(given, [index[0], index[-1] + 1]))] - index[0]] = True
            for c in range(len(begin)):
                rows = np.flatnonzero(target == c)
                for kind, numbers in enumerate((begin[c], held_out[c])):
                    drawn = slice(*np.searchsorted(numbers, [seen[c], seen[c] + len(rows)]))
                    chosen[kind, rows[numbers[drawn] - seen[c]]] = True
                seen[c] += len(rows)
            chosen[0] &= ~chosen[1]
            for kind in range(2):
                rows = np.flatnonzero(chosen[kind])
                parts[kind].append(ExampleSet(index[rows], X[rows], target[rows], np.zeros(len(rows), np.int32)))
        examples, out = map(ExampleSet.merged, parts)
        self.held_out = out.indices
        return examples, out

    def _whole(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        first = 0
        for X, target in self.batches():
            if len(target):
                yield np.arange(first, first + len(target)), X, target
            first += len(target)
        if first != self.total:
            raise InputError(
                f"a pass over the batches brought {first} examples, the first one {self.total}; batches() must begin "
                "anew and yield the same in every call"
            )


class FitParameters:
    """What the fit of an estimator takes besides examples and labels.

    Args:
        values: by name; what has an entry for every example is taken by position.
        total: number of examples.
        sample_weight: (total,) float64, that of `values`; 1 for each where None.
    """

    def __init__(self, values: dict[str, Any], total: int, sample_weight: np.ndarray | None):
        self.values = values
        self.total = total
        self.sample_weight = sample_weight

    @classmethod
    def routed(cls, owner: BaseEstimator, given: dict[str, Any], stream: ExampleStream) -> FitParameters:
        """Return those that the estimator of `owner` gets of what its fit was given.

        Raises:
            InputError: weights that do not fit the examples, or that further examples would lack.
        """
        if get_config()["enable_metadata_routing"]:
            values = dict(process_routing(owner, "fit", **given).estimator.fit) if given else {}
        else:
            values = dict(given)
        weights = None
        for name, value in values.items():
            if name == "sample_weight" or name.endswith("__sample_weight"):
                weights = values[name] = None if value is None else cls._checked(name, value, stream)
        return cls({name: value for name, value in values.items() if value is not None}, stream.total, weights)

    @staticmethod
    def _checked(name: str, value: Any, stream: ExampleStream) -> np.ndarray:
        try:
            weights = np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} is a {type(value).__name__}, expected a number for each example") from error
        if weights.shape != (stream.total,):
            raise InputError(f"{name} has shape {weights.shape}, expected ({stream.total},), one for each example")
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise InputError(f"{name} holds {weights[~(weights >= 0) | np.isinf(weights)][0]}, expected 0 or more")
        if stream.further is not None:
            raise InputError(f"{name} cannot weight the examples of new_batches; leave one of them out")
        return weights

    def of(self, index: np.ndarray) -> dict[str, Any]:
        """Return them for the examples at some positions."""

        def taken(value: Any) -> Any:
            by_example = hasattr(value, "__len__") and not isinstance(value, (str, dict)) and len(value) == self.total
            return np.asarray(value)[index] if by_example else value

        return {name: taken(value) for name, value in self.values.items()}

    def weights(self, index: np.ndarray) -> np.ndarray | float:
        """Return the weights of the examples at some positions."""
        return 1.0 if self.sample_weight is None else self.sample_weight[index]


def _equal(X: np.ndarray | sparse.csr_matrix, Y: np.ndarray | sparse.csr_matrix) -> bool:
    """Return whether rows taken in the same way are the same."""
    if sparse.issparse(X):
        return all(_equal(getattr(X, part), getattr(Y, part)) for part in ("indptr", "indices", "data"))
    return np.array_equal(X, Y, equal_nan=True)
