"""`rcnn-svm COMMAND ...`, `python -m rcnn_svm COMMAND ...` and the scripts: Ctrl-C is one sentence from the start.

Libraries are loaded inside the functions, for that is when Ctrl-C would come as a traceback. So that nothing else is
loaded before, `rcnn_svm` and `rcnn_svm.lazy` import no module, not even of the standard library.
"""

import os
import sys

INTERRUPTED = 130  # what a shell says of a process that Ctrl-C ended


def main() -> int:
    """Run the command that the arguments of this process name, and return the exit code."""
    return _guarded(None)


def run_command(command: str) -> int:
    """Run one command with the arguments of this process, and return the exit code."""
    return _guarded(command)


def _guarded(command: str | None) -> int:
    """Run a command, that of the arguments where None, and return the exit code."""
    try:
        sys.unraisablehook = _press_again
        from rcnn_svm.cli import main as commands

        code = commands.main() if command is None else commands.run_command(command)
        _end_at_once()
        return code
    except KeyboardInterrupt:
        print("rcnn-svm: interrupted", file=sys.stderr)
        return INTERRUPTED


def _press_again(unraisable) -> None:
    """Press Ctrl-C once more where Python has dropped it, as in a callback of the import system."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    import _thread
    import signal
    import threading

    main_thread = threading.main_thread().ident

    def press() -> None:
        if main_thread is not None and hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main_thread, signal.SIGINT)  # it ends waiting, too
        else:
            _thread.interrupt_main()

    # Later, for here it would be dropped again.
    threading.Timer(0.02, press).start()


def _end_at_once() -> None:
    """Let Ctrl-C end a process that has nothing left to do but to end."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


if __name__ == "__main__":
    sys.exit(main())
