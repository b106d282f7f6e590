#!/usr/bin/env python3
"""Same as `rcnn-svm import`; named as its module, because import is a keyword."""

import sys

from rcnn_svm.cli.main import run_command

if __name__ == "__main__":
    sys.exit(run_command("import"))
