"""Nothing that is read is executed: files that run a program where a careless reader opens them, one of each kind.

Every payload writes a marker. Each test shows first that it does so with the reader that would be at hand, so that the
absence of the marker after ours says something.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import xml.sax
from pathlib import Path

import cv2
import h5py
import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.io
import torch
import yaml
from onnx import TensorProto, helper
from PIL import Image

from rcnn_svm.artefacts.npz import read_npz
from rcnn_svm.cli.main import main
from rcnn_svm.data import load_csv, load_xml_folder, load_yolo
from rcnn_svm.data.video import read_frames
from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import read_state_dict
from rcnn_svm.features.onnx_session import onnx_session
from rcnn_svm.matlab import read_mat_arrays
from rcnn_svm.reports.inspection import inspect_artefact

ROOT = Path(__file__).resolve().parents[1]


class Marker:
    """A file that payloads write."""

    def __init__(self, path: Path):
        self.path = path

    def fires(self, read) -> bool:
        """Return whether a reader runs the payload, whatever else it does."""
        with contextlib.suppress(Exception):
            read()
        there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return there


class Payload:
    """What runs a program when it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


@pytest.fixture
def marker(tmp_path):
    return Marker(tmp_path / "marker")


@pytest.fixture
def payload(marker):
    return Payload(marker.path)


@pytest.fixture
def secret(tmp_path):
    """A file beside the input that no reader has to do with."""
    path = tmp_path / "secret.bin"
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    return path


def refused(read, *hidden: str) -> None:
    """Check that a reader refuses its input, in a sentence that shows nothing of other files."""
    with pytest.raises(InputError) as caught:
        read()
    assert not any(text in str(caught.value) for text in hidden)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_not_unpickled(tmp_path, marker, payload, zipped):
    path = tmp_path / "weights.pt"
    torch.save({"weight": payload}, path, _use_new_zipfile_serialization=zipped)
    assert marker.fires(lambda: torch.load(path, weights_only=False))
    assert not marker.fires(lambda: refused(lambda: read_state_dict(path)))


def test_weights_that_joblib_wrote_are_not_unpickled(tmp_path, marker, payload):
    path = tmp_path / "weights.pt"
    joblib.dump(payload, path)
    assert marker.fires(lambda: joblib.load(path))
    assert not marker.fires(lambda: refused(lambda: read_state_dict(path)))


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_arrays_of_objects_are_not_unpickled(tmp_path, marker, payload, save):
    path = tmp_path / "inputs.npz"
    with path.open("wb") as stream:
        save(stream, np.array([payload], object))
    assert marker.fires(lambda: dict(enumerate(np.load(path, allow_pickle=True).items())))
    assert not marker.fires(lambda: refused(lambda: read_npz(path, path)))
    assert not marker.fires(lambda: main(["parity", str(path)]))


