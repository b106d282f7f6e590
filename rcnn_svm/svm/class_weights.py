"""How much more a positive counts than a negative, by the numbers of both."""

from __future__ import annotations

import math

from rcnn_svm import paper

# The value of a parameter that is to be found from the data.
AUTO = "auto"
# A training sees as many new negatives as `retrain_limit` allows, and about as many that are left of earlier ones.
LIMITS_PER_TRAINING = 2


def balanced_weight(num_positives: int, retrain_limit: int, num_regions: int) -> float:
    """Return the weight of a positive's loss that suits the number of a class's positives.

    With weight 2 the positives' share of the loss falls with their number, as the negatives that are mined do not
    get fewer with them: with some tens of positives nearly all the weight is on negatives. Weighting by the inverse
    numbers would make both shares equal, but let a few examples, some of them mislabelled or hardly visible, count
    a hundredfold. The rule is the geometric mean of the two: 2 sqrt(negatives / positives), and never below 2.
    The negatives are those that a training is expected to see, known before mining, so that the weight of a class
    stays the same through all its trainings.

    Args:
        num_positives: number of positives of the class.
        retrain_limit: number of negatives added between two trainings.
        num_regions: number of regions in the whole image set, which may be fewer.

    Returns:
        Such as 28 for 20 positives, 16 for 60, 9 for 200, 2.8 for 2000, 2 from 4000 on (at `retrain_limit` 2000).

    Source: none; the original weighs every positive 2 (`rcnn_train.m`).
    """
    num_negatives = min(LIMITS_PER_TRAINING * retrain_limit, num_regions)
    return paper.POS_LOSS_WEIGHT * math.sqrt(max(num_negatives / num_positives, 1.0))
