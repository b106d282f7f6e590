#!/usr/bin/env python3
"""Same as `rcnn-svm inspect`; as inspect.py it would hide the standard library's inspect from all scripts here."""

import sys

from rcnn_svm.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("inspect"))
