#!/usr/bin/env python3
"""Same as `rcnn-svm parity`."""

import sys

from rcnn_svm.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("parity"))
