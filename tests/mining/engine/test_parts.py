"""A training whose classes are shared out: the parts together are the training of all classes, to the last bit."""

from __future__ import annotations

import pytest

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.errors import InputError
from rcnn_svm.mining.engine.parts import TrainingParts
from rcnn_svm.mining.hard_negatives import HardNegativeMiner
from tests.artefact_kinds import content_of
from tests.toys import telling


def miner(**given):
    options = {"svm_C": 0.1, "retrain_limit": 20, "max_epochs": 2, "k_folds": 2, "n_jobs": 2, **given}
    return HardNegativeMiner(**options)


def parts_of(trainer, cache, folder):
    return TrainingParts(folder, trainer.identity(cache), len(cache.classes), trainer.max_epochs * cache.num_images)


def saved(trainer, path):
    trainer.save(path)
    return content_of(path)


@pytest.mark.parametrize("options", [{}, {"memory_budget": 12_000}, {"solver": "liblinear"}, {"n_jobs": 1}])
@pytest.mark.parametrize("shares", [[[2], [0, 1]], [[0, 2], [1]], [[0], [1], [2]], [[0, 1, 2]]])
def test_any_sharing_makes_the_model_of_one_training(tmp_path, options, shares):
    cache, trainer = telling(0, 12), miner(**options)
    expected = saved(trainer.fit(cache), tmp_path / "whole.h5")
    parts = parts_of(trainer, cache, tmp_path / "parts")
    for classes in shares:
        assert set(classes) <= set(parts.missing())
        trainer.mine_classes(cache, classes, parts.checkpoint(classes))
    assert parts.missing() == []
    whole = tmp_path / "whole.checkpoint"
    parts.join(Checkpoint(whole, trainer.identity(cache)))
    done, arrays = Checkpoint(whole, trainer.identity(cache)).load()
    assert done == trainer.max_epochs * cache.num_images and len(arrays["added"]) > 0
    assert saved(miner(**options).fit(cache, checkpoint=whole), tmp_path / "joined.h5") == expected
    parts.remove()
    assert not parts.folder.parent.exists()


def test_parts_that_are_missing_damaged_or_of_another_training_are_none(tmp_path):
    cache, trainer = telling(0, 12), miner()
    parts = parts_of(trainer, cache, tmp_path)
    for classes in ([0], [1]):
        trainer.mine_classes(cache, classes, parts.checkpoint(classes))
    assert parts.missing() == [2]
    with pytest.raises(InputError, match="lacks 1 of 3 classes; run their parts"):
        parts.join(Checkpoint(tmp_path / "whole", trainer.identity(cache)))
    path = parts.checkpoint([1]).path
    path.write_bytes(path.read_bytes()[:-50])
    assert parts.missing() == [1, 2]
    assert parts_of(miner(svm_C=0.2), cache, tmp_path).missing() == [0, 1, 2]


def test_stop_ratio_looks_at_all_classes_together(tmp_path):
    with pytest.raises(InputError, match="stop_ratio looks at all classes together"):
        miner(stop_ratio=1.05).mine_classes(telling(0, 12), [0], Checkpoint(tmp_path / "part", {}))
