"""R-CNN with SVM hard negative mining, and the family of hard example mining methods around it."""

__version__ = "0.1.0"
