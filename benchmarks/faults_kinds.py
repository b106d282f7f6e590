"""The kinds of faults: what is done to a command while it runs, and whether anything is lost by it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults_process import Command, Ended, files_up_to, obey_modes, record_order, watch_changes
from benchmarks.faults_world import OUT, SHARD_MAKERS, SHARD_READERS, WORLD, Stage, content, difference

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of so many kills, one comes to a new interpreter and the others to forked processes.
FRESH_EVERY = 10
_BLOCK = 4096
_LARGE = "1g"


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Attributes:
        injected: whether the command was still at work when it came.
        told: whether the command ended with a sentence.
        lost: in words, what is wrong; "" where the same command then made the undisturbed result.
    """

    injected: bool = True
    told: bool = False
    lost: str = ""


@dataclass(frozen=True)
class Undisturbed:
    """A command that nothing disturbs.

    Attributes:
        content: of what it wrote.
        seconds: what it took of the processor.
        fresh_seconds: the same of a new interpreter.
        changes: how often it changed files.
        size: bytes that it wrote, in whole blocks.
        largest: those of its largest file.
        before: size of what was there before.
    """

    content: dict[str, str]
    seconds: float
    fresh_seconds: float
    changes: int
    size: int
    largest: int
    before: int


class Place:
    """The folder that commands run in, with the world that they read and what they write.

    Args:
        root: the folder; it holds the world.
        mounts: whether a small disk may be mounted there.
    """

    def __init__(self, root: Path, *, mounts: bool):
        self.root, self.mounts = root, mounts
        self.world, self.out, self._before = root / WORLD, root / OUT, root / "before"
        self._known: dict[str, Undisturbed] = {}
        self._begun: list[Command] = []

    def begin(
        self,
        words: Sequence[str],
        prepare: Callable[[], None] | None = None,
        *,
        fresh: bool = False,
        log: str = "log",
    ) -> Command:
        """Begin a command."""
        self._begun = [command for command in self._begun if not command.has_ended()]
        self._begun.append(Command(words, self.root, self.root / log, prepare, fresh=fresh))
        return self._begun[-1]

    def run(self, words: tuple[str, ...], prepare: Callable[[], None] | None = None, *, fresh: bool = False) -> Ended:
        """Run a command to its end."""
        return self.begin(words, prepare, fresh=fresh).wait()

    def must_run(self, *words: str) -> None:
        """Run a command that nothing disturbs.

        Raises:
            RuntimeError: it failed.
        """
        ended = self.run(words)
        if ended.code:
            raise RuntimeError(f"rcnn-svm {' '.join(words)}:\n{ended.printed}")

    def clear(self, stage: Stage, *, mount: bool = False) -> None:
        """Leave where stages write only what is there before this one, on a disk of its own with `mount`."""
        self.unmount()
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        if stage.before and not (self._before / stage.name).exists():
            self.must_run(*stage.before)
            shutil.move(self.out, self._before / stage.name)
            self.out.mkdir()
        if mount:
            _mount(self.out, _LARGE)
        if stage.before:
            shutil.copytree(self._before / stage.name, self.out, dirs_exist_ok=True)

    def close(self) -> None:
        """End what still runs."""
        for command in self._begun:
            command.end()
        self.unmount()

    def unmount(self) -> None:
        """Remove the disk that `clear` mounted, if any."""
        if os.path.ismount(self.out):
            subprocess.run(["umount", self.out], check=True)

    def undisturbed(self, stage: Stage, *, fresh: bool) -> Undisturbed:
        """Run a stage twice without disturbing it, in a forked process and, where asked for, in a new interpreter too.

        Raises:
            RuntimeError: the results differ.
        """
        if stage.name not in self._known or (fresh and not self._known[stage.name].fresh_seconds):
            count = self.root / "changes"
            contents, ended = [], []
            for is_fresh in (False, fresh):
                self.clear(stage)
                before = _size(self.out)[0]

                def prepare(is_fresh: bool = is_fresh) -> None:
                    if not is_fresh:
                        count.write_bytes(b"")
                        marks = os.open(count, os.O_WRONLY | os.O_APPEND)
                        watch_changes(self.out, lambda: os.write(marks, b"."))

                ended.append(self.run(stage.words, prepare, fresh=is_fresh))
                if ended[-1].code or ended[-1].fault:
                    raise RuntimeError(f"rcnn-svm {' '.join(stage.words)}:\n{ended[-1].printed}")
                contents.append(content(self.out))
            if contents[0] != contents[1]:
                raise RuntimeError(f"two undisturbed runs of {stage.name}: {difference(*contents)}")
            size, largest = _size(self.out)
            seconds = ended[1].seconds if fresh else 0.0
            self._known[stage.name] = Undisturbed(
                contents[0], ended[0].seconds, seconds, count.stat().st_size, size, largest, before
            )
        return self._known[stage.name]

    def finish(self, stage: Stage) -> str:
        """Run the stage again, undisturbed, and return in words what is not as it has to be."""
        ended = self.run(stage.words)
        if ended.code:
            return f"the same command ended with exit code {ended.code}: {ended.last_line}"
        return ended.fault or self.differs(stage)

    def differs(self, stage: Stage) -> str:
        """Return in words where the result is not the undisturbed one."""
        return difference(content(self.out), self.undisturbed(stage, fresh=False).content)


