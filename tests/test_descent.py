"""The one descent: steps as the formulas say, and an interruption at any of them changes nothing."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from rcnn_svm.artefacts.checkpoint import Checkpoint
from rcnn_svm.descent import Columns, Descent, Schedule, held_interrupt, step_seed
from rcnn_svm.errors import InputError

COLUMNS = Columns(("fit", "size", "count"), num_losses=2, shown="loss {fit:.3f} + {size:.3f}")
X = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32))


class Net(nn.Module):
    """Two layers with dropout between them."""

    def __init__(self):
        super().__init__()
        self.old = nn.utils.skip_init(nn.Linear, 6, 4)
        self.new = nn.utils.skip_init(nn.Linear, 4, 1)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def forward(self, x):
        return self.new(nn.functional.dropout(self.old(x).relu(), 0.3, self.training))


def losses_of(net, step, rows):
    torch.manual_seed(step_seed(7, step))
    found = net(X[rows])[:, 0]
    return torch.stack([(found - X[rows, 0]).square().mean(), 0.01 * found.abs().mean(), torch.tensor(len(rows))])


def rows_of(steps):
    for step in steps:
        yield torch.from_numpy(np.random.default_rng([7, step]).integers(len(X), size=8))


def train(net, schedule, losses=losses_of, batches=rows_of, checkpoint=None, seconds=60.0, **options):
    """Train to the end and return the descent."""
    descent = Descent(schedule, net, lambda step, batch: losses(net, step, batch), batches, columns=COLUMNS, **options)
    descent.run(checkpoint=checkpoint, identity={"of": "the test"}, checkpoint_seconds=seconds)
    return descent


def assert_same(a, b):
    for (name, one), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_one_weight_falls_as_on_paper():
    """w = 1 with the loss w^2 / 2: the gradient is w, and with momentum 0.5 the velocities are 1 and 1.4."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    columns = Columns(("loss",), num_losses=1, shown="{loss}")
    descent = Descent(
        Schedule(iterations=2, lr=0.1, momentum=0.5, weight_decay=0.0, step=9),
        net,
        lambda step, batch: net.weight[0].square() / 2,
        lambda steps: (None for _ in steps),
        columns=columns,
    )
    descent.run()
    # 1 - 0.1 * 1 = 0.9, then 0.9 - 0.1 * (0.9 + 0.5 * 1) = 0.76
    assert net.weight.item() == pytest.approx(0.76)
    np.testing.assert_allclose(descent.history[:, 0], [0.5, 0.405], rtol=1e-6)


