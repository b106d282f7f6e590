#!/usr/bin/env python3
"""Same as `rcnn-svm train-head`."""

import sys

from rcnn_svm.cli.main import run_stage

if __name__ == "__main__":
    sys.exit(run_stage("train-head"))
