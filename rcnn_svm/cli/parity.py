"""Trains a recorded case and compares every key, update, eviction and weight with the recording.

CASE is a folder with `inputs.npz` and, to compare with, `expected.npz`, or an inputs file itself. Without one it is a
small case that comes with the package: 12 synthetic images, 3 classes, recorded with the original MATLAB code
(rcnn_train.m under GNU Octave, liblinear 1.94).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rcnn_svm.cli.arguments import add_solver_argument
from rcnn_svm.errors import InputError

# Tight enough that the optimum, and with it every key, is unique.
TIGHT = {"dcd": 1e-10, "liblinear": 1e-8}
VARIANT = "tight/"
SHIPPED = Path(__file__).parents[1] / "experiments" / "cases" / "tiny"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument(
        "case",
        metavar="CASE",
        type=Path,
        nargs="?",
        default=SHIPPED,
        help="folder of the case, or its inputs file (.npz) (default: the case that comes with the package)",
    )
    add_solver_argument(parser)
    parser.add_argument("--out", metavar="FILE.npz", type=Path, help="write our own record in the same format")


def run(args: argparse.Namespace) -> int:
    """Train, compare, print the table; return 1 if anything differs."""
    import time

    import numpy as np

    from rcnn_svm.artefacts.files import atomic_stream
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.experiments.parity import case_cache, case_miner, compare, result_arrays

    inputs_path = args.case / "inputs.npz" if args.case.is_dir() else args.case
    inputs = _load_npz(inputs_path)
    cache = case_cache(inputs, args.case.stem)
    recorded = _load_npz(inputs_path.with_name("expected.npz")) if _has_expected(args.case) else {}
    expected = {name.removeprefix(VARIANT): array for name, array in recorded.items() if name.startswith(VARIANT)}
    if recorded and not expected:
        raise InputError(f"{args.case}/expected.npz holds no arrays under {VARIANT}, the run at a tight tolerance")
    folds = None
    if "fold_start" in expected:
        folds = np.split(expected["fold_images"], expected["fold_start"][1:-1])
    miner = case_miner(
        inputs,
        solver=args.solver,
        tolerance=TIGHT[args.solver],
        k_folds=0 if folds else int(inputs["k_folds"]),
    )
    start = time.perf_counter()
    miner.fit(cache, folds=folds)
    seconds = time.perf_counter() - start
    found = result_arrays(miner)
    print(
        f"{args.case.stem}: {args.solver}, {len(found['added']):,} hard negatives, {len(found['updates'])} updates, "
        f"{len(found['evicted']):,} evictions, {seconds:.2f} s"
    )
    if args.out:
        with atomic_stream(args.out) as stream:
            arrays: dict[str, Any] = found
            np.savez_compressed(stream, **arrays)
    rows = compare(found, expected) if expected else []
    for row in rows:
        print(f"  {row.what:<25} {'equal' if row.equal else 'DIFFERENT':<9} {row.detail}")
    if not rows:
        print("  no expected.npz beside the inputs: nothing to compare with")
    if args.out:
        say_written(args.out)
    return 0 if all(row.equal for row in rows) else 1


def _has_expected(case: Path) -> bool:
    return case.is_dir() and (case / "expected.npz").exists()


def _load_npz(path: Path) -> dict:
    from rcnn_svm.artefacts.files import require_regular
    from rcnn_svm.artefacts.npz import read_npz

    try:
        require_regular(path)
        return read_npz(path, path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the folder of a case with inputs.npz") from None