def _size(folder: Path) -> tuple[int, int]:
    """Return the bytes of all files below a folder, in whole blocks, and of the largest."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // _BLOCK) * _BLOCK for size in sizes), max(sizes, default=0)


def _judged(place: Place, stage: Stage, ended: Ended, *, codes: tuple[int, ...], injected: bool = True) -> Outcome:
    """Return what came of a stage that was disturbed and may have ended with some exit codes, besides 0."""
    lost = ended.fault
    if not lost and ended.code == 0:
        lost = place.differs(stage)
    elif not lost and ended.code not in codes:
        lost = f"exit code {ended.code}: {ended.last_line}"
    told = bool(ended.code) and ended.code > 0
    if not lost:
        lost = place.finish(stage)
    return Outcome(injected, told and not lost, f"{lost} (first: {ended.code}, {ended.last_line})" if lost else "")


def _moment(seconds: float, number: int, times: int, rng: random.Random) -> float:
    """Return a random moment of the `number`-th of as many parts of a time as there are faults."""
    return seconds * (number + rng.random()) / times


def kill(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """SIGKILL at a random moment; and just before a random change of a file, where processes lose most."""
    fresh = number % FRESH_EVERY == FRESH_EVERY - 1
    known = place.undisturbed(stage, fresh=fresh)
    place.clear(stage)
    if number % 2 and not fresh:
        last = int(_moment(known.changes, number, times, rng))
        left = iter(range(last))

        def note() -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        command = place.begin(stage.words, lambda: watch_changes(place.out, note))
    else:
        command = place.begin(stage.words, fresh=fresh)
        if command.wait_for(_moment(known.fresh_seconds if fresh else known.seconds, number, times, rng)):
            command.signal(signal.SIGKILL)
    ended = command.wait()
    return _judged(place, stage, ended, codes=(-signal.SIGKILL,), injected=ended.code != 0)


def signals(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """SIGINT, SIGTERM and SIGHUP, in turns, at a random moment."""
    known = place.undisturbed(stage, fresh=False)
    place.clear(stage)
    signum = SIGNALS[number % len(SIGNALS)]
    command = place.begin(stage.words)
    if command.wait_for(_moment(known.seconds, number, times, rng)):
        command.signal(signum)
    ended = command.wait()
    # Before and after a command looks after signals, the system ends it.
    return _judged(place, stage, ended, codes=(128 + signum, -signum), injected=ended.code != 0)


def disk(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """A disk that is full at a random write, and has room again afterwards."""
    known = place.undisturbed(stage, fresh=False)
    if not place.mounts:
        place.clear(stage)
        limit = int(_moment(known.largest, number, times, rng)) + 1
        return _judged_refusal(place, stage, place.run(stage.words, lambda: files_up_to(limit)))
    place.clear(stage, mount=True)
    room = int(_moment(1.1 * known.size, number, times, rng))
    _mount(place.out, str(-(-(known.before + room) // _BLOCK) * _BLOCK + _BLOCK), "remount,")
    ended = place.run(stage.words)
    _mount(place.out, _LARGE, "remount,")
    return _judged_refusal(place, stage, ended)


def _mount(folder: Path, size: str, how: str = "") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "faults", folder], check=True)


def _judged_refusal(place: Place, stage: Stage, ended: Ended) -> Outcome:
    return _judged(place, stage, ended, codes=(2,), injected=ended.code != 0)


def folder(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """A folder that can no longer be written, one that is gone, and a world that is gone, in turns."""
    known = place.undisturbed(stage, fresh=False)
    place.clear(stage)
    what = ("read-only", "out", WORLD)[number % (3 if stage.vanishing else 2)]
    moment, gone = _moment(known.seconds, number, times, rng), place.root / "gone"
    if what == "read-only":
        command = place.begin(stage.words, obey_modes)
        injected = command.wait_for(moment)
        with _read_only(place.out) if injected else contextlib.nullcontext():
            ended = command.wait()
    else:
        command, where = place.begin(stage.words), place.root / what
        injected = command.wait_for(moment)
        if injected:
            where.rename(gone)
        ended = command.wait()
        if gone.exists():
            if where.exists():  # the command made it again
                shutil.rmtree(gone)
            else:
                # Where all was well, it was complete before.
                injected = injected and (ended.code != 0 or what != OUT)
                gone.rename(where)
    return _judged(place, stage, ended, codes=(2,), injected=injected)


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in a folder and those in it until the block ends."""
    folders = [Path(path) for path, _, _ in os.walk(folder)]
    for path in reversed(folders):
        with contextlib.suppress(FileNotFoundError):  # a temporary one
            path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            with contextlib.suppress(FileNotFoundError):
                path.chmod(0o755)


