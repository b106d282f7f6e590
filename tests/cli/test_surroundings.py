"""What surrounds a command ends it with one sentence or not at all: signals, terminals, variables, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rcnn_svm.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
# A stage of one's own in a process of its own: `STAGE.format(...)` is the text of its `run`.
STAGE = """
import sys
from types import ModuleType
from rcnn_svm.cli.main import COMMANDS, main

def run(args):
    import os, signal, sys, time
    {}

stage = ModuleType("rcnn_svm.cli.own")
stage.add_arguments, stage.run = lambda parser: None, run
sys.modules[stage.__name__], COMMANDS["own"] = stage, "a stage of one's own"
sys.exit(main(["own"]))
"""


def run(code: str, *, before: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Run a stage of one line in a process of its own."""
    argv = [sys.executable, "-c", before + STAGE.format(code)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(argv, capture_output=True, env=variables, timeout=120)


@pytest.fixture
def stage(monkeypatch) -> ModuleType:
    """A stage of one's own, `own`, in this process; set its `run`."""
    module = ModuleType("rcnn_svm.cli.own")
    module.add_arguments = lambda parser: None
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "own", "a stage of one's own")
    return module


def raising(error: BaseException):
    def run(*_):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "out/x"), "out/x: No space left on device; mend that"),
        (
            OSError("unable to lock file\n, errno = 37"),
            "OSError: unable to lock file , errno = 37; if that",
        ),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory; if"),
        (RecursionError(), "RecursionError; if"),
        (MemoryError(), "the memory of this machine is not enough; end other programs"),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range(128)"), "set PYTHONUTF8=1"),
    ],
)
def test_an_error_of_the_machine_is_one_sentence(error, said, stage, capsys, monkeypatch):
    stage.run = raising(error)
    assert main(["own"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("rcnn-svm own: error: ") and said in errors and errors.count("\n") == 1
    monkeypatch.setenv("RCNN_SVM_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["own"])


def test_a_fault_of_the_program_is_a_traceback(stage):
    stage.run = raising(KeyError("x"))
    with pytest.raises(KeyError):
        main(["own"])


def test_ctrl_c_before_the_arguments_are_read_is_the_same_sentence(stage, capsys):
    # The first third of a second, in which libraries are loaded.
    stage.add_arguments, stage.run = raising(KeyboardInterrupt()), None
    assert main(["own"]) == 130
    assert capsys.readouterr().err.startswith("rcnn-svm own: interrupted; what was completed is kept")


def test_ctrl_c_inside_a_library_that_makes_another_error_of_it(stage, capsys):
    error = ImportError("numpy.core.multiarray failed to import")
    error.__cause__ = KeyboardInterrupt()
    stage.run = raising(error)
    assert main(["own"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_stop_a_stage_as_ctrl_c_does(name, code, stage, capsys):
    number, cleaned = getattr(signal, name), []

    def run(args):
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(True)

    stage.run = run
    before = signal.getsignal(number)
    assert main(["own"]) == code
    assert cleaned == [True] and signal.getsignal(number) is before
    assert capsys.readouterr().err.startswith("rcnn-svm own: interrupted; what was completed is kept")


def test_a_training_that_is_told_to_end_keeps_its_step_first(stage):
    from rcnn_svm.descent import held_interrupt

    done = []

    def run(args):
        with held_interrupt() as interrupted:
            signal.raise_signal(signal.SIGTERM)
            done.append("the step and its checkpoint")
            if interrupted():
                raise KeyboardInterrupt

    stage.run = run
    assert main(["own"]) == 143
    assert done == ["the step and its checkpoint"]


def test_sigterm_ends_a_stage_in_the_background_of_a_script_and_sighup_no_stage_under_nohup():
    # Both began with a signal that is ignored: Ctrl-C by `&`, SIGHUP by `nohup`.
    ignored = "import signal; signal.signal(signal.{}, signal.SIG_IGN)\n"
    code = "os.kill(os.getpid(), signal.{}); time.sleep(.1); print('went on')"
    done = run(code.format("SIGTERM"), before=ignored.format("SIGINT"))
    assert (done.returncode, done.stdout) == (143, b"")
    done = run(code.format("SIGHUP"), before=ignored.format("SIGHUP"))
    assert (done.returncode, done.stdout) == (0, b"went on\n"), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "ascii:strict"])
def test_names_that_a_terminal_cannot_print_are_question_marks(encoding):
    done = run("print('class 圆盘'); print('note: 圆盘', file=sys.stderr)", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout.rstrip(), done.stderr.rstrip()) == (0, b"class ??", b"note: ??")


def test_escape_sequences_do_not_reach_the_terminal():
    # As a class name, an HDF5 dataset or the command in an artefact's provenance may hold them.
    done = run("print('class \\x1b]0;owned\\x07'); raise RuntimeError('\\x1b[2J')")
    assert done.stdout == b"class \\x1b]0;owned\\x07\n"
    assert done.returncode == 2 and b"RuntimeError: \\x1b[2J" in done.stderr and b"\x1b" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_to_a_full_disk_is_one_sentence():
    argv = [sys.executable, "-m", "rcnn_svm", "synthesize", "--names", "--out", "x"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("rcnn-svm synthesize: error: No space left on device;")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("backend", ["inline", "module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_do_not_need_the_backend_of_a_notebook(backend, tmp_path):
    # `!rcnn-svm evaluate` in a notebook whose matplotlib is another than that of the installation.
    code = "from rcnn_svm.reports.style import new_figure, save_figure; save_figure(new_figure(1, 1), sys.stdin.name)"
    code = code.replace("sys.stdin.name", repr(str(tmp_path / "figure.png")))
    done = run(code, MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").stat().st_size > 100


def test_the_environment_is_afterwards_as_before(stage, monkeypatch):
    seen = []
    stage.run = lambda args: seen.append(os.environ["MPLBACKEND"])
    monkeypatch.setenv("MPLBACKEND", "inline")
    assert main(["own"]) == 0 and os.environ["MPLBACKEND"] == "inline"
    monkeypatch.delenv("MPLBACKEND")
    assert main(["own"]) == 0 and "MPLBACKEND" not in os.environ
    assert seen == ["agg", "agg"]
