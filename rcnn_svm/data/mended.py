"""What readers mended in files or left out of them: counted by kind, with the first example."""

from __future__ import annotations

from collections.abc import Iterable

from rcnn_svm.errors import InputError

# What is wrong is said at once, but a terminal shows no more than this of it.
SHOWN = 10


class Notes:
    """Counts what the readers of an image set mend or leave out, and keeps what they cannot use until `check`."""

    def __init__(self):
        self._found: dict[str, dict[str, None]] = {}
        self._wrong: list[str] = []

    def add(self, kind: str, where: str) -> None:
        """Count something mended or left out; the same place counts once.

        Args:
            kind: what was done, such as `boxes cut to their image`.
            where: the place, with the value as the file has it.
        """
        self._found.setdefault(kind, {})[where] = None

    def refuse(self, sentence: str) -> None:
        """Keep what cannot be mended until `check`, which says all of it at once."""
        self._wrong.append(sentence)

    def check(self, *, strict: bool = False) -> None:
        """Refuse what `refuse` kept and, if strict, what was mended or left out.

        Raises:
            InputError: there is such a thing; the message has their number and the first ten.
        """
        mended = [f"{where} ({kind})" for kind, found in self._found.items() for where in found] if strict else []
        if self._wrong or mended:
            raise InputError(all_at_once([*self._wrong, *mended]))

    def lines(self) -> list[str]:
        """Return a line for each kind, in the order of their first examples."""
        return [f"{kind}: {len(found)}, the first is {next(iter(found))}" for kind, found in self._found.items()]


def all_at_once(sentences: Iterable[str], what: str = "things are wrong") -> str:
    """Return one message about all that is wrong: the sentence itself, or their number, `what`, and the first ten."""
    sentences = list(dict.fromkeys(sentences))
    if len(sentences) == 1:
        return sentences[0]
    shown = [f"\n  {sentence}" for sentence in sentences[:SHOWN]]
    more = f"\n  and {len(sentences) - SHOWN} more" if len(sentences) > SHOWN else ""
    return f"{len(sentences)} {what}:{''.join(shown)}{more}"
