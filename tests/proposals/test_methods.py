from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.proposals.methods import METHODS, make_proposer
from rcnn_svm.proposals.sliding_window import SlidingWindow


def test_nine_windows_by_hand():
    """Squares of half of 8 pixels, half of their own length apart."""
    proposer = make_proposer({"method": "sliding", "scales": [0.5], "aspect_ratios": [1], "stride": 0.5})
    expected = [[x, y, x + 3, y + 3] for x in (0, 2, 4) for y in (0, 2, 4)]
    assert sorted(proposer(np.zeros((8, 8, 3), np.uint8)).tolist()) == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limits", [{"max_boxes": 30}, {"max_boxes": 30, "merge_iou": 0.4}])
def test_recorded_settings_build_the_same_proposer(method, limits, scene):
    proposer = make_proposer({"method": method, **limits})
    assert {**proposer.settings, **limits} == proposer.settings
    recorded = json.loads(json.dumps({**proposer.settings, "database": "voc_2007_trainval"}))
    rebuilt = make_proposer(recorded)
    assert rebuilt.settings == proposer.settings
    image = scene(12, 60)
    np.testing.assert_array_equal(rebuilt(image), proposer(image))


def test_grid_of_sliding_windows_is_rebuilt():
    grid = SlidingWindow(scales=[0.3], aspect_ratios=[1, 3], stride=0.5)
    assert make_proposer(grid.settings).settings == grid.settings != SlidingWindow().settings


def test_boxes_from_a_file_have_no_method():
    with pytest.raises(InputError, match=r"were read from voc\.mat.*choose how with --method: fast"):
        make_proposer({"method": "precomputed", "source": "voc.mat"})
    with pytest.raises(InputError, match="method 'edge-boxes'"):
        make_proposer({"method": "edge-boxes"})


def test_names_are_known_without_loading_opencv():
    code = "import sys, rcnn_svm.proposals.methods as m; sys.exit('cv2' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
