"""Files of every runtime give what the module gives, for every neck and head."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from fdet.heads.build import HEADS
from fdet.pipeline.exported.description import read_description
from fdet.pipeline.exported.runtimes import RUNTIMES, open_session
from fdet.pipeline.tools.exporting.deployed import Deployed
from fdet.pipeline.tools.exporting.formats import WRITE

from ....heads.reference import PAIRS
from .detectors import CANVASES, batch_of, detector_of

pytestmark = pytest.mark.slow


def test_every_runtime_is_written():
    assert set(WRITE) == set(RUNTIMES)


def agree(exported, tmp_path, runtime, neck, head, canvas_hw, **settings):
    """One image comes out of the file as it comes out of the module, and so does a batch."""
    features, detector = detector_of(neck, head, canvas_hw)
    model = Deployed(features, detector, **settings)
    path = tmp_path / f"a{RUNTIMES[runtime].suffix}"
    description = replace(exported.description, runtime=runtime, canvas_hw=canvas_hw)
    WRITE[runtime](model, path, description)
    assert read_description(path) == description
    session = open_session(path, 1)
    for images in (1, 3):
        x, sizes = batch_of(canvas_hw, images)
        with torch.no_grad():
            expected = model(x, sizes)
        for mine, theirs in zip(session(x.numpy(), sizes.numpy()), expected, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-3)
        assert int((expected[1] > 0).sum()) > 0


@pytest.mark.parametrize(("number", "pair"), list(enumerate(PAIRS)))
def test_onnx_has_every_neck_and_head(number, pair, exported, tmp_path):
    """Canvases of both sizes take turns."""
    agree(exported, tmp_path, "onnx", *pair, CANVASES[number % 2])


@pytest.mark.parametrize("neck", ["fpn", "vit-pyramid"])
def test_raw_outputs_in_onnx(neck, exported, tmp_path):
    agree(exported, tmp_path, "onnx", neck, "retinanet", CANVASES[1], nms=False)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("runtime", ["pt2", "openvino"])
def test_other_runtimes_have_every_head(runtime, head, exported, tmp_path):
    agree(exported, tmp_path, runtime, "fpn", head, CANVASES[0])


def test_the_operators_are_those_of_onnx_alone(exported):
    proto = onnx.load(exported.model)
    assert {entry.domain for entry in proto.opset_import} <= {"", "ai.onnx"}
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert "NonMaxSuppression" in {node.op_type for node in proto.graph.node}
