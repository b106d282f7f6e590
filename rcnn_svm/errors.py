"""The one exception that means "your input, not our bug"."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or environment, explained in one sentence a user can act on.

    The sentence names the file or option, the value found, what was expected and what to do. The command
    line prints it without a traceback and exits with status 2.
    """
