"""The four rules of R-CNN's hard negative mining; every trainer, batch and measurement here applies these.

    negative    which regions may be negatives of a class
    hard        which of them enter the cache of the class; of the very first image, all
    retrain     when the class is trained on its cache
    easy        which cached negatives leave after that training

`supports` says which of those that stay are support vectors.

`reference.py` puts them together literally, `hard_negatives.py` as fast as we know how.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rcnn_svm import paper


@dataclass(frozen=True)
class MiningRules:
    """Whether a region is a negative, whether it is hard or easy, and when a class is retrained.

    Scores and overlaps are compared in single precision, as the original does: an IoU of exactly float32(0.3) is not
    below 0.3.

    Args:
        hard_thresh: a negative is hard when it scores strictly above this, or is in the very first image.
        evict_thresh: a cached negative is easy when it scores strictly below this.
        neg_overlap: a region is a negative of a class when its IoU with every object of the class is strictly below
            this.
        retrain_limit: a class is retrained when strictly more negatives were added since its last training.

    Examples:
        >>> import numpy as np
        >>> from rcnn_svm.mining import MiningRules
        >>> rules = MiningRules()
        >>> rules.negative(np.float32([0.1, 0.29, 0.3, 1]))
        array([ True,  True, False, False])
        >>> rules.hard(np.float32([-1.1, -1, 0.5]), first_image=False)
        array([False,  True,  True])
        >>> rules.must_retrain(2000, first_image=False, last_image=False)
        False
        >>> rules.easy(np.float32([-1.3, -1.2, -1]))
        array([ True, False, False])

    Source: `rcnn_train.m`; `init_cache` and `sample_negative_features` set the four values.
    """

    hard_thresh: float = paper.HARD_THRESH
    evict_thresh: float = paper.EVICT_THRESH
    neg_overlap: float = paper.NEG_OVERLAP
    retrain_limit: int = paper.RETRAIN_LIMIT

    def negative(self, overlap: np.ndarray) -> np.ndarray:
        """Return which regions are negatives, by their largest IoU with an object of the class, float32.

        Source: `sample_negative_features` of `rcnn_train.m`: `d.overlap(:, cls_id) < neg_ovr_thresh`.
        """
        return overlap < np.float32(self.neg_overlap)

    def hard(self, scores: np.ndarray, first_image: bool | np.ndarray) -> np.ndarray:
        """Return which negatives are hard.

        Args:
            scores: by the present detector, float32.
            first_image: the negatives are in the first image of the first pass: all are hard, as no detector exists
                yet to judge them.

        Source: `sample_negative_features` of `rcnn_train.m`: `if first_time`, else `z > caches{cls_id}.hard_thresh`.
        """
        return first_image | (scores > np.float32(self.hard_thresh))

    def must_retrain(
        self, num_added: int | np.ndarray, first_image: bool | np.ndarray, last_image: bool | np.ndarray
    ) -> bool | np.ndarray:
        """Return whether a class that has negatives is trained after an image.

        Args:
            num_added: negatives added since the last training of the class.
            first_image: the image is the first of the first pass.
            last_image: the image is the last of the last pass.

        Source: "Update model if" in `rcnn_train.m`: `first_time || hit_retrain_limit || is_last_time`.
        """
        return first_image | (num_added > self.retrain_limit) | last_image

    def easy(self, scores: np.ndarray) -> np.ndarray:
        """Return which cached negatives are easy, by their scores under the new detector, float32.

        Source: "evict easy examples" in `rcnn_train.m`: `z_neg < caches{j}.evict_thresh`.
        """
        return scores < np.float32(self.evict_thresh)


def supports(scores: np.ndarray) -> np.ndarray:
    """Return which negatives are on or inside the margin, by their scores, float32: they have weight in the detector.

    Source: "store negative support vectors" in `rcnn_train.m`: `z_neg > -1 - eps`.
    """
    return scores > np.float32(-1) - np.finfo(np.float32).eps
