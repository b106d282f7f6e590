"""The small world that faults are injected into: what commands read, every stage that writes, what two runs share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rcnn_svm.artefacts.files import CHECKSUM_MARK
from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES

# Folders below the one that commands run in: what they read, and what they write.
WORLD, OUT = "world", "out"
# What two runs of one command need not share: times, and checksums, which cover them.
_OWN = (
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    re.escape(CHECKSUM_MARK) + rb"[0-9a-f]{64}",
    rb"SHA-256 of this feature shard but bytes \d{20} to \d{20}: [0-9a-f]{64}",
    rb'"(seconds|propose|extract|train|test|evaluate|finetune)": [0-9.e+-]+',
)
_OWN_PATTERN = re.compile(b"|".join(_OWN))
# Tables with a column of times: their words are compared. The other numbers stand in files that are compared whole.
_TIMED, _NUMBERS = ("comparison.csv", "comparison.md", "comparison.txt", "times.csv"), re.compile(rb"[\d.\s-]+")


@dataclass(frozen=True)
class Stage:
    """A command that is disturbed.

    Attributes:
        name: its name in the table.
        words: the command; paths are relative to the folder it runs in.
        before: the command that has run at the same place before, whose result this one replaces; none where empty.
        vanishing: whether it reads from the world all along, so that it notices when the world is gone.
    """

    name: str
    words: tuple[str, ...]
    before: tuple[str, ...] = ()
    vanishing: bool = True


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.format(data=f"--voc {WORLD}/voc --classes {','.join(SYNTHETIC_CLASSES)}", w=WORLD, o=OUT).split())


_SHORT = "--method sliding --max-boxes 20 --crop-size 32 --jobs 1"
_EXTRACT = "extract {data} --proposals {w}/trainval.h5 --crop-size 32 --shard-images 4 --threads 1 --out {o}/features "
_SYNTHESIZE = "synthesize --train 6 --test 2 --out {o}/voc "
_MINE = "mine {w}/photos --model {w}/model.h5 --out {o}/mined "

STAGES = {
    stage.name: stage
    for stage in (
        Stage("synthesize", _words(_SYNTHESIZE), vanishing=False),
        Stage(
            "synthesize --overwrite",
            _words(_SYNTHESIZE + "--overwrite"),
            _words(_SYNTHESIZE + "--seed 5"),
            vanishing=False,
        ),
        Stage("check", _words("check {data} --out {o}/labels.jpg")),
        Stage("rank", _words("rank {data} --weights random --jobs 1 --out {o}/ranker.h5")),
        Stage("propose", _words("propose {data} --method sliding --max-boxes 40 --jobs 1 --out {o}/p.h5")),
        Stage(
            "finetune",
            _words(
                "finetune {data} --proposals {w}/trainval.h5 --crop-size 32 --iterations 6 --batch-size 8 "
                "--foreground 2 --out {o}/tuned"
            ),
        ),
        Stage("extract", _words(_EXTRACT)),
        Stage("extract --overwrite", _words(_EXTRACT + "--overwrite"), _words(_EXTRACT + "--padding 1")),
        Stage("import", _words("import --mat {w}/mat --classes a,b,c,d,e --shard-images 2 --out {o}/imported")),
        Stage(
            "train",
            _words(
                "train --features {w}/trainval --svm-C 0.01 --retrain-limit 60 --k-folds 2 --calibrate --epochs 2 "
                "--jobs 1 --out {o}/model.h5"
            ),
        ),
        Stage("train-bbox", _words("train-bbox --features {w}/trainval --out {o}/bbox.h5")),
        Stage("train-head", _words("train-head --features {w}/trainval --iterations 60 --out {o}/head.h5")),
        Stage("assemble", _words("assemble --model {w}/model.h5 --bbox {w}/bbox.h5 --vote --out {o}/detector.h5")),
        Stage("test", _words("test --features {w}/test --model {w}/model.h5 --out {o}/detections.h5")),
        Stage("evaluate", _words("evaluate --detections {w}/detections.h5 {data} --pictures 1 --out {o}/report")),
        Stage(
            "detect",
            _words(
                "detect {w}/photos --model {w}/detector.h5 --out {o}/found --json {o}/found.json --csv {o}/found.csv "
                "--coco {o}/coco.json --yolo {o}/yolo"
            ),
        ),
        Stage("export", _words("export {w}/detector.h5 --out {o}/exported")),
        Stage(
            "export --overwrite",
            _words("export {w}/detector.h5 --out {o}/exported --overwrite"),
            _words("export {w}/model.h5 --out {o}/exported"),
        ),
        Stage("mine", _words(_MINE)),
        Stage("mine --overwrite", _words(_MINE + "--overwrite"), _words(_MINE + "--per-image 2")),
        Stage("report", _words("report {w}/model.h5 --features {w}/trainval {data} --out {o}/report")),
        Stage("show", _words("show detections {w}/detections.h5 {data} --out {o}/found.jpg")),
        Stage("imbalance", _words("imbalance --features {w}/trainval --model {w}/model.h5 --out {o}/imbalance")),
        Stage("toy", _words("toy --out {o}/toy.html"), vanishing=False),
        Stage(
            "compare-mining",
            _words(
                "compare-mining --features {w}/trainval --test-features {w}/test {data} --iterations 5 --seeds 1 "
                "--out {o}/comparison"
            ),
        ),
        Stage("run", _words("run {data} --svm-C 0.01 --pictures 1 --out {o}/run " + _SHORT)),
        Stage(
            "reproduce",
            _words(
                "reproduce {data} --backbone lite0 --limit-images 8 --rows lite0-penultimate --out {o}/table " + _SHORT
            ),
        ),
    )
}

# What reads the features of a cache: a command, and which cache.
SHARD_READERS = {
    "train": "trainval",
    "train-bbox": "trainval",
    "train-head": "trainval",
    "imbalance": "trainval",
    "report": "trainval",
    "compare-mining": "trainval",
    "test": "test",
}
# What makes one: a command, and the folder of the cache.
SHARD_MAKERS = {"extract": "features", "import": "imported"}


def make_world(run: Callable[..., None], world: Path) -> None:
    """Write what the commands read, by the package's own commands.

    Args:
        run: runs a command, given as words.
        world: the folder, empty.
    """
    run(*_words("synthesize --out {w}/voc --train 24 --test 4 --seed 1"))
    for split in ("trainval", "test"):
        words = f"{{data}} --split {split}"
        run(*_words(f"propose {words} --method sliding --max-boxes 40 --jobs 1 --out {{w}}/{split}.h5"))
        run(
            *_words(
                f"extract {words} --proposals {{w}}/{split}.h5 --crop-size 32 --shard-images 4 --threads 1 "
                f"--out {{w}}/{split}"
            )
        )
    run(*_words("train --features {w}/trainval --svm-C 0.01 --jobs 1 --out {w}/model.h5"))
    run(*_words("train-bbox --features {w}/trainval --out {w}/bbox.h5"))
    run(*_words("assemble --model {w}/model.h5 --bbox {w}/bbox.h5 --vote --out {w}/detector.h5"))
    run(*_words("test --features {w}/test --model {w}/model.h5 --out {w}/detections.h5"))
    _write_photos(world)
    _write_mat_cache(world)


def _write_photos(world: Path) -> None:
    """Write two of the test images into a folder of their own."""
    (world / "photos").mkdir()
    for path in sorted((world / "voc/VOC2007/JPEGImages").iterdir())[-2:]:
        (world / "photos" / path.name).write_bytes(path.read_bytes())


def _write_mat_cache(world: Path) -> None:
    """Write some images of the feature cache in the original's layout."""
    import scipy.io

    from benchmarks.fuzz_readers import original_arrays
    from rcnn_svm.cache import FeatureCache

    (world / "mat").mkdir()
    cache = FeatureCache.open(world / "trainval")
    for image in range(6):
        scipy.io.savemat(world / "mat" / f"{image}.mat", original_arrays(cache.regions(image)))


def content(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder, and "" for every folder, by its path from there.

    The times at which files were made, and the checksums that cover these, are not part of it: all other bytes are.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        pattern = _NUMBERS if path.name in _TIMED else _OWN_PATTERN
        shared = b"" if path.is_dir() else pattern.sub(b"-", path.read_bytes())
        found[name] = "" if path.is_dir() else hashlib.sha256(shared).hexdigest()
    return found


def difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    """Return in words where two contents differ, or ""."""
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    changed = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    parts = [
        f"{what} {', '.join(names[:3])}"
        for what, names in (("missing", missing), ("left behind", more), ("differ", changed))
        if names
    ]
    return "; ".join(parts)