def two(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """A second process with the same command, begun at a random moment of the first."""
    known = place.undisturbed(stage, fresh=False)
    place.clear(stage)
    commands = [place.begin(stage.words)]
    commands[0].wait_for(_moment(known.seconds, number, times, rng) if number else 0.0)
    injected = not commands[0].has_ended()
    commands.append(place.begin(stage.words, log="log2"))
    ended = [command.wait() for command in commands]
    lost = next((one.fault for one in ended if one.fault), "")
    codes = sorted(one.code for one in ended if one.code is not None)
    if not lost and codes not in ([0, 0], [0, 2]):
        lost = f"exit codes {codes}: {'; '.join(one.last_line for one in ended)}"
    told = codes == [0, 2]
    lost = lost or place.differs(stage) or place.finish(stage)
    return Outcome(injected, told and not lost, lost)


def shards(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """A shard of the cache that a stage reads, or that it has made itself, is gone, cut or has a bit flipped."""
    place.undisturbed(stage, fresh=False)
    place.clear(stage)
    made = stage.name in SHARD_MAKERS
    if made:
        place.must_run(*stage.words)
    cache = place.out / SHARD_MAKERS[stage.name] if made else place.world / SHARD_READERS[stage.name]
    paths = sorted(cache.glob("shard-*.h5"))
    path = rng.choice(paths)
    whole, times_before = path.read_bytes(), {other: other.stat().st_mtime_ns for other in paths if other != path}
    _damage(path, number % 3, rng)
    try:
        if not made:
            ended = place.run(stage.words)
            lost = ended.fault
            if not lost and ended.code == 2 and path.name not in ended.printed and path.exists():
                lost = f"it does not name the shard: {ended.last_line}"
            if not lost and ended.code == 0:  # it used none of what was damaged
                lost = place.differs(stage)
            elif not lost and ended.code != 2:
                lost = f"exit code {ended.code}: {ended.last_line}"
            path.write_bytes(whole)
            return Outcome(True, ended.code == 2 and not lost, lost or place.finish(stage))
        verified = place.run(("inspect", str(cache.relative_to(place.root)), "--verify"))
        lost = verified.fault
        if not lost and (verified.code not in (1, 2) or path.name not in verified.printed):
            lost = f"inspect --verify: exit code {verified.code}: {verified.last_line}"
        path.unlink(missing_ok=True)  # as every sentence about a damaged shard says
        lost = lost or place.finish(stage)
        if not lost and any(other.stat().st_mtime_ns != time for other, time in times_before.items()):
            lost = "shards that were whole were made again"
        return Outcome(True, True, lost)
    finally:
        if not path.exists() or path.read_bytes() != whole:
            path.write_bytes(whole)


def _damage(path: Path, how: int, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if how == 0:
        path.unlink()
    elif how == 1:
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


def order(place: Place, stage: Stage, number: int, times: int, rng: random.Random) -> Outcome:
    """A power cut: whatever has its name is on disk, file and folder, before the command goes on.

    It is read off the order of the calls of fsync and rename, as no power is cut here.
    """
    place.clear(stage)
    there = {path.stat().st_ino for path in place.out.rglob("*")}
    log = place.root / "order"
    log.unlink(missing_ok=True)
    ended = place.run(stage.words, lambda: record_order(log))
    lost = ended.fault or (f"exit code {ended.code}: {ended.last_line}" if ended.code else "")
    made = [path for path in sorted(place.out.rglob("*")) if path.stat().st_ino not in there]
    faults = not_on_disk(made, log.read_text().splitlines(), place.out)
    return Outcome(lost=lost or "; ".join(dict.fromkeys(faults))[:500])


def not_on_disk(made: Sequence[Path], order: Sequence[str], top: Path) -> list[str]:
    """Return, in words, what a power cut may take from what has its name.

    Args:
        made: files and folders as they are afterwards, all below `top`.
        order: lines of `record_order`.
        top: what is not below it is not looked at.
    """
    synced: dict[int, list[int]] = {}
    made_at: dict[Path, int] = {}
    named: dict[Path, int] = {}
    for when, line in enumerate(order):
        what, _, which = line.partition(" ")
        if what == "synced":
            synced.setdefault(int(which), []).append(when)
        else:
            (made_at if what == "made" else named)[Path(which)] = when
    faults: list[str] = []
    for path in made:
        # It, or a folder that it is in, got its name last.
        times = {name: named[name] for name in (path, *path.parents) if name in named and top in name.parents}
        if not times and path.is_dir() and path in made_at:
            times[path] = made_at[path]
        if not times:
            faults.append(f"{path.relative_to(top)} was written under its name")
            continue
        name = max(times, key=times.__getitem__)
        if path.is_file() and not any(when < times[name] for when in synced.get(path.stat().st_ino, ())):
            faults.append(f"{path.relative_to(top)} had its name before it was on disk")
        if not any(when > times[name] for when in synced.get(name.parent.stat().st_ino, ())):
            faults.append(f"the name of {name.relative_to(top)} is not on disk")
    return faults


KINDS: dict[str, Callable[[Place, Stage, int, int, random.Random], Outcome]] = {
    "kill": kill,
    "signals": signals,
    "disk": disk,
    "folder": folder,
    "two": two,
    "shards": shards,
    "order": order,
}
# Whose shards are damaged: what reads a cache, and what makes one.
SHARD_STAGES = (*SHARD_READERS, *SHARD_MAKERS)


def times_of(kind: str, stage: str, times: int) -> int:
    """Return how often a fault of a kind comes to a stage, where others come so many times."""
    if kind == "order":  # there is but one
        return 1
    return times if kind != "shards" or stage in SHARD_STAGES else 0
