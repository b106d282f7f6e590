"""The toy command as a user types it."""

from __future__ import annotations

from rcnn_svm.reports.toy import bootstrap_toy
from tests.cli.command import command


def test_the_page_is_written_and_next_time_done(tmp_path, capsys):
    out = tmp_path / "new" / "toy.html"
    assert command("toy", "--out", out) == 0
    assert out.read_text(encoding="utf-8") == bootstrap_toy()
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert command("toy", "--out", out) == 0
    assert capsys.readouterr().out == f"done already: {out}\n"


def test_another_file_of_its_name_is_replaced_only_on_request(tmp_path, capsys):
    out = tmp_path / "toy.html"
    out.write_bytes(b"\xff my own")
    assert command("toy", "--out", out) == 2
    assert "was made with other settings" in capsys.readouterr().err and out.read_bytes() == b"\xff my own"
    assert command("toy", "--out", out, "--overwrite") == 0
    assert out.read_text(encoding="utf-8") == bootstrap_toy()
