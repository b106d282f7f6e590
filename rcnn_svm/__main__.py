"""`python -m rcnn_svm COMMAND ...`: the same as `rcnn-svm COMMAND ...`."""

import sys

from rcnn_svm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
