"""Fine-tuning of a published network on warped windows, as the paper does before it trains SVMs.

build_network     a published network with a new last layer
FineTuneNetwork   such a network
MinibatchSampler  the windows of a mini-batch: 32 of objects, 96 of background
FineTuner         trains it
save_finetuned    writes weights and record
load_record       reads the record
FineTuningRecord  what the weights are and how they were trained
load_softmax      the last layer as a `SoftmaxClassifier`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.finetune.network import FineTuneNetwork, build_network
    from rcnn_svm.finetune.record import FineTuningRecord, load_record
    from rcnn_svm.finetune.tuner import FineTuner
    from rcnn_svm.finetune.weights import load_softmax, save_finetuned
    from rcnn_svm.finetune.windows import MinibatchSampler
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "FineTuneNetwork",
    "FineTuner",
    "FineTuningRecord",
    "MinibatchSampler",
    "build_network",
    "load_record",
    "load_softmax",
    "save_finetuned",
]
