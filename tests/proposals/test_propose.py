from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from rcnn_svm.errors import InputError
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.sliding_window import SlidingWindow
from rcnn_svm.proposals.store import ProposalSet


class Recorder:
    """A proposer that counts its calls and does something at one of them."""

    def __init__(self, at=None, action=None, max_boxes=None):
        self.settings = {"method": "recorder", "max_boxes": max_boxes}
        self.calls, self.at, self.action = 0, at, action
        self.lock = threading.Lock()

    def __call__(self, image):
        with self.lock:
            self.calls += 1
            calls = self.calls
        if calls == self.at:
            self.action()
        height, width = image.shape[:2]
        return np.array([[0, 0, width - 1, height - 1], [0, 0, image[0, 0, 0], image[0, 0, 1]]], np.float32)


SIZES = [(10 + i, 20 + i) for i in range(11)]


def check_complete(path, database, proposer):
    proposals = ProposalSet.load(path)
    assert proposals.image_ids == database.image_ids
    for i, boxes in enumerate(proposals.boxes):
        np.testing.assert_array_equal(boxes, proposer(database.load_image(i)))
    assert [p.name for p in path.parent.iterdir() if p.name.startswith("p.h5")] == ["p.h5"]


def test_two_images_by_hand(tmp_path, make_database):
    """The first box of the proposer is the whole image."""
    database = make_database([(10, 20), (5, 8)])
    proposals = propose_database(database, Recorder(), tmp_path / "p.h5")
    assert proposals.image_ids == ("000", "001")
    assert [boxes[0].tolist() for boxes in proposals.boxes] == [[0, 0, 19, 9], [0, 0, 7, 4]]


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_image_gets_its_boxes(tmp_path, make_database, jobs):
    database, proposer = make_database(SIZES), Recorder()
    proposals = propose_database(database, proposer, tmp_path / "p.h5", jobs=jobs, part_images=4)
    assert proposer.calls == len(SIZES)
    images = proposals.settings["images"]
    assert proposals.settings == {**proposer.settings, "database": "toys", "images": images}
    assert ProposalSet.load(tmp_path / "p.h5").fingerprint == proposals.fingerprint
    check_complete(tmp_path / "p.h5", database, Recorder())


def interrupt():
    raise KeyboardInterrupt


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_run_goes_on_where_it_was(tmp_path, make_database, jobs):
    database = make_database(SIZES)

    def interrupt_when_two_parts_are_written():
        wait_for(lambda: list(tmp_path.glob("p.h5.parts/*/0000003.h5")))
        interrupt()

    proposer = Recorder(10, interrupt_when_two_parts_are_written)
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, proposer, tmp_path / "p.h5", jobs=jobs, part_images=3)
    assert not (tmp_path / "p.h5").exists()
    rest = Recorder()
    propose_database(database, rest, tmp_path / "p.h5", jobs=jobs, part_images=3)
    assert rest.calls <= 5
    check_complete(tmp_path / "p.h5", database, Recorder())


def test_an_interrupted_part_keeps_the_images_that_are_done(tmp_path, make_database):
    database, proposer = make_database(SIZES), Recorder(6, interrupt)
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, proposer, tmp_path / "p.h5", part_images=len(SIZES))
    rest = Recorder()
    propose_database(database, rest, tmp_path / "p.h5", part_images=len(SIZES))
    assert rest.calls <= len(SIZES) - 4
    check_complete(tmp_path / "p.h5", database, Recorder())


def test_no_image_is_worked_on_when_an_interrupted_run_returns(tmp_path, make_database):
    """Python would be aborted at its end."""
    database = make_database(SIZES)
    entered, release, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow(Recorder):
        def __call__(self, image):
            if image.shape[0] == SIZES[1][0]:
                entered.set()
                release.wait(60)
                ended.set()
            elif image.shape[0] == SIZES[2][0]:
                entered.wait(60)
                threading.Timer(0.2, release.set).start()
                raise KeyboardInterrupt
            return super().__call__(image)

    threads = cv2.getNumThreads()
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, Slow(), tmp_path / "p.h5", jobs=2)
    assert ended.is_set()
    assert cv2.getNumThreads() == threads


