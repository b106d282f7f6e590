"""The passes over the images: a block is read once and handed to threads that each mine some of the classes.

A class does its own mining (`class_miner.py`). Here is what the classes have in common: who reads, one product that
scores a block for all classes of a thread, threads, progress, checkpoints. After a pass, `convergence.py` and
`validation.py` decide whether it was the last; after the last, `fold_detectors.py` trains the detectors of the folds.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.cache.blocks import Block
from rcnn_svm.cache.feature_cache import FeatureCache
from rcnn_svm.detection.detector import Detector
from rcnn_svm.mining.engine.block import ScanBlock
from rcnn_svm.mining.engine.class_miner import ClassMiner, phase
from rcnn_svm.mining.engine.convergence import has_converged, loss_of_negatives, objective_on_all_data
from rcnn_svm.mining.engine.feature_pool import FeaturePool
from rcnn_svm.mining.engine.fold_detectors import train_without
from rcnn_svm.mining.engine.history import TABLES, MiningHistory
from rcnn_svm.mining.engine.validation import Validation, best_pass
from rcnn_svm.progress import progress_bar
from rcnn_svm.svm.kernels import score_regions

# Blocks a fast thread may be ahead of a slow one: retraining comes in bursts. They bound the memory.
BLOCKS_AHEAD = 3


class ClassThread:
    """The classes of one thread, whose scores are one product and whose features are in one pool.

    Args:
        classes: the classes that the thread mines.
        pool: the pool of these classes.
        cache: what is mined, by which messages name regions.

    Attributes:
        seconds: time by phase, beside that of the classes.
        num_added: hard negatives that `scan` added, to all classes.
    """

    def __init__(self, classes: Sequence[ClassMiner], pool: FeaturePool, cache: FeatureCache):
        self.classes, self.pool, self.cache = classes, pool, cache
        self.seconds: dict[str, float] = defaultdict(float)
        self.num_added = 0

    def load(self, block: Block, classes: Collection[ClassMiner]) -> None:
        """Find the features of those examples of some classes that are in a block of the cache."""
        self.pool.open_block(block.first_region, len(block))
        for miner in self.classes:
            if miner in classes:
                miner.cache.load(block)

    def scan(self, block: ScanBlock) -> None:
        """Mine a block, with the effects of one image after the other.

        Raises:
            InputError: features are not finite; a model of them would be none, or a wrong one.
        """
        classes = [miner for miner in self.classes if not miner.is_over]
        if not classes:
            return
        with phase(self.seconds, "score"):
            scores = self._score(block, classes)
            # A score is a sum over all features, of any class, so it shows one that is not finite.
            self.cache.check_finite(range(block.first_region, block.first_region + len(block)), scores[:, 0])
        with phase(self.seconds, "select"):
            by_class = np.ascontiguousarray(scores.T)
            self.pool.open_block(block.first_region, len(block))
        for miner, own in zip(classes, by_class, strict=True):
            self.num_added += miner.take(block, own)

    def finish_pass(self, epoch: int, image: int) -> None:
        """Train every class that has new examples, so that all caches are judged by their own detectors."""
        for miner in self.classes:
            if miner.num_added:
                miner.train(epoch, image)

    def losses(self, block: ScanBlock) -> np.ndarray:
        """Return the hinge loss of all negatives of a block for every class of the thread, (k,) float64."""
        setting = self.classes[0].setting
        negative = setting.rules.negative(block.overlap[:, [miner.column for miner in self.classes]])
        return loss_of_negatives(self._score(block, self.classes), negative, setting.svm_C)

    def train_without(self, fold: np.ndarray) -> list[tuple[np.ndarray, np.float32]]:
        """Return the detectors that the thread's classes give without the images of a fold."""
        return [train_without(miner, fold) for miner in self.classes]

    def _score(self, block: ScanBlock, classes: Sequence[ClassMiner]) -> np.ndarray:
        """Return the scores (N, k) float32 of the regions of a block by the present detectors of k classes."""
        weights = np.stack([miner.weights for miner in classes]) * self.pool.scale
        return score_regions(block.features, weights, np.array([miner.bias for miner in classes]))


