"""The commands of `rcnn-svm`: one file each, thin around the rooms that do the work; `main.py` finds them.

A command of one's own takes the arguments that several stages spell alike from here.

run_command             runs a command by name
add_data_arguments      the images and boxes, in any format
load_database           what these arguments name
add_seed_argument       --seed
add_overwrite_argument  --overwrite
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.cli.arguments import (
        add_data_arguments,
        add_overwrite_argument,
        add_seed_argument,
        load_database,
    )
    from rcnn_svm.cli.main import run_command
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["add_data_arguments", "add_overwrite_argument", "add_seed_argument", "load_database", "run_command"]
