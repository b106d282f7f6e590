"""An ONNX model runs, or one sentence says why it does not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from rcnn_svm.errors import InputError
from rcnn_svm.features.onnx_session import onnx_session, run_session


@pytest.fixture
def model() -> bytes:
    """y = x + w, for vectors of length 2."""
    ends = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "graph", *([end] for end in ends), [values])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_a_sum_by_hand(model):
    assert run_session(onnx_session(model), {"x": np.float32([10, 20])})[0].tolist() == [11, 22]


def test_inputs_that_do_not_fit_are_one_sentence(model):
    with pytest.raises(InputError, match=r"ONNX Runtime cannot run this network: .*; export it again"):
        run_session(onnx_session(model), {"x": np.zeros(3, np.float32)})


def test_any_cut_is_one_sentence_and_prints_nothing(model, capfd):
    for length in range(len(model)):
        try:
            onnx_session(model[:length])
        except InputError as error:
            assert str(error).endswith("export it again")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x0b", b"\x3a\x7f", b"\x0d\x00", b"\x39\x00", b"no model"])
def test_what_is_no_message_is_damaged(content):
    with pytest.raises(InputError, match="this network is damaged: it is no ONNX model"):
        onnx_session(content)
