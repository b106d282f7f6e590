"""How a test runs a command."""

from __future__ import annotations

from rcnn_svm.cli.main import main


def command(*words: object) -> int:
    """Run `rcnn-svm WORDS...` in this process and return its exit code."""
    return main([str(word) for word in words])
