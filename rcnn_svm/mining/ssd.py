"""The hard negatives of SSD: those of highest loss, a few per positive."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from rcnn_svm import paper
from rcnn_svm.errors import InputError
from rcnn_svm.mining.read_only import ReadOnlyMode
from rcnn_svm.mining.sampling import BACKGROUND, IGNORED, RoIs, class_loss
from rcnn_svm.parameters import check_parameters, check_values, checks, real, whole

# Ratios are fractions with at most this denominator: 2.1 is 21/10, in whatever precision it is given.
LARGEST_DENOMINATOR = 10**5

LIMITS = checks(ratio=real(at_least=0), min_negatives=whole(at_least=0))


def select_hard_negatives(
    loss: Tensor, labels: Tensor, *, ratio: float = paper.SSD_RATIO, min_negatives: int = 0
) -> Tensor:
    """Mark the negatives of highest loss in every image, at most `ratio` for each positive of that image.

    Of equal losses the first anchor goes first. A loss that is NaN counts as the highest, so that it shows in what
    is trained rather than vanish.

    Args:
        loss: (N, A) float, the confidence loss of A anchors in N images.
        labels: (N, A) int64: a class from 1, `BACKGROUND` for a negative, `IGNORED`.
        ratio: negatives per positive; a fraction of a negative is cut off. It is meant as written: 2.1 gives 63
            negatives for 30 positives, and 1e30 all there are.
        min_negatives: mark at least so many in every image, positives or not. In SSD an image without positives
            has no negatives either.

    Returns:
        (N, A) bool, True for the negatives that are marked.

    Raises:
        InputError: shapes that differ, a ratio or minimum that is negative or endless.

    Source: SSD section 2.2, "Hard negative mining". torchvision's SSD differs where an image has fewer negatives
    than that: there the rest of the number is filled with positives, whose loss then counts twice.
    """
    check_values({"ratio": ratio, "min_negatives": min_negatives}, LIMITS)
    if loss.ndim != 2 or loss.shape != labels.shape:
        raise InputError(
            f"loss has shape {tuple(loss.shape)} and labels {tuple(labels.shape)}, expected (images, anchors) for both"
        )
    negative = labels == BACKGROUND
    # In whole numbers, because 30 * 2.1 is below 63 in single precision. No image has more negatives than anchors.
    exact = Fraction(min(float(ratio), labels.shape[1])).limit_denominator(LARGEST_DENOMINATOR)
    quota = (labels > BACKGROUND).sum(1, keepdim=True) * exact.numerator // exact.denominator  # (N, 1)
    quota = quota.clamp(min=min(int(min_negatives), labels.shape[1]))
    hardness = loss.detach().nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(~negative, -torch.inf)
    rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return negative & (rank < quota)


class HardNegativeRatio:
    """Takes all positives of an image, and the negatives of highest loss, at most `ratio` for each; a `Sampler`.

    The loss of a step by `sampled_loss` is the mean over what is taken; that of SSD, `HardNegativeRatioLoss`, is up to
    four times as large, because it divides by the number of positives.

    Args:
        ratio: negatives per positive.
        min_negatives: smallest number of negatives in every image. With SSD's 0, an image without positives gives
            nothing.

    Raises:
        InputError: a ratio or minimum that is negative or endless.

    Source: SSD section 2.2, "Hard negative mining".
    """

    PARAMETER_CHECKS = LIMITS
    read_only_mode: ReadOnlyMode = "train"

    def __init__(self, *, ratio: float = paper.SSD_RATIO, min_negatives: int = 0):
        self.ratio = ratio
        self.min_negatives = min_negatives
        check_parameters(self)

    def select(self, rois: RoIs, loss: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return the rows of positives and hard negatives, (S,) int64, rising.

        Args:
            rois: the RoIs of one image; `labels` are read.
            loss: (R,) float, the confidence loss, or (R, P) for a loss of P parts, the first of which it is.
            generator: not read.

        Raises:
            InputError: no loss, or arrays that do not fit together.
        """
        labels = rois.read("labels")
        (hard,) = select_hard_negatives(
            class_loss(loss)[None], labels[None], ratio=self.ratio, min_negatives=self.min_negatives
        )
        return ((labels > BACKGROUND) | hard).nonzero()[:, 0]


class HardNegativeRatioLoss(nn.Module):
    """The confidence loss of SSD: cross entropy of all positives and of the hard negatives.

    It is divided by the number of positives of all images, as SSD divides its box loss, or by 1 where there is none.

    Args:
        ratio: negatives per positive.
        min_negatives: smallest number of negatives in every image. With SSD's 0, images without positives teach
            nothing.

    Raises:
        InputError: a ratio or minimum that is negative or endless.

    Examples:
        One image with a positive and four negatives, of which the two with the largest loss count.

        >>> import torch
        >>> from rcnn_svm import HardNegativeRatioLoss
        >>> logits = torch.tensor([[[0.0, 2.0], [3.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]])
        >>> loss, hard = HardNegativeRatioLoss(ratio=2)(logits, torch.tensor([[1, 0, 0, 0, 0]]))
        >>> hard
        tensor([[False, False,  True,  True, False]])
        >>> round(loss.item(), 3)
        2.133

    Source: SSD section 2.2, equations 1 and 3.
    """

    PARAMETER_CHECKS = LIMITS

    def __init__(self, *, ratio: float = paper.SSD_RATIO, min_negatives: int = 0):
        super().__init__()
        self.ratio = ratio
        self.min_negatives = min_negatives
        check_parameters(self)

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and what it was taken over.

        Args:
            logits: (N, A, K + 1) float, the scores of background and K classes before the softmax.
            labels: (N, A) int64: a class from 1, `BACKGROUND` or `IGNORED`.

        Returns:
            () float, the loss; (N, A) bool, the negatives that are in it.

        Raises:
            InputError: shapes that do not fit.
        """
        if logits.ndim != 3 or logits.shape[:2] != labels.shape:
            raise InputError(
                f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}, "
                "expected (images, anchors, classes) and (images, anchors)"
            )
        loss = nn.functional.cross_entropy(logits.mT, labels, ignore_index=IGNORED, reduction="none")  # (N, A)
        positive = labels > BACKGROUND
        hard = select_hard_negatives(loss, labels, ratio=self.ratio, min_negatives=self.min_negatives)
        return loss[positive | hard].sum() / positive.sum().clamp(min=1), hard
