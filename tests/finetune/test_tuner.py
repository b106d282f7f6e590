"""The descent: it learns, it does what the formulas say, and an interruption changes nothing."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.finetune import tuner as training
from rcnn_svm.finetune.crops import crop_batches
from rcnn_svm.finetune.image_cache import ImageCache
from rcnn_svm.finetune.interrupt import held_interrupt
from rcnn_svm.finetune.tuner import FineTuner
from rcnn_svm.finetune.windows import MinibatchSampler, Windows

OPTIONS = {"batch_size": 32, "foreground": 8, "device": "cpu"}


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


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


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_interrupted_training_ends_with_the_same_bits(
    database, proposals, small_network, tmp_path, monkeypatch, stop
):
    tuner = FineTuner(iterations=6, step=4, **OPTIONS)
    whole = small_network()
    expected = tuner.fit(whole, database, proposals)

    checkpoint = tmp_path / "checkpoint.pt"
    save, saved = training.save_checkpoint, []

    def interrupted(*args):
        save(*args)
        saved.append(args)
        if len(saved) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuner.fit(small_network(), database, proposals, checkpoint=checkpoint, checkpoint_seconds=0)
    assert checkpoint.exists() and [path.name for path in tmp_path.glob("*check*")] == ["checkpoint.pt"]

    torch.manual_seed(99)  # whatever happened since
    resumed = small_network()
    history = tuner.fit(resumed, database, proposals, checkpoint=checkpoint, checkpoint_seconds=0)
    np.testing.assert_array_equal(history, expected)
    assert same(resumed.module.state_dict(), whole.module.state_dict())
    assert len(saved) == 6


def test_a_ctrl_c_loses_no_step(database, proposals, small_network, tmp_path, monkeypatch):
    tuner = FineTuner(iterations=6, **OPTIONS)
    whole = small_network()
    expected = tuner.fit(whole, database, proposals)
    step, taken = training._Training._step, []

    def pressed(self, *batch):
        taken.append(self.done)
        if taken == [0, 1, 2]:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    monkeypatch.setattr(training._Training, "_step", pressed)
    handler = signal.getsignal(signal.SIGINT)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        tuner.fit(small_network(), database, proposals, checkpoint=checkpoint)
    assert taken == [0, 1, 2] and signal.getsignal(signal.SIGINT) is handler
    resumed = small_network()
    np.testing.assert_array_equal(tuner.fit(resumed, database, proposals, checkpoint=checkpoint), expected)
    assert taken == [0, 1, 2, 3, 4, 5]
    assert same(resumed.module.state_dict(), whole.module.state_dict())


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), held_interrupt() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_a_training_in_another_thread_holds_nothing_back():
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: held_interrupt().__enter__()()).result() is False


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
    for number, batch in enumerate(crop_batches(sampler, images, by_hand, torch.device("cpu"), 4)):
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


def test_rate_falls_in_steps():
    tuner = FineTuner()
    assert [tuner.lr_at(i) for i in (0, 19_999, 20_000, 69_999)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-6])


def test_a_loss_beyond_all_bounds_is_an_error_and_no_checkpoint(database, proposals, small_network, tmp_path):
    tuner = FineTuner(iterations=20, lr=1e30, **OPTIONS)
    with pytest.raises(InputError, match=r"beyond all bounds before step .* lower one"):
        tuner.fit(small_network(), database, proposals, checkpoint=tmp_path / "checkpoint.pt")
    assert not (tmp_path / "checkpoint.pt").exists()


def test_checkpoints_of_others_and_damaged_ones_are_refused(database, proposals, small_network, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    FineTuner(iterations=2, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)
    with pytest.raises(InputError, match=r"another fine-tuning \(identity.parameters.lr: 0.001 there, 0.01 wanted"):
        FineTuner(iterations=2, lr=0.01, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)
    content = checkpoint.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text", content[:-200] + bytes(200)):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="no readable checkpoint"):
            FineTuner(iterations=2, **OPTIONS).fit(small_network(), database, proposals, checkpoint=checkpoint)


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
