"""What is shown on a terminal does nothing to it."""

from __future__ import annotations

import io
import sys

from rcnn_svm.terminal import PrintableStream, printable, printable_output


def test_letters_stay_and_control_characters_are_spelled_out():
    assert printable("Käfer 圆盘\tone\n") == "Käfer 圆盘\tone\n"
    assert printable("\x1b]0;title\x07\r\x9b2J\x7f") == r"\x1b]0;title\x07\r\x9b2J\x7f"
    assert printable("gpj.\u202egnp") == r"gpj.\u202egnp"


def test_a_letter_that_the_terminal_does_not_have_is_a_question_mark():
    for encoding in ("ascii", "cp1252", "utf-8"):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        print("disc 圆盘 \udcff", file=PrintableStream(stream))
        stream.flush()
        assert raw.getvalue().decode(encoding) == f"disc {'圆盘' if encoding == 'utf-8' else '??'} ?\n"


def test_progress_bars_draw_over_their_line_and_nothing_else_does():
    stream = io.StringIO()
    PrintableStream(stream, bars=True).writelines(["\r 50 % of a\rb", "\n\x1b[A", "note: a\rb\x1b[A"])
    assert stream.getvalue() == "\r 50 % of a\\rb\n\x1b[Anote: a\\rb\\x1b[A"


def test_output_is_afterwards_as_before(capsys):
    before = sys.stdout, sys.stderr
    with printable_output():
        print("\x1b[2J", flush=True)
        print("note: \x1b[2J", file=sys.stderr)
        assert sys.stdout.isatty() is False
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "\\x1b[2J\n"
