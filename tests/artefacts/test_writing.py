"""Files on full disks, folders that several machines share, and power cuts."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rcnn_svm.artefacts.files import atomic_folder, atomic_path, atomic_stream, write_text
from rcnn_svm.errors import InputError
from rcnn_svm.reports.annotated_video import AnnotatedVideo

# Each writes more than a tenth of a megabyte to `path`.
WRITERS = {
    "text": "write_text(path, 'x' * 200_000)",
    "model": "Detector(('cat',), np.ones((50_000, 1)), np.ones(1), 20.0).save(path)",
    "checkpoint": "Checkpoint(path, {}).save(1, {'w': np.ones(50_000), 'v': np.ones(50_000)})",
    "small arrays": "Checkpoint(path, {}).save(1, {f'class/{n}/w': np.ones(100) for n in range(1000)})",
    "JPEG": "save_picture(Image.fromarray(noise), path + '.jpg')",
    "PNG": "save_picture(Image.fromarray(noise), path + '.png')",
    "figure": "figure = new_figure(20, 20); figure.figimage(noise); save_figure(figure, path)",
    "torch": "import torch\nwith atomic_stream(path) as stream: torch.save({'w': torch.ones(100_000)}, stream)",
    "npz": "with atomic_stream(path) as stream: np.savez(stream, a=noise)",
    "COCO": "write_coco_results(Detections(('a',), ('cat',), [0] * 5000, [0] * 5000, noise[:5000, 0, :1] * 0 + "
    "np.array([[0, 0, 9, 9]]) + np.zeros((5000, 4)), np.ones(5000)), path)",
}
# Each in a process of its own, which it may end, forked from one that holds the libraries and no threads.
FULL = """
import json, os, resource, sys
import numpy as np
from PIL import Image
from rcnn_svm.artefacts import Checkpoint, write_text
from rcnn_svm.artefacts.files import atomic_stream
from rcnn_svm.detection import Detections, Detector
from rcnn_svm.errors import InputError
from rcnn_svm.evaluation.formats import write_coco_results
from rcnn_svm.reports.pictures import save_picture
from rcnn_svm.reports.style import new_figure, save_figure
noise = np.random.default_rng(0).integers(256, size=(5000, 50, 3), dtype=np.uint8)
codes = {}
for name, code in json.loads(sys.argv[1]).items():
    child = os.fork()
    if child:
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        continue
    os.makedirs(name)
    path = os.path.join(name, "x")
    for stream, descriptor in (("printed", 1), ("errors", 2)):
        os.dup2(os.open(f"{name}.{stream}", os.O_CREAT | os.O_WRONLY), descriptor)
    resource.setrlimit(resource.RLIMIT_FSIZE, (28_672, 28_672))
    try:
        exec(code)
    except InputError as error:
        print(error)
        sys.exit(2)
    sys.exit(0)
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """The folder below which every writer had one of its own on a full disk, and the exit codes of all."""
    root = tmp_path_factory.mktemp("full")
    argv = [sys.executable, "-c", FULL, json.dumps(WRITERS)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, cwd=root, env=variables)
    return root, json.loads(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_writes_on_a_full_disk_ends_with_one_sentence_and_leaves_nothing(full_disk, writer):
    """HDF5 and torch ended the process, Pillow left a picture that was cut."""
    root, codes = full_disk
    printed, errors = ((root / f"{writer}.{stream}").read_text() for stream in ("printed", "errors"))
    assert codes[writer] == 2 and not errors, errors
    assert printed.startswith("cannot write") and os.strerror(errno.EFBIG) in printed
    assert not list((root / writer).iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_after_the_first_failed_write_is_read_as_from_memory(tmp_path, seed):
    """HDF5 reads what it wrote, and crashed on what it then got."""
    import resource

    rng, memory = random.Random(seed), io.BytesIO()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match="cannot write"), atomic_stream(tmp_path / "x") as stream:
        resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randrange(1000), before[1]))
        try:
            for _ in range(100):
                place, count = rng.randrange(1200), rng.randrange(100)
                assert stream.seek(place) == memory.seek(place)
                if rng.random() < 0.5:
                    data = rng.randbytes(count)
                    assert stream.write(data) == memory.write(data) == count
                else:
                    assert stream.read(count) == memory.read(count)
                assert stream.tell() == memory.tell()
                assert stream.seek(0, os.SEEK_END) == memory.seek(0, os.SEEK_END)
            stream.write(bytes(1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_found_behind_other_errors(tmp_path):
    with pytest.raises(InputError, match="No space left on device"), atomic_path(tmp_path / "x"):
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as error:
            raise ValueError("the encoder failed") from error


def test_an_error_handled_before_is_not_the_reason(tmp_path):
    try:
        raise OSError(errno.ENOSPC, "x")
    except OSError:
        with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x"):
            print(1 / 0)


def _film(path: Path) -> None:
    with AnnotatedVideo(path, 5.0) as video:
        video.add(np.zeros((32, 48, 3), np.uint8))


@pytest.mark.parametrize("write", [lambda path: write_text(path, "new"), _film], ids=["text", "video"])
def test_the_folder_is_synced_after_the_rename(write, tmp_path, monkeypatch):
    """After a power cut there is the new file under its name, not the old one."""
    synced = []

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("folder" if is_folder else "file")
        # The folder holds the new file when it is synced, the file has no name yet.
        assert (tmp_path / "x").exists() == is_folder

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "x")
    assert synced == ["file", "folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs the names of open files")
def test_a_folder_is_on_disk_with_all_that_is_in_it_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.rpartition(".")[2])
        assert (tmp_path / "a/x").exists() == (len(synced) == 6)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_folder(tmp_path / "a" / "x") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("new")
        (folder / "other").write_text("new")
    # The new name in tmp_path; then what is in the folder, and the folder; then its name.
    assert synced == [tmp_path.name, "file", "deep", "other", "tmp", "a"]


def test_a_folder_that_is_not_finished_leaves_the_one_before(tmp_path):
    with atomic_folder(tmp_path / "x") as folder:
        (folder / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "x", overwrite=True) as folder:
        (folder / "new").touch()
        raise ZeroDivisionError
    with pytest.raises(OSError), atomic_folder(tmp_path / "x") as folder:
        (folder / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["x", "x/old"]
    with atomic_folder(tmp_path / "x", overwrite=True) as folder:
        (folder / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["x", "x/new"]


def test_two_writers_of_one_name_have_two_temporary_files(tmp_path):
    """As two containers with one host name and one process number."""
    with atomic_path(tmp_path / "x") as first, atomic_path(tmp_path / "x") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "x").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


HALF = """
import os, sys
from rcnn_svm.artefacts.files import atomic_folder, atomic_path
with atomic_folder(sys.argv[1]) as folder, atomic_path(sys.argv[1]) as temporary:
    (folder / "file").write_text("half")
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file is taken for abandoned")
def test_only_what_a_killed_process_of_ours_left_is_removed(tmp_path):
    """Another container's process may have the number of one that is dead here."""
    subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "x")])
    ours, _ = tmp_path.iterdir()
    processes = ours.name.split(".")[2]
    theirs = ours.with_name(ours.name.replace(processes, f"{int(processes, 16) ^ 1:08x}"))
    theirs.write_text("half")
    write_text(tmp_path / "x", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"x", theirs.name}


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250)
    write_text(path, "whole")
    assert path.read_text() == "whole"