def test_rate_falls_in_steps():
    schedule = Schedule(iterations=70_000, step=20_000)
    assert [schedule.lr_at(i) for i in (0, 19_999, 20_000, 69_999)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-6])
    schedule = Schedule(iterations=40_000)
    assert [schedule.lr_at(i) for i in (0, 29_999, 30_000, 39_999)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_rates_and_decay_are_the_originals():
    net = nn.Sequential(nn.Conv2d(3, 8, 4), nn.BatchNorm2d(8), nn.Sequential(nn.Linear(8, 3)))
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = Schedule(weight_decay=5e-4).parameter_groups(dict(net.named_parameters()), {"2.0": 10.0})
    found = {names[id(p)]: (group["lr_factor"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found == {
        **dict.fromkeys(("0.weight", "1.weight"), (1, 5e-4)),
        **dict.fromkeys(("0.bias", "1.bias"), (2, 0)),
        "2.0.weight": (10, 5e-4),
        "2.0.bias": (20, 0),
    }


def test_steps_are_those_of_the_formula():
    net, by_hand = Net(), Net()
    schedule = Schedule(iterations=6, lr=0.02, momentum=0.8, weight_decay=0.1, step=4)
    history = train(net, schedule, lr_factors={"new": 10.0}).history
    velocity = {name: torch.zeros_like(value) for name, value in by_hand.named_parameters()}
    for step, rows in enumerate(rows_of(range(6))):
        by_hand.zero_grad()
        columns = losses_of(by_hand, step, rows)
        (columns[0] + columns[1]).backward()
        np.testing.assert_allclose(history[step], columns.detach(), rtol=1e-4)
        with torch.no_grad():
            for name, value in by_hand.named_parameters():
                is_bias = name.endswith("bias")
                factor = (10 if name.startswith("new") else 1) * (2 if is_bias else 1)
                velocity[name] = 0.8 * velocity[name] + value.grad + (0 if is_bias else 0.1) * value
                value -= (0.02 if step < 4 else 0.002) * factor * velocity[name]
    for name, value in net.named_parameters():
        torch.testing.assert_close(value, by_hand.get_parameter(name), msg=name)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_a_ctrl_c_at_any_step_loses_none(tmp_path, seed, momentum):
    schedule = Schedule(iterations=30, lr=0.05, momentum=momentum, step=20)
    whole = Net()
    options = {"probe": lambda: torch.tensor([1.0, 2.0])}
    expected = train(whole, schedule, **options)
    stops = np.sort(np.random.default_rng(seed).choice(30, 2, replace=False)).tolist()
    taken, checkpoint = [], tmp_path / "checkpoint"

    def losses(net, step, batch):
        if step in stops and step not in taken:
            os.kill(os.getpid(), signal.SIGINT)
        taken.append(step)
        return losses_of(net, step, batch)

    handler = signal.getsignal(signal.SIGINT)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train(Net(), schedule, losses, checkpoint=checkpoint, **options)
        assert signal.getsignal(signal.SIGINT) is handler
        with h5py.File(checkpoint) as handle:
            assert handle.attrs["done"] == stop + 1
        torch.manual_seed(99)  # whatever happened since
    resumed = Net()
    found = train(resumed, schedule, losses, checkpoint=checkpoint, **options)
    assert taken == list(range(30))
    assert_same(resumed, whole)
    np.testing.assert_array_equal(found.history, expected.history)
    np.testing.assert_array_equal(found.probes, expected.probes)


def test_what_was_not_saved_is_done_again_to_the_same_end(tmp_path):
    """A process that is killed goes on from the last checkpoint, here that of every step."""
    schedule = Schedule(iterations=9, lr=0.05)
    whole, resumed = Net(), Net()
    expected = train(whole, schedule)

    def killed(net, step, batch):
        if step == 5:
            raise SystemExit
        return losses_of(net, step, batch)

    with pytest.raises(SystemExit):
        train(Net(), schedule, killed, checkpoint=tmp_path / "c", seconds=0)
    found = train(resumed, schedule, checkpoint=tmp_path / "c", seconds=0)
    assert_same(resumed, whole)
    np.testing.assert_array_equal(found.history, expected.history)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    again = Net()
    train(again, schedule, pytest.fail, checkpoint=tmp_path / "c")  # nothing is left to do
    assert_same(again, whole)


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def pressed_twice(net, step, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(Net(), Schedule(iterations=3), pressed_twice, checkpoint=tmp_path / "c")
    assert time.monotonic() - begun < 5 and not (tmp_path / "c").exists()


def test_a_second_ctrl_c_is_not_held():
    with pytest.raises(KeyboardInterrupt), held_interrupt() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_a_training_in_another_thread_holds_nothing_back():
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: held_interrupt().__enter__()()).result() is False


def test_only_the_first_of_a_group_stops_and_writes(tmp_path):
    def pressed(net, step, batch):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return losses_of(net, step, batch)

    net, whole = Net(), Net()
    train(whole, Schedule(iterations=4))
    train(net, Schedule(iterations=4), pressed, checkpoint=tmp_path / "c", leads=False)
    assert_same(net, whole)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("stop", [None, SystemExit])
def test_batches_are_closed_and_chance_is_as_before(stop):
    closed = []

    def batches(steps):
        try:
            yield from rows_of(steps)
        finally:
            closed.append(steps)

    def losses(net, step, batch):
        if stop and step == 2:
            raise stop
        return losses_of(net, step, batch)

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    try:
        train(Net(), Schedule(iterations=4), losses, batches)
    except SystemExit:
        assert stop
    assert closed == [range(4)]
    assert torch.rand(1) == expected


def test_seeds_of_steps_differ():
    seeds = {step_seed(seed, step, *rest) for seed in (3, 4) for step in range(50) for rest in ((), (0,), (1,))}
    assert len(seeds) == 2 * 50 * 2  # as in `numpy.random.SeedSequence`, a last 0 is as none
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_loss_beyond_all_bounds_is_an_error_and_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"beyond all bounds before step 20 .* lower one"):
        train(Net(), Schedule(iterations=40, lr=1e30), checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match="very first loss is not a finite number"):
        train(Net(), Schedule(iterations=1), lambda net, *_: losses_of(net, 0, [0]) * torch.nan)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("damage", ["nothing in it", "another shape"])
def test_a_checkpoint_that_does_not_fit_the_network_is_one_sentence(tmp_path, damage):
    """It was a KeyError or torch's RuntimeError."""
    kept = Checkpoint(tmp_path / "c", {"of": "the test"})
    train(Net(), Schedule(iterations=2), checkpoint=kept.path)
    done, arrays = kept.load()
    kept.save(done, {} if damage == "nothing in it" else {**arrays, "history": arrays["history"][:1]})
    with pytest.raises(InputError, match=r"c is damaged \(.* while going on from it\); delete it to start anew"):
        train(Net(), Schedule(iterations=2), checkpoint=kept.path)


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    train(Net(), Schedule(iterations=2), checkpoint=tmp_path / "c")
    net = Net()
    descent = Descent(Schedule(iterations=2), net, losses_of, rows_of, columns=COLUMNS)
    with pytest.raises(InputError, match=r"another training \(of: the test there, something else wanted"):
        descent.run(checkpoint=tmp_path / "c", identity={"of": "something else"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"step": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
        {"weight_decay": float("inf")},
    ],
)
def test_schedules_without_meaning_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Schedule(**wrong)