def test_unreadable_image_is_named_and_the_images_before_it_stay(tmp_path, make_database):
    database = make_database(SIZES)
    content = database.image_path(7).read_bytes()
    database.image_path(7).write_bytes(content[:80])
    with pytest.raises(InputError, match=r"007\.png"):
        propose_database(database, Recorder(), tmp_path / "p.h5", part_images=3)
    database.image_path(7).unlink()
    with pytest.raises(InputError, match=r"007\.png does not exist"):
        propose_database(database, Recorder(), tmp_path / "p.h5", part_images=3)
    database.image_path(7).write_bytes(content)
    rest = Recorder()
    propose_database(database, rest, tmp_path / "p.h5", part_images=3)
    assert rest.calls == len(SIZES) - 7
    check_complete(tmp_path / "p.h5", database, Recorder())


def test_parts_of_other_settings_are_neither_used_nor_lost(tmp_path, make_database):
    database, path = make_database(SIZES), tmp_path / "p.h5"
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, Recorder(8, interrupt), path, part_images=3)
    other = Recorder(max_boxes=5)
    propose_database(database, other, path, part_images=3)
    assert other.calls == len(SIZES)
    rest = Recorder()
    propose_database(database, rest, path, part_images=3, overwrite=True)
    assert rest.calls == len(SIZES) - 7
    check_complete(path, database, Recorder())


def test_damaged_part_is_made_again(tmp_path, make_database):
    database, path = make_database(SIZES), tmp_path / "p.h5"
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, Recorder(8, interrupt), path, part_images=3)
    first, *_ = sorted((tmp_path / "p.h5.parts").glob("*/*.h5"))
    first.write_bytes(first.read_bytes()[:500])
    rest = Recorder()
    propose_database(database, rest, path, part_images=3)
    assert rest.calls == len(SIZES) - 4  # the seventh image was done, of a part that was not
    check_complete(path, database, Recorder())


def test_parts_removed_meanwhile_are_told(tmp_path, make_database):
    remove = Recorder(8, lambda: shutil.rmtree(tmp_path / "p.h5.parts"))
    with pytest.raises(InputError, match=r"0000000\.h5 was removed while it was made; run the same command again"):
        propose_database(make_database(SIZES), remove, tmp_path / "p.h5", part_images=3)
    assert not (tmp_path / "p.h5").exists()


def test_finished_file_is_kept_and_another_not_overwritten(tmp_path, make_database, capsys):
    database, path = make_database(SIZES), tmp_path / "p.h5"
    propose_database(database, Recorder(), path)
    again = Recorder()
    proposals = propose_database(database, again, path)
    assert again.calls == 0 and proposals.image_ids == database.image_ids
    assert f"done already: {path}" in capsys.readouterr().out

    content = path.read_bytes()
    with pytest.raises(
        InputError,
        match=r"p\.h5 was made with other settings \(max_boxes: None there, 5 wanted\); give another --out, or --ov",
    ):
        propose_database(database, Recorder(max_boxes=5), path)
    with pytest.raises(InputError, match="images: 11 there, 2 wanted"):
        subset = database.subset(["003", "001"])
        subset.name = database.name
        propose_database(subset, Recorder(), path)
    assert path.read_bytes() == content
    propose_database(database, Recorder(max_boxes=5), path, overwrite=True)
    assert ProposalSet.load(path).settings["max_boxes"] == 5


def test_parts_left_by_a_run_killed_while_removing_them_go(tmp_path, make_database):
    database, path, parts = make_database(SIZES), tmp_path / "p.h5", tmp_path / "p.h5.parts"
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, Recorder(10, interrupt), path, part_images=3)
    shutil.copytree(parts, tmp_path / "left")
    propose_database(database, Recorder(), path, part_images=3)
    shutil.move(tmp_path / "left", parts)
    propose_database(database, Recorder(), path, part_images=3)
    check_complete(path, database, Recorder())


