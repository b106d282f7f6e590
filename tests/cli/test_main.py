"""`rcnn-svm` itself: its help, its commands, its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType

import pytest

from rcnn_svm import __version__
from rcnn_svm.cli import main as cli
from rcnn_svm.cli.main import COMMANDS, HEADINGS, main, run_command
from rcnn_svm.errors import InputError

FOLDER = Path(cli.__file__).parent
NO_COMMANDS = {
    *("__init__", "arguments", "main", "presets", "sharing", "sides", "surroundings", "train_detector", "trained_on"),
    "workers",
}
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Every script is named as its command, but for these.
EXCEPTIONS = {
    "inspect": "inspect_cache",  # inspect.py would hide the standard library's module from every script beside it
    "import": "import_cache",  # import is a keyword, so that the module has this name too
}


# Asks for the help of `rcnn-svm` and of every command named, each in a process that is forked before, and says which
# packages are loaded then.
HELP = """
import os, sys
from rcnn_svm.cli.main import main
for command in ["", *sys.argv[1:]]:
    child = os.fork()
    if not child:
        try:
            main([*command.split(), "--help"])
        except SystemExit:
            pass
        print("LOADED", command or "rcnn-svm", *{name.partition(".")[0] for name in sys.modules}, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The packages that are loaded once help has been given: command -> names."""
    done = subprocess.run([sys.executable, "-c", HELP, *COMMANDS], capture_output=True, text=True, check=True)
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return {command: set(packages) for command, *packages in lines}


def help_of(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_under_its_heading(capsys):
    lines = help_of(capsys).splitlines()
    first = {heading: lines.index(f"{heading}:") for heading in HEADINGS}
    assert list(first.values()) == sorted(first.values())
    for heading, commands in HEADINGS.items():
        below = lines[first[heading] + 1 :][: len(commands)]
        assert [line.split()[0] for line in below] == list(commands)
        assert all(line.endswith(text) for line, text in zip(below, commands.values(), strict=True))


def test_every_module_is_a_command():
    modules = {path.stem.replace("_", "-") for path in FOLDER.glob("*.py") if path.stem not in NO_COMMANDS}
    assert modules == {"import-cache" if command == "import" else command for command in COMMANDS}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_help_loads_no_library(loaded):
    heavy = {"numpy", "scipy", "h5py", "joblib", "PIL", "torch", "sklearn", "cv2", "numba", "matplotlib", "onnxruntime"}
    assert not loaded["rcnn-svm"] & heavy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_no_library_that_takes_long(command, loaded):
    heavy = {"torch", "sklearn", "cv2", "numba", "matplotlib", "onnxruntime", "scipy", "h5py"}
    assert not loaded[command] & heavy


# Ctrl-C while a module is looked for, by whichever of the ways to start a command.
CTRL_C = """
import os, runpy, signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Press())
sys.argv = ["rcnn-svm", {words}]
{start}
"""
STARTS = {
    "module": ("'detect', 'x.jpg', '--model', 'x.h5'", "runpy.run_module('rcnn_svm', run_name='__main__')"),
    "console": ("'detect', 'x.jpg', '--model', 'x.h5'", "import {module}; sys.exit({module}.{function}())"),
    "script": ("'x.jpg', '--model', 'x.h5'", "runpy.run_path('{script}', run_name='__main__')"),
}


@pytest.mark.parametrize("module", ["rcnn_svm.cli", "argparse", "rcnn_svm.cli.detect", "numpy", "PIL"])
@pytest.mark.parametrize("start", STARTS)
def test_ctrl_c_while_libraries_are_loaded_is_one_sentence(module, start):
    setup = ConfigParser()
    setup.read(SCRIPTS.parent / "setup.cfg")
    entry = setup["options.entry_points"]["console_scripts"].partition("=")[2].strip().split(":")
    words, line = STARTS[start]
    line = line.format(module=entry[0], function=entry[1], script=SCRIPTS / "detect.py")
    code = CTRL_C.format(module=module, words=words, start=line)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert done.stderr.count("\n") == 1 and "interrupted" in done.stderr
    assert done.returncode == 130


def test_ctrl_c_that_python_drops_is_pressed_again():
    # Python drops what destructors and callbacks raise, of which the import system has one for every module.
    code = (
        "import signal, sys, time\nfrom rcnn_svm.__main__ import main\nfrom rcnn_svm.cli import main as commands\n"
        "class Left:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
        "def run(command):\n    Left()\n    time.sleep(60)\n    return 0\n"
        "commands.main = lambda: run('x')\nsys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "rcnn-svm: interrupted\n")


def test_what_guards_against_ctrl_c_loads_nothing_before():
    code = "import sys; before = {*sys.modules}; import rcnn_svm.__main__; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} <= {"__future__", "rcnn_svm", "rcnn_svm.__main__", "rcnn_svm.lazy"}


def script_of(command: str) -> Path:
    return SCRIPTS / f"{EXCEPTIONS.get(command, command.replace('-', '_'))}.py"


def test_every_command_is_a_script_of_its_name():
    assert sorted(SCRIPTS.iterdir()) == sorted(map(script_of, COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_is_its_command(command):
    script = script_of(command)
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script.name}")
    assert f"Same as `rcnn-svm {command}`" in script.read_text() and f'run_command("{command}")' in script.read_text()


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_the_terminal(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    usage, _, explanation = help_of(capsys, *([command] if command else [])).partition("\n\n")
    assert usage.startswith(f"usage: rcnn-svm {command or 'COMMAND'}")
    assert max(map(len, explanation.splitlines())) <= min(columns, 112)
    assert not [line for line in explanation.splitlines() if line.endswith("-")]
    assert cli.EXIT_CODES in " ".join(explanation.split())


def test_only_the_named_command_is_loaded():
    code = "import sys\nfrom rcnn_svm.cli.main import run_arguments\nrun_arguments('synthesize', ['--names'])\n"
    code += "print('LOADED', *sorted(name for name in sys.modules if name.startswith('rcnn_svm.cli.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ["arguments", "main", "surroundings", "synthesize"]
    assert done.stdout.splitlines()[-1].split() == ["LOADED", *(f"rcnn_svm.cli.{name}" for name in loaded)]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["--nonsense", "train"], "unrecognized arguments: --nonsense"),
        (["train"], "rcnn-svm train: error: the following arguments are required: --features"),
        (["train", "--features", "x", "--epochs", "0"], "--epochs/--max-epochs: must be a whole number of at least 1"),
        (["train", "--features", "x", "more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_usage_exits_with_2(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert "error:" in errors and said in errors


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (InputError("x.h5 does not exist"), 2, "rcnn-svm stop: error: x.h5 does not exist\n"),
        (KeyboardInterrupt(), 130, "rcnn-svm stop: interrupted; what was completed is kept, run the same command"),
    ],
)
def test_what_stops_a_command_is_one_sentence_and_an_exit_code(raised, code, said, capsys, monkeypatch):
    def run(args):
        raise raised

    # A stage of one's own, added as docs/architecture.md says.
    stage = ModuleType("rcnn_svm.cli.stop")
    stage.add_arguments, stage.run = lambda parser: None, run
    monkeypatch.setitem(sys.modules, stage.__name__, stage)
    monkeypatch.setitem(COMMANDS, "stop", "raise what it is to raise")
    assert main(["stop"]) == run_command("stop", []) == code
    assert capsys.readouterr().err.startswith(said)
    with pytest.raises(type(raised)):
        cli.run_arguments("stop", [])


def test_output_that_nobody_reads_is_no_traceback():
    command = f"{sys.executable} -m rcnn_svm synthesize --names --out x | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_the_command_line_is_a_module_too():
    argv = [sys.executable, "-m", "rcnn_svm", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"rcnn-svm {__version__}\n"
