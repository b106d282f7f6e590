"""Every runtime gives torch eager's numbers."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import cpu_count
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features import backbones
from rcnn_svm.features.backbones import Backbone, load_backbone
from rcnn_svm.features.runtime import make_runtime
from tests.small_networks import small_alexnet


@pytest.mark.parametrize("kind", ["torch", "onnxruntime"])
def test_the_mean_of_four_pixels_by_hand(kind):
    module = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    backbone = Backbone(module, 3, 2, 0, True, (0.0,) * 3, (1.0,) * 3, {"name": "mean"})
    crop = np.array([[[1, 2], [3, 4]], [[0, 0], [0, 2]], [[-1, -1], [-1, -1]]], np.float32)
    assert make_runtime(backbone, kind, "cpu", threads=1)(np.stack([crop, -crop])).tolist() == [
        [2.5, 0.5, -1],
        [-2.5, -0.5, 1],
    ]


@pytest.fixture
def narrow_alexnet():
    """Have the backbone alexnet be a narrow one: its 60 million weights say nothing more of a runtime."""
    with small_alexnet():
        yield


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("name", "layer", "weights", "crop_size"),
    [("lite0", None, None, 64), ("alexnet", "fc7", "random", 80), ("alexnet", "pool5", "random", 80)],
)
def test_runtimes_of_the_cpu_equal_torch(name, layer, weights, crop_size, kind, narrow_alexnet):
    if kind == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is an extra")
    backbone = load_backbone(name, layer, weights, crop_size=crop_size)
    crops = np.random.default_rng(0).normal(size=(5, 3, crop_size, crop_size)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the exporter's talk must not reach the user
        fast = make_runtime(backbone, kind, threads=1)
    with torch.inference_mode():
        expected = backbone.module(torch.from_numpy(crops)).numpy()
    assert np.abs(expected).mean() > 1e-3
    for count in (5, 1):  # the size of a batch is free
        features = fast(crops[:count])
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected[:count], rtol=1e-3, atol=2e-5)
    with ThreadPoolExecutor(3) as pool:  # threads do not take each other's features
        batches = [crops[i : i + 1] for i in range(5)] * 4
        features = np.concatenate(list(pool.map(fast, batches)))
    np.testing.assert_allclose(features, np.concatenate([expected] * 4), rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(make_runtime(backbone, "torch", "cpu")(crops), expected, rtol=1e-3, atol=2e-5)


def test_automatic_choice(monkeypatch):
    backbone = load_backbone("lite0", crop_size=32)
    # A test cannot take out a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert make_runtime(backbone).kind == "onnxruntime"
    assert make_runtime(backbone, "torch").device.type == "cpu"
    with pytest.raises(InputError, match="--device cpu"):
        make_runtime(backbone, device="cuda")


def test_number_of_workers_is_the_number_of_threads():
    backbone = load_backbone("lite0", crop_size=32)
    assert make_runtime(backbone, "onnxruntime", threads=3).workers == 3
    assert make_runtime(backbone, "onnxruntime").workers == cpu_count()


@pytest.mark.parametrize("options", [{"kind": "tensorrt"}, {"device": "tpu"}])
def test_refuses_the_unknown(options):
    with pytest.raises(InputError, match="unknown"):
        make_runtime(load_backbone("lite0", crop_size=32), **options)


def test_openvino_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'rcnn-svm\[openvino\]'"):
        make_runtime(load_backbone("lite0", crop_size=32), "openvino")


def test_onnxruntime_stays_on_the_cpu(monkeypatch):
    backbone = load_backbone("lite0", crop_size=32)
    # A test cannot put in a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert make_runtime(backbone, "onnxruntime").device.type == "cpu"
    with pytest.raises(InputError, match="--runtime torch"):
        make_runtime(backbone, "onnxruntime", "cuda")


def test_onnx_runtime_tells_nobody_of_this_machine(tmp_path):
    # Its telemetry would begin at its import: a module in its place looks at what it would see.
    (tmp_path / "onnxruntime.py").write_text("import os\nprint(os.environ.get('ORT_DISABLE_TELEMETRY'))\n")
    root = str(Path(__file__).parents[2])
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    variables.pop("ORT_DISABLE_TELEMETRY", None)
    argv = [sys.executable, "-c", "import rcnn_svm.features.runtime"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, env=variables).stdout == "1\n"


def test_a_network_is_loaded_and_converted_in_one_thread(monkeypatch):
    # Two commands begun at once on two cores took minutes to load a network, as torch's threads waited for each other.
    seen = []

    class Layer(nn.Module):
        def forward(self, crops):
            seen.append(torch.get_num_threads())
            return crops.mean((2, 3))

    def build(size):
        return nn.Sequential(Layer(), nn.Linear(3, 2), nn.Linear(2, 1000))

    monkeypatch.setitem(
        backbones.SOURCES, "two", lambda: backbones.Source(build, dict, crop_size=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make_runtime(load_backbone("two", weights="random"), "onnxruntime", "cpu", threads=1)
        backbones.load_trunk("two", weights="random")
        assert seen and set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


TOGETHER = """
import sys, threading
import numpy as np, openvino
from rcnn_svm.features.runtime import openvino_requests

number = openvino.op.Parameter(openvino.Type.f32, openvino.Shape([1]))
model = openvino.Model([openvino.opset13.add(number, number)], [number], "twice")
openvino.Core.read_model = lambda self, given: given
idle = openvino_requests(lambda: model, 8)
sys.setswitchinterval(1e-6)
begin = threading.Barrier(8)

def run():
    request = idle.get()
    begin.wait()
    assert request.infer([np.ones(1, np.float32)])[0] == 2

threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_begin_at_once_do_not_wait_for_each_other():
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    # In OpenVINO 2026 the table of numpy's types, filled by two threads at once, hung both.
    subprocess.run([sys.executable, "-c", TOGETHER], check=True, timeout=120)
