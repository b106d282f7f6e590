"""What runs the network: a batch of crops in, features out.

Torch is the reference and runs on a GPU; on a CPU, ONNX Runtime and OpenVINO give the same numbers several times
sooner; which of the two is faster depends on network and processor.
`benchmarks/extraction.py` measures them and others side by side.

On a CPU every thread runs a batch of its own from beginning to end: threads that share a batch wait for each other
at every layer, and the next crops would have to be warped by a thread that the network does not leave a core to.
"""

from __future__ import annotations

import io
import queue
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from joblib import cpu_count
from torch import nn

from rcnn_svm.errors import InputError
from rcnn_svm.features.backbones import Backbone
from rcnn_svm.features.loaded_once import shared
from rcnn_svm.features.onnx_session import onnx_session
from rcnn_svm.parameters import plain
from rcnn_svm.threads import one_thread

KINDS = ("auto", "torch", "onnxruntime", "openvino")
DEVICES = ("auto", "cpu", "cuda")
# Enough work to hide what launching the kernels costs.
GPU_BATCH_SIZE = 256
# One worker's copies and warping run while the other's network does.
GPU_WORKERS = 2


class Runtime(Protocol):
    """What a runtime is.

    Attributes:
        kind: name of the runtime.
        device: device that the crops must be on.
        workers: number of threads that may call it at once, and must to keep the machine busy.
        batch_size: crops per call that it is fastest with.
    """

    kind: str
    device: torch.device
    workers: int
    batch_size: int

    def begin_worker(self) -> None:
        """Prepare the calling thread, once, before it calls the runtime."""

    def __call__(self, crops: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 3, S, S) float32 crops."""


class TorchRuntime:
    """Run a backbone with torch.

    Args:
        backbone: the network.
        device: device that the network runs on.
        threads: CPU threads; torch's own choice where None.
    """

    kind = "torch"

    def __init__(self, backbone: Backbone, device: torch.device, threads: int | None = None):
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = device
        on_gpu = device.type == "cuda"
        self.workers = GPU_WORKERS if on_gpu else 1
        self.batch_size = GPU_BATCH_SIZE if on_gpu else cpu_batch_size(backbone)
        self._module = backbone.module.to(device).to(memory_format=torch.channels_last)

    def begin_worker(self) -> None:
        """Give the calling thread a queue of its own on the GPU."""
        if self.device.type == "cuda":
            torch.cuda.set_stream(torch.cuda.Stream(self.device))

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 3, S, S) float32 crops."""
        batch = torch.as_tensor(crops, device=self.device).contiguous(memory_format=torch.channels_last)
        return self._module(batch).cpu().numpy()


class OnnxRuntime:
    """Run a backbone with ONNX Runtime on the CPU.

    Args:
        backbone: the network, converted in memory.
        threads: CPU threads; one per core where None.
    """

    kind = "onnxruntime"
    device = torch.device("cpu")

    def __init__(self, backbone: Backbone, threads: int | None = None):
        self.workers = threads or cpu_count()
        self.batch_size = cpu_batch_size(backbone)
        self._session = onnx_session(to_onnx(backbone))

    def begin_worker(self) -> None:
        """Do nothing: threads share the session."""

    def __call__(self, crops: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 3, S, S) float32 crops."""
        return self._session.run(None, {"crops": np.asarray(crops)})[0]


class OpenVinoRuntime:
    """Run a backbone with OpenVINO on the CPU, which is an extra of the package.

    Args:
        backbone: the network, converted in memory.
        threads: CPU threads; one per core where None.
        precision: number format of the calculation, `f32`, or `bf16` where the processor can.

    Raises:
        InputError: the package is not installed, or the processor cannot calculate so.
    """

    kind = "openvino"
    device = torch.device("cpu")

    def __init__(self, backbone: Backbone, threads: int | None = None, precision: str = "f32"):
        self.workers = threads or cpu_count()
        self.batch_size = cpu_batch_size(backbone)
        self._idle = openvino_requests(lambda: to_onnx(backbone), self.workers, precision)

    def begin_worker(self) -> None:
        """Do nothing: a thread takes an idle request for every batch."""

    def __call__(self, crops: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return the features, (N, D) float32, of (N, 3, S, S) float32 crops."""
        request = self._idle.get()
        try:
            return request.infer([np.asarray(crops)], share_inputs=True)[0]
        finally:
            self._idle.put(request)


CPU_RUNTIMES = {runtime.kind: runtime for runtime in (OnnxRuntime, OpenVinoRuntime)}