def test_damaged_file_is_only_replaced_on_request(tmp_path, make_database):
    database, path = make_database(SIZES), tmp_path / "p.h5"
    path.write_bytes(b"not what it should be")
    with pytest.raises(InputError, match=r"no HDF5 file but something else.*replace it with --overwrite"):
        propose_database(database, Recorder(), path)
    propose_database(database, Recorder(), path, overwrite=True)
    check_complete(path, database, Recorder())


SLOW_RUN = """
import sys, time
from pathlib import Path
import numpy as np
from rcnn_svm.data import Annotation, ImageDatabase
from rcnn_svm.proposals.propose import propose_database
from rcnn_svm.proposals.sliding_window import SlidingWindow

folder, out, log = map(Path, sys.argv[1:4])
sizes = {f"{i:03d}": (10 + i, 20 + i) for i in range(11)}
none = np.zeros(0, int)
database = ImageDatabase("toys", ["cat"], list(sizes), lambda i: folder / f"{i}.png",
    lambda i: Annotation(sizes[i], np.zeros((0, 4), np.float32), none, none.astype(bool), none.astype(bool)))

class Slow(SlidingWindow):
    def __call__(self, image):
        with log.open("a") as stream:
            stream.write(f"{image.shape[0] - 10}\\n")
        time.sleep(0.05)
        while (folder / "hold").exists():
            time.sleep(0.01)
        return super().__call__(image)

propose_database(database, Slow(stride=float((sys.argv[4:] or [0.25])[0])), out, jobs=2, part_images=3)
"""


def test_killed_process_loses_at_most_its_last_parts(tmp_path, make_database):
    database = make_database(SIZES)
    out, log = tmp_path / "p.h5", tmp_path / "log"
    command = [sys.executable, "-c", SLOW_RUN, str(tmp_path / "images"), str(out), str(log)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob("p.h5.parts/*/0000003.h5")))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    log.unlink()

    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert not {0, 1, 2, 3, 4, 5} & set(map(int, log.read_text().split()))
    check_complete(out, database, SlidingWindow())


@pytest.mark.parametrize("stride", [0.25, 0.5])
def test_the_second_of_two_processes_on_one_file_is_told_and_harms_nothing(tmp_path, make_database, stride):
    """With the same settings as with others."""
    database, out, hold = make_database(SIZES), tmp_path / "p.h5", tmp_path / "images" / "hold"
    hold.touch()
    command = [sys.executable, "-c", SLOW_RUN, str(tmp_path / "images"), str(out), str(tmp_path / "log")]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "log").exists())
    second = subprocess.run([*command, str(stride)], stderr=subprocess.PIPE, text=True)
    assert f"p.h5 is made by another process ({first.pid} on " in second.stderr
    hold.unlink()
    assert first.wait() == 0
    check_complete(out, database, SlidingWindow())


def test_only_images_that_are_new_are_worked_on(tmp_path, make_database):
    """Of a file, and of parts that an interrupted run left."""
    database = make_database(SIZES)
    few = database.subset(database.image_ids[:6], "toys")
    propose_database(few, Recorder(), tmp_path / "p.h5")
    with pytest.raises(InputError, match=r"images: 6 there, 11 wanted.*--update to make again"):
        propose_database(database, Recorder(), tmp_path / "p.h5")
    stopped, rest = Recorder(5, interrupt), Recorder()
    with pytest.raises(KeyboardInterrupt):
        propose_database(database, stopped, tmp_path / "p.h5", part_images=3, update=True)
    fewer = database.subset(database.image_ids[1:], "toys")
    propose_database(fewer, rest, tmp_path / "p.h5", part_images=3, update=True)
    assert rest.calls < 5
    check_complete(tmp_path / "p.h5", fewer, Recorder())
    with pytest.raises(InputError, match=r"max_boxes: None there, 3 wanted.*or --overwrite"):
        propose_database(fewer, Recorder(max_boxes=3), tmp_path / "p.h5", update=True)
