"""Two processes at one output: each notices the other, and none that is gone blocks for ever."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from rcnn_svm.artefacts import claims
from rcnn_svm.artefacts.claims import claim_file, claimed
from rcnn_svm.errors import InputError

AT_WORK = """
import sys
from rcnn_svm.artefacts.claims import claimed
with claimed(sys.argv[1]):
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(path):
    """Let a process claim `path` until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "at work\n"
    try:
        yield process
    finally:
        process.communicate("")


def test_what_is_claimed_is_free_again_afterwards(tmp_path):
    with claimed(tmp_path / "x.h5"):
        assert claim_file(tmp_path / "x.h5").exists()
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path / "x.h5"):
        pass


def test_a_second_process_is_told_which_one_is_at_work_and_since_when(tmp_path):
    path = tmp_path / "x.h5"
    with another_process(path) as process:
        told = (
            rf"x\.h5 is made by another process \({process.pid} on .*\), begun \d+ seconds ago; wait .* delete .*work"
        )
        with pytest.raises(InputError, match=told), claimed(path):
            pass
        with claimed(tmp_path / "y.h5"):
            pass
    with claimed(path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is only taken for gone after a while")
def test_a_process_that_was_killed_blocks_nobody(tmp_path):
    path = tmp_path / "x.h5"
    with another_process(path) as process:
        process.kill()
        process.wait()
        with claimed(path):
            assert json.loads(claim_file(path).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs the time when a process began")
def test_another_process_with_the_number_of_one_that_is_gone_is_not_taken_for_it(tmp_path):
    claim = claim_file(tmp_path / "x.h5")
    with claimed(tmp_path / "x.h5"):
        found = json.loads(claim.read_text())
    claim.write_text(json.dumps({**found, "began": "1"}))
    with claimed(tmp_path / "x.h5"):
        pass
    claim.write_text(json.dumps(found))
    with pytest.raises(InputError, match="made by another process"), claimed(tmp_path / "x.h5"):
        pass


def test_a_process_that_cannot_be_seen_is_believed_while_it_shows_life(tmp_path):
    path = tmp_path / "x.h5"
    claim = claim_file(path)
    content = '{"process": 1, "processes": "another machine", "host": "far"}'
    claim.write_text(content)
    with pytest.raises(InputError, match=r"made by another process \(1 on far"), claimed(path):
        pass
    now = time.time()
    for seconds in (-claims.SILENCE - 60, claims.SILENCE + 60):  # a clock may be wrong either way
        claim.write_text(content)
        os.utime(claim, (now + seconds, now + seconds))
        with claimed(path):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"proc'])
def test_a_claim_whose_process_was_killed_before_it_said_a_word_blocks_nobody(tmp_path, monkeypatch, content):
    monkeypatch.setattr(claims, "WORDLESS", 0.2)
    claim_file(tmp_path / "x.h5").write_bytes(content)
    with claimed(tmp_path / "x.h5"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_claim_that_was_just_made_is_given_time_to_say_a_word(tmp_path):
    claim = claim_file(tmp_path / "x.h5")
    claim.write_text("")
    words = threading.Timer(0.2, claim.write_text, ['{"process": 1, "processes": "another machine", "host": "far"}'])
    words.start()
    with pytest.raises(InputError, match=r"made by another process \(1 on far"), claimed(tmp_path / "x.h5"):
        pass
    words.join()


def test_a_claim_shows_life(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "SIGN_OF_LIFE", 0.01)
    claim = claim_file(tmp_path / "x.h5")
    with claimed(tmp_path / "x.h5"):
        os.utime(claim, (0, 0))
        deadline = time.monotonic() + 60
        while claim.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert claim.stat().st_mtime > 0


def test_a_process_that_was_taken_for_gone_says_so(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(InputError, match=r"made by another process \(7 on far.* meanwhile"), claimed(path):
        claim_file(path).write_text('{"process": 7, "processes": "z", "host": "far"}')
    assert claim_file(path).exists()  # that of the other


def test_a_folder_that_was_removed_is_no_other_process(tmp_path):
    with claimed(tmp_path / "out" / "x.h5"):
        claim_file(tmp_path / "out" / "x.h5").unlink()
        (tmp_path / "out").rmdir()


def test_where_nothing_was_made_no_folder_is_left(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "a" / "b" / "x"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with claimed(tmp_path / "a" / "b" / "x"):
        (tmp_path / "a" / "y").write_text("made")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["y"]


def test_two_spellings_of_a_path_are_one(tmp_path):
    (tmp_path / "folder").mkdir()
    assert claim_file(tmp_path / "folder" / ".." / "x") == claim_file(tmp_path / "x")
    assert len(claim_file(tmp_path / ("a" * 250)).name) <= 255


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), claimed(tmp_path / "file" / "x"):
        pass
