"""A stage shared out among the workers of a Dask scheduler, each of which does parts of it (`sharing.py`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from rcnn_svm.artefacts.claims import SIGN_OF_LIFE, SILENCE, ClaimedError
from rcnn_svm.errors import InputError
from rcnn_svm.progress import progress_bar

if TYPE_CHECKING:
    from distributed import Client

# What decides results: a worker that has another version may make others.
_SAME = ("rcnn-svm", "numpy", "scikit-learn", "torch", "onnxruntime", "opencv-contrib-python-headless")
# Parts of a stage for every worker: more even out images that take long. A part of `train` reads all features.
_PARTS = {"train": 1}
_PARTS_OTHERWISE = 4
_PATIENCE = 15  # seconds for a scheduler to answer

# Runs a command with its arguments.
Run = Callable[[str, Sequence[str]], int]


def share_out(command: str, argv: Sequence[str], address: str, run: Run) -> None:
    """Let the workers of a Dask scheduler do the parts of a command, all but what joins them.

    Args:
        command: one of those with `add_sharing_arguments`.
        argv: its arguments.
        address: of the scheduler.
        run: runs a command, in a worker.

    Raises:
        InputError: Dask is not installed, no scheduler or no worker is there, workers cannot do it, or bad input.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise InputError("--scheduler needs Dask: pip install 'rcnn-svm[dask]'") from error

    here = os.getcwd()
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"no Dask scheduler answers at {address} ({reason}); start one with: dask scheduler"
        ) from error
    with closing(client):
        parts = _PARTS.get(command, _PARTS_OTHERWISE) * len(_check_workers(client, address))
        # The last word counts where an option comes twice.
        words = [[*argv, "--scheduler", "", "--part", f"{number}/{parts}"] for number in range(1, parts + 1)]
        futures = [client.submit(do_part, run, command, part, here, pure=False) for part in words]
        try:
            with progress_bar(parts, f"{command} by workers", "part") as bar:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
        except KilledWorker as error:
            raise InputError(
                f"a part of {command} ended several workers one after the other; their log says why, memory perhaps"
            ) from error
        finally:
            client.cancel(futures)


def do_part(run: Run, command: str, argv: Sequence[str], folder: str) -> None:
    """Do a part of a command, in a worker.

    Where a worker that was killed left its claim, on another machine, it is waited for until that counts as gone.

    Args:
        run, command, argv: runs the command with its arguments.
        folder: where it was typed.

    Raises:
        InputError: bad input, or this machine does not have the folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"a worker has no folder {folder} ({error.strerror}); scheduler and workers need the same folders under "
            "the same paths"
        ) from error
    until = time.monotonic() + SILENCE + 2 * SIGN_OF_LIFE
    while True:
        try:
            run(command, argv)
            return
        except SystemExit as error:  # would end the worker
            raise InputError(f"a worker does not understand the arguments of {command}; its log says why") from error
        except ClaimedError:
            if time.monotonic() > until:
                raise
            time.sleep(SIGN_OF_LIFE / 2)


def versions() -> dict[str, str]:
    """Return the versions of what decides results, here; `none` where it is not installed under its usual name."""
    found = {}
    for name in _SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _check_workers(client: Client, address: str) -> list[str]:
    """Return the addresses of the workers; InputError unless there are some, with one thread and our versions each."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise InputError(f"the scheduler {address} has no workers; start some with: dask worker {address} --nthreads 1")
    many = [name for name, worker in workers.items() if worker["nthreads"] != 1]
    if many:
        raise InputError(
            f"the worker {many[0]} has several threads; start workers with --nthreads 1, several a machine"
        )
    ours = versions()
    try:
        found = client.run(versions)
    except ImportError as error:
        raise InputError(f"a worker of {address} lacks a package ({error}); install rcnn-svm there") from error
    for name, theirs in found.items():
        for package, here in ours.items():
            if theirs[package] != here:
                raise InputError(
                    f"the worker {name} has {package} {theirs[package]}, this process {here}; install the same versions"
                )
    return list(workers)