def find_device(device: str = "auto") -> torch.device:
    """Return where to compute: `cpu`, `cuda`, or for `auto` a GPU where there is one.

    Raises:
        InputError: an unknown device, or no GPU here.
    """
    if device not in DEVICES:
        raise InputError(f"device {plain(device)!r} is unknown; expected one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("torch finds no CUDA GPU on this machine; use --device cpu")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def choose_runtime(kind: str = "auto", device: str = "auto") -> tuple[str, torch.device]:
    """Return the kind of runtime that `make_runtime` takes here, and where it computes.

    Raises:
        InputError: an unknown kind or device, or one that is not here.
    """
    if kind not in KINDS:
        raise InputError(f"runtime {plain(kind)!r} is unknown; expected one of {', '.join(KINDS)}")
    found = find_device(device)
    if kind in CPU_RUNTIMES and device == "cuda":
        raise InputError(f"the {kind} runtime is for the CPU; use --runtime torch with --device cuda")
    if kind == "auto" and found.type == "cpu":
        kind = "onnxruntime"
    return ("torch" if kind == "auto" else kind), (torch.device("cpu") if kind in CPU_RUNTIMES else found)


@shared
def make_runtime(backbone: Backbone, kind: str = "auto", device: str = "auto", threads: int | None = None) -> Runtime:
    """Return what runs a backbone here.

    Args:
        backbone: the network.
        kind: `torch`, `onnxruntime`, `openvino`, or `auto`: torch on a GPU, ONNX Runtime on a CPU.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.
        threads: CPU threads; one per core where None.

    Raises:
        InputError: an unknown kind or device, no GPU here, a network that cannot be converted, or OpenVINO is not
            installed.
    """
    kind, found = choose_runtime(kind, device)
    if kind in CPU_RUNTIMES:
        return CPU_RUNTIMES[kind](backbone, threads)
    return TorchRuntime(backbone, found, threads)


def cpu_batch_size(backbone: Backbone) -> int:
    """Return the crops per call that are fastest on a CPU.

    So few that a layer's output is still in the cache when the next layer reads it: for lite0, 2 crops of 224 pixels
    are 18 % faster than 8, and 8 of 128 pixels 22 % faster than 64. Fully connected layers on a flattened map are
    larger than the cache themselves, and are read once per call.
    """
    if backbone.flattens_map:
        return 64
    return min(64, max(1, 2**17 // backbone.crop_size**2))


def openvino_requests(model: Callable[[], bytes], workers: int, precision: str = "f32") -> queue.SimpleQueue:
    """Return as many OpenVINO requests as threads may run at once, each for one thread at a time.

    Args:
        model: returns the ONNX model.
        workers: threads.
        precision: as in `OpenVinoRuntime`.

    Raises:
        InputError: as `OpenVinoRuntime`.
    """
    try:
        import openvino
    except ImportError as error:
        raise InputError(
            "the openvino runtime needs the package of this name: pip install 'rcnn-svm[openvino]'"
        ) from error
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError("this processor has no bfloat16 arithmetic; use float32")
    options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": workers, "INFERENCE_NUM_THREADS": workers}
    compiled = core.compile_model(core.read_model(model()), "CPU", options)
    # OpenVINO fills a table when it is first asked for numpy's name of a type, and two threads that ask at once hang.
    openvino.Type.f32.to_dtype()
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(workers):
        idle.put(compiled.create_infer_request())
    return idle


def to_onnx(backbone: Backbone) -> bytes:
    """Return the backbone as an ONNX model with a free batch size: `crops` in, `features` out.

    Raises:
        InputError: a network that cannot be converted.
    """
    example = torch.zeros(2, 3, backbone.crop_size, backbone.crop_size)
    free = {"crops": {0: "batch"}, "features": {0: "batch"}}
    return export_onnx(backbone.module, example, backbone.settings["name"], ["features"], free)


@one_thread()
def export_onnx(
    module: nn.Module, example: torch.Tensor, name: str, outputs: Sequence[str], free: Mapping[str, Mapping[int, str]]
) -> bytes:
    """Return a network as an ONNX model.

    Args:
        module: the network.
        example: an input.
        name: name of the network, for messages.
        outputs: names of its outputs.
        free: name of the input, then names of outputs -> axis -> its name, of the axes whose length is free.

    Raises:
        InputError: a network that cannot be converted.
    """
    stream = io.BytesIO()
    # The tracing exporter needs no further package; its deprecation and shape notes do not concern the user.
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (example,),
                stream,  # type: ignore[arg-type]  # the tracing exporter writes to streams, too
                dynamo=False,
                input_names=[next(iter(free))],
                output_names=list(outputs),
                dynamic_axes=free,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise InputError(
                f"backbone {name} cannot be converted to ONNX ({str(error).splitlines()[0]}); use --runtime torch"
            ) from error
    return stream.getvalue()
