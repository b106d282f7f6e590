"""A read-only pass must leave no trace, and shared masks must be those of the pass before."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import stochastic_depth

from rcnn_svm.errors import InputError
from rcnn_svm.mining.read_only import SharedDropout, read_only
from rcnn_svm.mining.sampling import RoIs, sampled_loss


def head_with_everything():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)).train()


def state(head):
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}


def test_two_numbers_are_normalised_by_hand():
    """Their mean is 2 and their variance 1; the running mean 0 and variance 4 stay as they are."""
    norm = nn.BatchNorm1d(1, eps=1e-9)
    norm.running_var.fill_(4)
    for evaluation, expected in ((False, [[-1.0], [1.0]]), (True, [[0.5], [1.5]])):
        with read_only(norm, evaluation=evaluation):
            torch.testing.assert_close(norm(torch.tensor([[1.0], [3.0]])), torch.tensor(expected))
        assert (norm.running_mean.item(), norm.running_var.item(), norm.num_batches_tracked.item()) == (0, 4, 0)
        assert norm.training


@pytest.mark.parametrize("evaluation", [False, True])
def test_nothing_is_left_behind(evaluation):
    head = head_with_everything()
    head[3].eval()
    before = state(head)
    with read_only(head, evaluation=evaluation):
        out = head(torch.randn(10, 6))
        assert head[2].training != evaluation
    assert not out.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())
    assert [module.training for module in head] == [True, True, True, False]
    head(torch.randn(10, 6)).sum().backward()
    assert not torch.equal(head[1].running_mean, before["1.running_mean"])


def test_batch_norm_normalises_as_the_mode_says():
    head = head_with_everything()
    x = 5 + torch.randn(50, 6)
    with read_only(head):
        torch.testing.assert_close(head[:2](x).mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    with read_only(head, evaluation=True):
        out = head(x)
    torch.testing.assert_close(out, head.eval()(x).detach())


def test_modes_return_after_an_error():
    head = head_with_everything()
    with pytest.raises(KeyError), read_only(head, evaluation=True):
        raise KeyError
    assert all(module.training for module in head)
    assert head[1].track_running_stats


def test_weights_get_gradient_after_it_under_autocast():
    head = nn.Linear(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with read_only(head):
            head(torch.randn(3, 6))
        head(torch.randn(3, 6)).sum().backward()
    assert head.weight.grad is not None


class TwoDropouts(nn.Module):
    """Dropout as a module, in place and by channel, and as a function."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dropout(0.5, inplace=True)
        self.second = nn.Dropout2d(0.3)

    def forward(self, x):
        x = self.second(self.first(1 * x) + 1)
        return functional.dropout(x, 0.2, self.training)


def test_second_pass_has_the_masks_of_the_first():
    module = TwoDropouts().train()
    x = torch.rand(40, 6, 2, 2) + 0.5
    rows = torch.tensor([31, 2, 17])
    with SharedDropout() as shared:
        everything = module(x)
        shared.keep(rows)
        some = module(x[rows])
    assert torch.equal(some, everything[rows])
    assert not torch.equal(module(x[rows]), everything[rows])


def test_first_pass_draws_as_dropout_does():
    x = torch.ones(200, 300)
    with SharedDropout():
        out = functional.dropout(x, 0.25)
    torch.testing.assert_close(out.unique(), torch.tensor([0, 1 / 0.75]))
    assert abs((out == 0).float().mean() - 0.25) < 0.01


def test_masks_that_do_not_fit_are_refused():
    with SharedDropout() as shared:
        functional.dropout(torch.ones(5, 3))
        shared.keep(torch.tensor([1]))
        with pytest.raises(InputError, match="read_only_mode"):
            functional.dropout(torch.ones(1, 4))
        with pytest.raises(InputError, match="read_only_mode"):
            functional.dropout(torch.ones(1, 3))  # one dropout more than in the first pass
        with pytest.raises(InputError, match="alpha dropout"):
            nn.AlphaDropout()(torch.ones(1, 3))


def torch_dropout(x):
    return torch.dropout(x, 0.5, True)


def torch_dropout_by_name_in_place(x):
    x = 1 * x
    torch.dropout_(x, p=0.5, train=True)
    return functional.dropout(torch.feature_dropout(x, 0.3, train=True), 0.2, inplace=True)


@pytest.mark.parametrize("network", [torch_dropout, torch_dropout_by_name_in_place])
def test_torchs_own_dropout_has_the_masks_of_the_first_pass(network):
    x, rows = torch.rand(40, 6, 2) + 0.5, torch.tensor([31, 2, 17])
    with SharedDropout() as shared:
        everything = network(x)
        shared.keep(rows)
        weighted = x[rows].requires_grad_()
        some = network(weighted)
    assert torch.equal(some, everything[rows])
    assert (everything == 0).any()
    some.sum().backward()
    assert torch.equal(weighted.grad == 0, everything[rows] == 0)


def attention(x, **options):
    return functional.scaled_dot_product_attention(x, x, x, **options)


@pytest.mark.parametrize(
    "network",
    [
        lambda x: attention(x, dropout_p=0.5),
        lambda x: nn.functional.rrelu(x, training=True),
        lambda x: torch.alpha_dropout(x, 0.5, True),
        lambda x: torch.native_dropout(x, 0.5, True)[0],
        lambda x: x * torch.rand(len(x), 1, 1),
        lambda x: stochastic_depth(x, 0.5, "row"),
        nn.MultiheadAttention(4, 2, dropout=0.5),
        nn.LSTM(4, 4, 2, dropout=0.5),
    ],
)
def test_other_draws_are_refused_and_not_silently_different(network):
    x = torch.rand(5, 3, 4)
    inputs = (x, x, x) if isinstance(network, nn.MultiheadAttention) else (x,)
    with SharedDropout(), pytest.raises(InputError, match=r"draws at random by aten.*read_only_mode"):
        network(*inputs)
    network(*inputs)  # afterwards everything may draw again


def test_functions_that_could_draw_but_do_not_go_through():
    x, rows = torch.rand(5, 3, 4), torch.tensor([2, 0])
    attend, recurrent = nn.MultiheadAttention(4, 2, batch_first=True), nn.LSTM(4, 4, 2, batch_first=True)

    def network(x):
        x = torch.dropout(functional.rrelu(attention(x)), 0.5, False)
        return recurrent(attend(x, x, x)[0])[0]

    with SharedDropout() as shared:
        everything = network(x)
        shared.keep(rows)
        torch.testing.assert_close(network(x[rows]), everything[rows])


def test_a_sampler_may_draw_where_dropout_is_shared():
    class OneAtRandom:
        read_only_mode = "same_dropout"

        def select(self, rois, loss=None, generator=None):
            return torch.randint(len(rois), (1,), generator=generator)

    head, x = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5)), torch.rand(6, 3)
    _, taken = sampled_loss(OneAtRandom(), head, lambda rows: head(x[rows[0]])[:, 0], [RoIs(labels=torch.zeros(6))])
    assert len(taken.rows[0]) == 1
