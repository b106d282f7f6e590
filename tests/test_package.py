"""What a user imports is there, and comes without waiting for what it does not need."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rcnn_svm

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(
    ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("rcnn_svm/**/__init__.py") if path.parent.name
)

# What runs or trains networks: whole rooms, and names of the others; all else reads, scores or shows.
NETWORKS = {
    "rcnn_svm",
    "rcnn_svm.experiments.compare_mining",
    "rcnn_svm.experiments.reproduce",
    "rcnn_svm.features",
    "rcnn_svm.finetune",
}
NEEDS_TORCH = {
    "rcnn_svm.detection": {"ImageDetector"},
    "rcnn_svm.export": {"export_detector"},
    "rcnn_svm.mining": {
        "Sampler",
        "total_loss",
        "AllRoIs",
        "HardNegativeRatio",
        "HardNegativeRatioLoss",
        "OnlineHardExampleMiner",
        "RoISampler",
        "RoIs",
        "Selection",
        "add_ohem",
        "assign_labels",
        "fast_rcnn_loss_per_roi",
        "sampled_loss",
        "select_hard_negatives",
        "select_hard_rois",
    },
    "rcnn_svm.fast_rcnn": {
        "FastRCNN",
        "FastRCNNTrainer",
        "MinibatchLoss",
        "RoIHeadTrainer",
        "RoIPoolingNetwork",
        "RoIPredictor",
        "RoITargets",
        "make_sampler",
        "roi_targets",
    },
}
WITHOUT_TORCH = sorted({*ROOMS} - NETWORKS)


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


# Of every line `ROOM NAME...`, loads the names in a process of its own and says whether torch came with them. They are
# forked from one that holds what most rooms need.
LOAD = """
import importlib, os, sys
import h5py, joblib, matplotlib.pyplot, numba, numpy, PIL.Image, scipy.linalg, sklearn.base
assert "torch" not in sys.modules
for line in sys.stdin.read().splitlines():
    room, *names = line.split()
    child = os.fork()
    if not child:
        module = importlib.import_module(room)
        for name in names:
            getattr(module, name)
        print(room, "torch" in sys.modules, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def loads_torch() -> dict[str, str]:
    """Whether loading all of a room, but for `NEEDS_TORCH`, loads torch: room -> True or False."""
    lines = []
    for room in WITHOUT_TORCH:
        names = {*getattr(importlib.import_module(room), "__all__", ())} - NEEDS_TORCH.get(room, set())
        lines.append(" ".join([room, *sorted(names)]))
    argv = [sys.executable, "-c", LOAD]
    done = subprocess.run(argv, input="\n".join(lines), capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def test_every_public_name_exists():
    assert {"ImageDatabase", "FeatureCache", "HardNegativeMiner", "Detector"} <= set(rcnn_svm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rcnn_svm.nonsense


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_holds_and_holds_it(room):
    package = importlib.import_module(room)
    names = getattr(package, "__all__", [])
    for name in names:
        assert getattr(package, name) is not None
        assert re.search(rf"\b{name}\b", package.__doc__) or name == "__version__", f"{room} does not mention {name}"
    # A public name that is a file's too would be the one or the other, by what was imported first.
    assert not {path.stem for path in Path(package.__file__).parent.iterdir()} & set(names)


def test_names_are_listed_before_they_are_loaded():
    code = "import rcnn_svm; print(*sorted(set(rcnn_svm.__all__) - set(dir(rcnn_svm))), 'numpy' in dir(rcnn_svm))"
    assert output_of(code) == "False\n"


def test_opening_every_door_loads_no_library():
    code = f"import sys, {', '.join(ROOMS)}; print('numpy' in sys.modules)"
    assert output_of(code) == "False\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_what_reads_scores_or_shows_does_not_import_torch(room, loads_torch):
    assert loads_torch[room] == "False"


def test_documents_import_from_rooms_and_not_from_their_files():
    deep = []
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            imported = re.findall(r"^\s*(?:from|import) (rcnn_svm\S*)", block, re.MULTILINE)
            deep += [f"{page.name}: {module}" for module in imported if module not in ROOMS or module.count(".") > 1]
    assert not deep
