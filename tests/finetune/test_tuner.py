"""Fine-tuning: it learns, it does what the formulas say, and an interruption changes nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.finetune.crops import crop_batches
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.tuner import FineTuner
from rcnn_svm.finetune.windows import MinibatchSampler, Windows
from tests.interrupt import ctrl_c_at

OPTIONS = {"batch_size": 32, "foreground": 8, "device": "cpu"}


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


def test_a_step_of_a_last_layer_of_zeros_by_hand(database, proposals, small_network):
    """All scores are equal: a third for each, of which the first, background, is right for 24 of the 32 windows."""
    network = small_network()
    last = network.module[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    history = FineTuner(iterations=1, lr=0.001, **OPTIONS).fit(network, database, proposals)
    np.testing.assert_allclose(history, [[np.log(3), 24 / 32, 0]], rtol=1e-6)
    # The last layer learns ten times as fast, a bias twice as fast as weights.
    assert last.bias[0].item() == pytest.approx(0.001 * 10 * 2 * (24 / 32 - 1 / 3))


def test_learns_to_tell_the_squares_apart(database, proposals, small_network):
    network = small_network()
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    history = FineTuner(iterations=120, lr=0.01, **OPTIONS).fit(network, database, proposals)
    assert history.shape == (120, 3)
    first, last = history[:5].mean(axis=0), history[-20:].mean(axis=0)
    assert last[0] < 0.5 * first[0]
    assert last[1] > 0.9 and last[2] > 0.85
    changed = {key for key, value in network.module.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key, _ in network.module.named_parameters()}
    assert not network.module.training


@pytest.mark.parametrize("seed", range(3))
def test_a_ctrl_c_at_any_step_loses_none(database, proposals, small_network, tmp_path, seed):
    tuner = FineTuner(iterations=6, step=4, **OPTIONS)
    whole, resumed = small_network(), small_network()
    expected = tuner.fit(whole, database, proposals)
    stop, checkpoint = np.random.default_rng(seed).integers(6), tmp_path / "checkpoint.h5"
    with ctrl_c_at(stop, nn.Dropout) as steps:
        with pytest.raises(KeyboardInterrupt):
            tuner.fit(small_network(), database, proposals, checkpoint=checkpoint)
        assert len(steps) == stop + 1
        assert [path.name for path in tmp_path.glob("*check*")] == ["checkpoint.h5"]
        torch.manual_seed(99)  # whatever happened since
        history = tuner.fit(resumed, database, proposals, checkpoint=checkpoint, checkpoint_seconds=0)
        assert len(steps) == 6
    np.testing.assert_array_equal(history, expected)
    assert same(resumed.module.state_dict(), whole.module.state_dict())


def test_leaves_the_random_state_alone(database, proposals, small_network):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    FineTuner(iterations=1, **OPTIONS).fit(small_network(), database, proposals)
    assert torch.rand(1) == expected


def test_steps_are_those_of_the_formula(database, proposals, small_network):
    """Momentum, decay and rates against the update written out, without dropout's chance."""
    tuner = FineTuner(iterations=4, step=2, lr=0.02, momentum=0.8, weight_decay=0.1, **OPTIONS)
    network, by_hand = small_network(), small_network()
    network.module[4].p = by_hand.module[4].p = 0.0
    tuner.fit(network, database, proposals)

    sampler = MinibatchSampler(Windows(database, proposals), batch_size=32, foreground=8, seed=tuner.seed)
    images = ImageCache(database.load_image, 10**6)
    by_hand.module.eval()
    velocity = {key: torch.zeros_like(value) for key, value in by_hand.module.named_parameters()}
    for number, batch in enumerate(crop_batches(sampler, images, by_hand, torch.device("cpu"), range(4))):
        by_hand.module.zero_grad()
        nn.functional.cross_entropy(by_hand.module(batch.crops), batch.labels).backward()
        lr = 0.02 if number < 2 else 0.002
        with torch.no_grad():
            for key, value in by_hand.module.named_parameters():
                is_bias = key.endswith("bias")
                factor = (10 if key.startswith("5.") else 1) * (2 if is_bias else 1)
                velocity[key] = 0.8 * velocity[key] + value.grad + (0 if is_bias else 0.1) * value
                value -= lr * factor * velocity[key]
    for key, value in network.module.named_parameters():
        torch.testing.assert_close(value, by_hand.module.get_parameter(key), msg=key)


def test_a_loss_beyond_all_bounds_is_an_error_and_no_checkpoint(database, proposals, small_network, tmp_path):
    tuner = FineTuner(iterations=20, lr=1e30, **OPTIONS)
    with pytest.raises(InputError, match=r"beyond all bounds before step .* lower one"):
        tuner.fit(small_network(), database, proposals, checkpoint=tmp_path / "checkpoint.h5")
    assert not (tmp_path / "checkpoint.h5").exists()


def test_checkpoints_of_others_and_damaged_ones_are_refused(database, proposals, small_network, tmp_path):
    checkpoint = tmp_path / "checkpoint.h5"
    FineTuner(iterations=2, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)
    with pytest.raises(InputError, match=r"another training \(parameters.lr: 0.001 there, 0.01 wanted"):
        FineTuner(iterations=2, lr=0.01, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)
    content = checkpoint.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        b"",
        b"text",
        content[:-200] + bytes(200),
        bytes(200) + content[200:],
    ):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match=r"checkpoint.h5 (is|holds)"):
            FineTuner(iterations=2, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)


def test_a_checkpoint_of_an_earlier_version_is_refused(database, proposals, small_network, tmp_path):
    torch.save({"header": "{}", "state": {"done": 1}}, tmp_path / "checkpoint.pt")
    for name in ("checkpoint.h5", "checkpoint.pt"):
        with pytest.raises(InputError, match=r"checkpoint.pt is the checkpoint of an earlier version .* delete it"):
            FineTuner(iterations=2, **OPTIONS).fit(small_network(), database, proposals, checkpoint=tmp_path / name)


@pytest.mark.parametrize(
    "options",
    [
        {"foreground": 128},
        {"foreground": 0},
        {"iterations": 0},
        {"step": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"device": "tpu"},
    ],
)
def test_settings_without_meaning_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        FineTuner(**options)


def test_identity_tells_what_decides_the_result(database, proposals, small_network):
    network = small_network()
    identity = FineTuner(**OPTIONS).identity(network, database, proposals)
    assert identity == FineTuner(**OPTIONS, image_cache_bytes=0).identity(network, database, proposals)
    others = [
        FineTuner(**OPTIONS, seed=4).identity(network, database, proposals),
        FineTuner(**OPTIONS).identity(network, database, proposals.limited(5)),
        FineTuner(**OPTIONS).identity(network, database.subset(database.image_ids[:3]), proposals),
    ]
    assert all(other != identity for other in others)
