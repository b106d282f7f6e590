"""The parity command on cases with a right record, a wrong one and none."""

from __future__ import annotations

import numpy as np
import pytest

from rcnn_svm.cli.main import main
from rcnn_svm.cli.parity import SHIPPED


@pytest.fixture
def case(tmp_path):
    """A small case in the recorded format, without anybody's record."""
    rng = np.random.default_rng(0)
    count, images, classes = 240, 6, 2
    start = np.linspace(0, count, images + 1).astype(np.int64)
    cls = np.zeros(count, np.uint8)
    cls[start[:-1]] = 1 + np.arange(images) % classes
    overlap = np.zeros((count, classes), np.float32)
    overlap[start[:-1], cls[start[:-1]] - 1] = 1
    folder = tmp_path / "case"
    folder.mkdir()
    np.savez(
        folder / "inputs.npz",
        feat=(rng.random((count, 8)) + overlap @ rng.random((classes, 8))).astype(np.float32),
        image_start=start,
        boxes=np.ones((count, 4), np.float32),
        gt=cls > 0,
        cls=cls,
        overlap=overlap,
        image_size=np.full((images, 2), 10),
        num_classes=classes,
        layer=5,
        k_folds=0,
        max_hard_epochs=1,
        svm_C=0.01,
        pos_loss_weight=2.0,
        bias_mult=10.0,
        hard_thresh=-1.0001,
        evict_thresh=-1.2,
        neg_ovr_thresh=0.3,
        retrain_limit=20,
    )
    return folder


def test_a_case_without_a_record_gets_ours(case, tmp_path, capsys):
    out = tmp_path / "ours.npz"
    assert main(["parity", str(case), "--out", str(out)]) == 0
    assert "nothing to compare with" in capsys.readouterr().out
    with np.load(out) as record:
        assert {"W", "B", "added", "updates", "update_loss", "evicted", "keys_neg"} <= set(record)
        ours = {f"tight/{name}": array for name, array in record.items()}
    np.savez(case / "expected.npz", **ours)
    assert main(["parity", str(case), "--solver", "liblinear"]) == 0
    assert "DIFFERENT" not in capsys.readouterr().out
    ours["tight/added"] = ours["tight/added"][:-1]
    np.savez(case / "expected.npz", **ours)
    assert main(["parity", str(case)]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


@pytest.mark.golden
def test_the_case_that_comes_with_the_package_is_the_golden_one(golden_dir):
    for name in ("inputs.npz", "expected.npz"):
        assert (SHIPPED / name).read_bytes() == (golden_dir / "tiny" / name).read_bytes()


@pytest.mark.parametrize("solver", ["dcd", "liblinear"])
def test_the_case_that_comes_with_the_package_is_equal(solver, capsys):
    assert main(["parity", "--solver", solver]) == 0
    assert capsys.readouterr().out.count("equal") == 10


def test_what_is_no_case_is_told(tmp_path, case, capsys):
    assert main(["parity", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
    np.save(tmp_path / "array.npy", np.ones(2))
    for content in (b"", b"x", (tmp_path / "array.npy").read_bytes()):
        (tmp_path / "x.npz").write_bytes(content)
        assert main(["parity", str(tmp_path / "x.npz")]) == 2
        told = capsys.readouterr().err
        assert "not a readable .npz" in told and "pickle" not in told
    np.savez(case / "expected.npz", **{"eps0.1/W": np.ones(1)})
    assert main(["parity", str(case)]) == 2
    assert "holds no arrays under tight/" in capsys.readouterr().err
    np.savez(tmp_path / "part.npz", feat=np.ones((1, 1)))
    assert main(["parity", str(tmp_path / "part.npz")]) == 2
    assert "part lacks image_start, boxes" in capsys.readouterr().err
