#!/usr/bin/env python3
"""Same as `rcnn-svm check`."""

import sys

try:
    from rcnn_svm.__main__ import run_command
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(run_command("check"))