READERS = {
    "x.npz": lambda path: read_npz(path, path),
    "x.mat": lambda path: read_mat_arrays(path, ["boxes"]),
    "x.h5": inspect_artefact,
    "x.pt": read_state_dict,
    "x.onnx": lambda path: onnx_session(path.read_bytes()),
    "x.csv": lambda path: load_csv(path, path.parent),
    "x.yaml": load_yolo,
    "x.avi": lambda path: next(read_frames(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_under_any_name_is_refused(tmp_path, marker, payload, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(payload))
    assert marker.fires(lambda: pickle.loads(path.read_bytes()))
    assert not marker.fires(lambda: refused(lambda: READERS[name](path)))
    refused(lambda: READERS[name](path))


def test_a_pickle_in_an_hdf5_file_is_bytes(tmp_path, marker, payload):
    """In an attribute where JSON is expected, in an opaque and in an object dataset."""
    path, pickled = tmp_path / "x.h5", pickle.dumps(payload)
    with h5py.File(path, "w") as handle:
        handle.attrs["kind"], handle.attrs["schema"] = "detector", 1
        handle.attrs["settings"] = np.void(pickled)
        handle["W"] = np.void(pickled)
        handle.create_dataset("names", (1,), h5py.vlen_dtype(np.uint8))[0] = np.frombuffer(pickled, np.uint8)
    with h5py.File(path) as handle:
        stored = handle.attrs["settings"].tobytes()
    assert marker.fires(lambda: pickle.loads(stored))
    assert not marker.fires(lambda: refused(lambda: inspect_artefact(path)))
    assert not marker.fires(lambda: main(["test", "--features", str(tmp_path), "--model", str(path)]))


def test_matlab_objects_are_refused_or_left_out(tmp_path, marker, payload):
    """MATLAB's files have no code; what Python puts into them as bytes stays bytes."""
    path, pickled = tmp_path / "x.mat", np.frombuffer(pickle.dumps(payload), np.uint8)
    scipy.io.savemat(path, {"gt": pickled, "boxes": np.array([{"code": pickled}], object)})
    assert marker.fires(lambda: pickle.loads(scipy.io.loadmat(path)["gt"].tobytes()))
    assert not marker.fires(lambda: read_mat_arrays(path, ["gt", "boxes"]))


def test_tags_of_yaml_make_no_objects(tmp_path, marker):
    text = f"path: .\ntrain: images\nnames: [cat]\nval: !!python/object/apply:os.system ['touch {marker.path}']\n"
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text(text)
    assert marker.fires(lambda: yaml.load(text, Loader=yaml.UnsafeLoader))
    assert not marker.fires(lambda: load_yolo(tmp_path))


def test_entities_of_xml_read_no_other_file(tmp_path):
    (tmp_path / "secret.txt").write_text("password")
    document = (
        f'<!DOCTYPE annotation [<!ENTITY stolen SYSTEM "{(tmp_path / "secret.txt").as_uri()}">]>'
        "<annotation><object><name>&stolen;</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
        "</bndbox></object></annotation>"
    )
    for folder in ("xml", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "xml" / "a.xml").write_text(document)
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    seen: list[str] = []

    class Handler(xml.sax.ContentHandler):
        def characters(self, content):
            seen.append(content)

    careless = xml.sax.make_parser()
    careless.setFeature(xml.sax.handler.feature_external_ges, True)
    careless.setContentHandler(Handler())
    careless.parse(str(tmp_path / "xml" / "a.xml"))
    assert "password" in seen
    refused(lambda: load_xml_folder(tmp_path / "xml", tmp_path / "images"), "password")


def test_entities_of_xml_do_not_fill_the_memory(tmp_path):
    names = [f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 12)]
    document = f'<!DOCTYPE annotation [<!ENTITY e0 "{"x" * 10}">{"".join(names)}]><annotation>&e11;</annotation>'
    for folder in ("xml", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "xml" / "a.xml").write_text(document)
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    refused(lambda: load_xml_folder(tmp_path / "xml", tmp_path / "images"))


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and cc")
def test_filters_of_hdf5_are_refused_before_they_are_loaded(tmp_path, marker):
    """A filter that HDF5 does not have is a library that it looks for in a folder, and loads."""
    (tmp_path / "filter.c").write_text(
        f"""
        #include <fcntl.h>
        #include <unistd.h>
        __attribute__((constructor)) static void run(void) {{ close(open("{marker.path}", O_CREAT | O_WRONLY, 0600)); }}
        """
    )
    folder, path = tmp_path / "plugins", tmp_path / "x.h5"
    folder.mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libfilter.so", tmp_path / "filter.c"], check=True)
    with h5py.File(path, "w") as handle:
        handle.attrs["kind"] = "proposals"
        filtered = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        filtered.set_chunk((4,))
        filtered.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((4,))
        boxes = h5py.h5d.create(handle.id, b"boxes", h5py.h5t.IEEE_F32LE, space, filtered)
        boxes.write_direct_chunk((0,), bytes(16))

    def run(code: str) -> subprocess.CompletedProcess:
        variables = {**os.environ, "HDF5_PLUGIN_PATH": str(folder), "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-c", code, path], env=variables, capture_output=True, text=True)

    assert marker.fires(lambda: run("import h5py, sys; h5py.File(sys.argv[1])['boxes'][()]"))
    told = run("import sys; from rcnn_svm.__main__ import main; sys.argv[1:] = ['inspect', sys.argv[1]]; main()")
    assert not marker.fires(lambda: None)
    assert "x.h5 is refused: /boxes needs filter 32099 of HDF5" in told.stderr, told


@pytest.mark.parametrize("how", ["initializer", "constant"])
def test_networks_read_no_other_file(tmp_path, secret, how, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = _network("Mul", external=secret.name, constant=how == "constant")
    onnx.save_model(model, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones(4, np.float32)})[0].tolist() == [0, 1, 2, 3]
    refused(lambda: onnx_session((tmp_path / "x.onnx").read_bytes()))
    assert onnx_session(_network("Mul").SerializeToString()) is not None


def test_networks_have_no_loops_and_no_operators_of_others():
    body = helper.make_graph([], "body", [], [])
    loop = helper.make_node("Loop", ["", "", "x"], ["y"], body=body)
    for node, said in (
        (loop, "it has a Loop"),
        (helper.make_node("Evil", ["x"], ["y"], domain="evil"), "cannot make this network ready"),
    ):
        model = helper.make_model(
            _graph([node]), opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
        )
        with pytest.raises(InputError, match=said):
            onnx_session(model.SerializeToString())


def _network(operator: str, external: str = "", constant: bool = False) -> onnx.ModelProto:
    """Return a network of one operator of its input and four values, in it or in another file."""
    values = helper.make_tensor("w", TensorProto.FLOAT, [4], np.arange(4, dtype=np.float32))
    if external:
        values.ClearField("float_data")
        values.data_location = TensorProto.EXTERNAL
        for key, value in (("location", external), ("offset", "0"), ("length", "16")):
            entry = values.external_data.add()
            entry.key, entry.value = key, value
    node = helper.make_node(operator, ["x", "w"], ["y"])
    nodes = [helper.make_node("Constant", [], ["w"], value=values), node] if constant else [node]
    return helper.make_model(
        _graph(nodes, [] if constant else [values]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def _graph(nodes, values=()):
    ends = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    return helper.make_graph(nodes, "graph", *([end] for end in ends), list(values))


def test_a_playlist_reads_no_other_video(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "secret.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(3):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    path = tmp_path / "x.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.avi\n")
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()[0]
    refused(lambda: next(read_frames(path)))
    assert len(list(read_frames(tmp_path / "secret.avi"))) == 3


def test_names_of_images_are_no_commands(tmp_path, marker):
    name = f"a; touch {marker.path.name}; $(touch {marker.path.name}).png"
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (20, 20)).save(images / name)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f'image,x1,y1,x2,y2,class\n"{name}",1,1,9,9,"$(touch {marker.path.name})"\n')
    with contextlib.chdir(tmp_path):
        assert marker.fires(lambda: os.system(f"ls {images}/{name} >{os.devnull} 2>&1"))
        words = ["check", "--csv", str(boxes), "--images", str(images), "--out", str(tmp_path / "labels.jpg")]
        assert not marker.fires(lambda: main(words))
    assert (tmp_path / "labels.jpg").exists()


@pytest.fixture
def shadowed(tmp_path, marker):
    """A folder, as of downloaded images, with modules of the names of libraries."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in ("numpy", "h5py", "torch", "cv2", "PIL", "yaml", "numba", "rcnn_svm", "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(marker.path)!r}).touch()\n")
    with h5py.File(folder / "x.h5", "w") as handle:  # without a checksum, so that another process reads it first
        handle.attrs["kind"] = "proposals"
    return folder


def test_modules_of_the_working_folder_are_not_imported_by_the_command(tmp_path, marker, shadowed):
    """Nor by the process that it starts."""
    program = tmp_path / "bin" / "rcnn-svm"
    program.parent.mkdir()
    program.write_text("import sys\nfrom rcnn_svm.__main__ import main\nsys.exit(main())\n")  # as pip writes it

    def run(*words: str | Path) -> subprocess.CompletedProcess:
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, *words], cwd=shadowed, env=variables, capture_output=True, text=True)

    assert marker.fires(lambda: run("-c", "import numpy"))
    told = run(program, "inspect", "x.h5")
    assert not marker.fires(lambda: None)
    assert told.returncode == 2 and "x.h5" in told.stderr and "Traceback" not in told.stderr, told


def test_compiled_loops_are_not_taken_from_the_working_folder(tmp_path):
    """Numba's cache is pickled, and a file of the working folder says where it is."""
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: stolen\n")
    variables = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    variables["PYTHONPATH"] = str(ROOT)

    def cache_dir(imported: str, **more: str) -> str:
        code = f"import {imported}, numba; print(numba.config.CACHE_DIR)"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, env={**variables, **more}, stdout=-1, text=True).stdout.strip()

    assert cache_dir("sys") == "stolen"
    assert cache_dir("rcnn_svm.compiled") == ""
    assert cache_dir("rcnn_svm.compiled", NUMBA_CACHE_DIR="mine") == "mine"