class Threads:
    """Threads that work on the same calls, each on its own classes and in the order of the calls.

    A single thread's work is done by the caller. To be used as a context, which ends the threads.

    Args:
        threads: the classes of every thread.
    """

    def __init__(self, threads: Sequence[ClassThread]):
        self._threads = threads
        self._executors = [ThreadPoolExecutor(1, "mining") for _ in threads] if len(threads) > 1 else []
        self._running: deque[list[Future]] = deque()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *exception: object) -> None:
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in self._executors:
            executor.shutdown()

    def begin(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Call `work(thread, *arguments)` for every thread; waits only for what was begun long before."""
        if not self._executors:
            work(self._threads[0], *arguments)
            return
        self._running.append(self._submit(work, arguments))
        while len(self._running) > BLOCKS_AHEAD:
            _results(self._running.popleft())

    def wait(self) -> None:
        """Wait until everything begun is done."""
        while self._running:
            _results(self._running.popleft())

    def all(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call `work(thread, *arguments)` for every thread and return what each returned."""
        self.wait()
        if not self._executors:
            return [work(self._threads[0], *arguments)]
        return _results(self._submit(work, arguments))

    def _submit(self, work: Callable[..., Any], arguments: tuple) -> list[Future]:
        pairs = zip(self._executors, self._threads, strict=True)
        return [executor.submit(work, thread, *arguments) for executor, thread in pairs]


class MiningLoop:
    """The passes over a feature cache in which all classes are mined, with what they find and how far they are.

    Args:
        cache: regions and features of the training images.
        classes: the classes, each at the position of its index, before their first image; where only some of a
            training are mined, there are no folds, no `stop_ratio` and no `validation`.
        max_epochs: largest number of passes.
        stop_ratio: no further pass once every class's objective over all data is below this times that on its cache;
            no such test where None.
        validation: judges every class after every pass, and ends its mining; no class is judged where None.
        detector_of: returns the `Detector` of some classes as they stand, for `validation`.
        block_bytes: bytes of features that are scored at once.
        checkpoint: file in which progress is kept, and found; no progress is kept where None.
        checkpoint_seconds: shortest time between two checkpoints.

    Attributes:
        history: what happened, complete when `run` is done.
        seconds: time by phase: read by the calling thread, the others summed over threads; complete likewise.
    """

    def __init__(
        self,
        cache: FeatureCache,
        classes: Sequence[ClassMiner],
        *,
        max_epochs: int,
        stop_ratio: float | None,
        validation: Validation | None,
        detector_of: Callable[[Sequence[ClassMiner]], Detector] | None,
        block_bytes: int,
        checkpoint: Checkpoint | None,
        checkpoint_seconds: float,
    ):
        self.cache, self.classes = cache, classes
        self.max_epochs, self.stop_ratio, self.block_bytes = max_epochs, stop_ratio, block_bytes
        self.validation, self.detector_of = validation, detector_of
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        self.history = MiningHistory()
        self.seconds: dict[str, float] = defaultdict(float)
        # Every thread has a pool of its own, so that none waits for another.
        by_pool: dict[FeaturePool, list[ClassMiner]] = defaultdict(list)
        for miner in classes:
            by_pool[miner.cache.pool].append(miner)
        self._parts = [ClassThread(part, pool, cache) for pool, part in by_pool.items()]
        # Blocks being worked on, and the one that is read meanwhile.
        count = BLOCKS_AHEAD + 1 if len(self._parts) > 1 else 1
        self._buffers = deque([np.empty((0, cache.dim), np.float32)] * count)
        self._num_done = self._num_resumed = 0

    def load(self) -> None:
        """Put every class where it was at the last checkpoint, and its examples into the pools."""
        if self.checkpoint and self.checkpoint.exists():
            self.checkpoint.resume(self._take_over)
        self._load(self.classes)

    def _load(self, classes: Collection[ClassMiner]) -> None:
        """Put the features of the examples of some classes into the pools."""
        for block in self.cache.blocks():
            for part in self._parts:
                part.load(block, classes)

    def _take_over(self, num_done: int, arrays: dict[str, np.ndarray]) -> None:
        self._num_done = num_done
        # Checkpoints of earlier versions have no such table.
        arrays.setdefault("validation", np.empty((0, 3)))
        for name, (columns, _) in TABLES.items():
            if arrays[name].shape[1:] != (columns,):
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected {columns} columns")
            self.history.record(name, arrays[name])
        self._num_resumed = self.history.num_added

        def below(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        for miner in self.classes:
            if state := below(f"class/{miner.index}/"):
                miner.restore(state)
            miner.best = below(f"best/{miner.index}/") or None
            miner.is_over = self.validation is not None and self.validation.is_over(self._precisions(miner))

    def run(self, folds: Sequence[np.ndarray]) -> list[list[tuple[np.ndarray, np.float32]]]:
        """Mine, then train every class without each of some folds.

        Args:
            folds: image indices of every fold.

        Returns:
            for every fold, the weights (D,) and bias of every class, float32.
        """
        # The threads of the matrix library would come on top of ours, and slow small products.
        with ThreadpoolController().limit(limits=1, user_api="blas"), Threads(self._parts) as threads:
            self._mine(threads)
            self._go_back_to_the_best()
            left_out = [self._by_class(threads.all(ClassThread.train_without, fold)) for fold in folds]
        workers: list[ClassThread | ClassMiner] = [*self._parts, *self.classes]
        for worker in workers:
            for name, seconds in worker.seconds.items():
                self.seconds[name] += seconds
        self._take_over_histories()
        if self.validation is not None:
            self.history.keep_until(np.array([best_pass(self._precisions(miner)) for miner in self.classes]))
        return left_out

    def _mine(self, threads: Threads) -> None:
        """Pass over the images until the passes are over or bring no more."""
        num_images = self.cache.num_images
        with progress_bar(self.max_epochs * num_images, "mining", "image", initial=self._num_done) as bar:
            for epoch in range(self.max_epochs):
                if self._num_done < (epoch + 1) * num_images:
                    self._scan(threads, epoch, max(self._num_done - epoch * num_images, 0), bar)
                    self._num_done = (epoch + 1) * num_images
                is_over = self.validation is not None and self._is_over(threads, epoch, self.validation)
                if is_over or (self.stop_ratio is not None and self._has_converged(threads, epoch, self.stop_ratio)):
                    break
        if self.checkpoint:
            self._save(self.checkpoint, self._num_done)

    def _scan(self, threads: Threads, epoch: int, num_done: int, bar: tqdm) -> None:
        """Mine all images of a pass but the first `num_done`."""
        saved = time.monotonic()
        for block in self._blocks(epoch, num_done):
            threads.begin(ClassThread.scan, block)
            self._show(bar)
            bar.update(block.num_images - block.skip)
            if self.checkpoint and time.monotonic() - saved > self.checkpoint_seconds:
                threads.wait()
                self._save(self.checkpoint, epoch * self.cache.num_images + block.images.stop)
                saved = time.monotonic()
        threads.wait()
        self._show(bar)

    def _show(self, bar: tqdm) -> None:
        """Write the number of hard negatives and of trainings beside a progress bar."""
        hard = self._num_resumed + sum(part.num_added for part in self._parts)
        bar.set_postfix({"hard": hard, "updates": sum(miner.num_updates for miner in self.classes)}, refresh=False)

    def _blocks(self, epoch: int, num_done: int) -> Iterator[ScanBlock]:
        """Read the images of a pass after the first `num_done`, a block at a time."""
        num_images, blocks = self.cache.num_images, self.cache.blocks(self.block_bytes)
        while True:
            with phase(self.seconds, "read"):
                block = next(blocks, None)
                if block is None:
                    return
                if block.images.stop <= num_done:
                    continue
                features = self._features(block)
            yield ScanBlock(
                epoch=epoch,
                images=block.images,
                first_region=block.first_region,
                image_start=block.image_start,
                overlap=block.overlap,
                features=features,
                skip=max(num_done - block.images.start, 0),
                last=epoch == self.max_epochs - 1 and block.images.stop == num_images,
            )

    def _features(self, block: Block) -> np.ndarray:
        """Return a block's features in single precision: a view, or one of the buffers that take turns."""
        buffer = self._buffers.popleft()
        if len(buffer) < len(block):
            buffer = np.empty((len(block), self.cache.dim), np.float32)
        self._buffers.append(buffer)
        return block.features(out=buffer)

    def _has_converged(self, threads: Threads, epoch: int, stop_ratio: float) -> bool:
        """Return whether a pass may be the last: the objective on all data is measured once for every pass."""
        table = self.history.table("convergence")
        if not (table[:, 1] == epoch).any():
            self._finish_pass(threads, epoch)
            losses = np.zeros(len(self.classes))
            for block in self._blocks(epoch, 0):
                losses += self._by_class(threads.all(ClassThread.losses, block))
            rows = []
            for miner in self.classes:
                if miner.is_over:
                    continue
                on_all_data = objective_on_all_data(miner.objective, losses[miner.index])
                rows.append((miner.index, epoch, miner.objective[-1], on_all_data))
            self._take_over_histories()
            self.history.record("convergence", rows)
            table = self.history.table("convergence")
        of_pass = table[table[:, 1] == epoch]
        return has_converged(of_pass[:, 2], of_pass[:, 3], stop_ratio)

    def _is_over(self, threads: Threads, epoch: int, validation: Validation) -> bool:
        """Return whether a pass was the last for all classes by their held-out precision, which is measured once."""
        if not (self.history.table("validation")[:, 1] == epoch).any():
            if self.detector_of is None:
                raise ValueError("validation needs detector_of")
            self._finish_pass(threads, epoch)
            classes = [miner for miner in self.classes if not miner.is_over]
            with phase(self.seconds, "validate"):
                precisions = validation.precisions(self.detector_of(classes))
            rows = zip([miner.index for miner in classes], [epoch] * len(classes), precisions, strict=True)
            self.history.record("validation", list(rows))
            for miner in classes:
                precisions = self._precisions(miner)
                if best_pass(precisions) == epoch:
                    miner.best = {name: array.copy() for name, array in miner.state().items()}
                miner.is_over = validation.is_over(precisions)
        return all(miner.is_over for miner in self.classes)

    def _precisions(self, miner: ClassMiner) -> np.ndarray:
        """Return the held-out average precision of a class after every pass, (E,) float64."""
        table = self.history.table("validation")
        return table[table[:, 0] == miner.index, 2]

    def _go_back_to_the_best(self) -> None:
        """Put every class that was trained since its best pass where it was after that one."""
        later = []
        for miner in self.classes:
            if miner.best and miner.best["counters"][1] < miner.num_updates:
                miner.restore(miner.best)
                later.append(miner)
        if later:
            self._load(later)

    def _finish_pass(self, threads: Threads, epoch: int) -> None:
        """Train every class that has new examples after a pass."""
        threads.wait()
        # What the scan recorded at the last image comes before the trainings that follow it.
        self._take_over_histories()
        threads.all(ClassThread.finish_pass, epoch, self.cache.num_images - 1)
        self._take_over_histories()

    def _by_class(self, results: Sequence[Sequence[Any]]) -> list[Any]:
        """Return what the threads found for each of their classes, in the order of all classes."""
        found = [None] * len(self.classes)
        for part, of_part in zip(self._parts, results, strict=True):
            for miner, result in zip(part.classes, of_part, strict=True):
                found[miner.index] = result
        return found

    def _take_over_histories(self) -> None:
        self.history.take_over([miner.history for miner in self.classes])

    def _save(self, checkpoint: Checkpoint, num_done: int) -> None:
        self._take_over_histories()
        arrays = self.history.tables()
        for miner in self.classes:
            for name, array in miner.state().items():
                arrays[f"class/{miner.index}/{name}"] = array
            for name, array in (miner.best or {}).items():
                arrays[f"best/{miner.index}/{name}"] = array
        checkpoint.save(num_done, arrays)


def _results(futures: list[Future]) -> list[Any]:
    return [future.result() for future in futures]
