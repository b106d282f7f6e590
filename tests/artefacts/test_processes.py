"""Whether a process still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rcnn_svm.artefacts.processes import begin_of, is_running


def test_a_process_runs_until_it_has_ended():
    assert is_running(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(process.pid)
    process.communicate(b"\n")
    assert not is_running(process.pid)
    assert begin_of(process.pid) == ""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, as Linux has it")
def test_what_its_parent_has_left_of_a_process_does_not_run():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert begin_of(process.pid)
    assert not is_running(process.pid)
    process.wait()
