"""ONNX files, with ONNX's own NonMaxSuppression in the graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset18 as op
from onnxscript import optimizer
from torch import Tensor

from ...exported.selection import kept_by_nms
from .deployed import Deployed

# A batch of one would let torch take the number of images for a constant.
_IMAGES = 2


@torch.library.custom_op("fdet_export::kept", mutates_args=())
def kept(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    number: int,
    threshold: float,
    iou: float,
    limit: int,
) -> Tensor:
    """Return which boxes NMS keeps, as `kept_by_nms`; in an ONNX file it is NonMaxSuppression."""
    return kept_by_nms(boxes, scores, groups, number, threshold, iou, limit)


@kept.register_fake
def _(boxes: Tensor, scores: Tensor, *_others: Any) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def _kept_in_onnx(
    boxes: Any, scores: Any, groups: Any, number: int, threshold: float, iou: float, limit: int
) -> Any:
    """Build the nodes of `kept`.

    NonMaxSuppression compares the boxes of an image within each class. The classes are the groups; a box has
    the score 0 in all but its own.
    """
    each = op.Constant(value_ints=list(range(number)))
    own = op.Equal(op.Unsqueeze(groups, [1]), op.Unsqueeze(each, [0, 2]))
    by_group = op.Where(own, op.Unsqueeze(scores, [1]), op.Constant(value_float=0.0))
    found = op.NonMaxSuppression(
        boxes,
        by_group,
        op.Constant(value_ints=[limit]),
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[threshold]),
    )
    image_and_box = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
    none = op.Mul(scores, op.Constant(value_float=0.0))
    count = op.Slice(op.Shape(found), [0], [1])
    ones = op.Expand(op.Constant(value_float=1.0), count)
    return op.Greater(op.ScatterND(none, image_and_box, ones), op.Constant(value_float=0.5))


def exported_program(model: Deployed) -> torch.export.ExportedProgram:
    """Return the graph of a detector, for any number of canvases."""
    rows, columns = model.features.canvas_hw
    images = torch.zeros(_IMAGES, 3, rows, columns)
    sizes = torch.tensor([[rows, columns]] * _IMAGES)
    with _quietly(), torch.no_grad():
        # What depends on the canvas alone is computed once and kept; a graph then holds it as a constant.
        model(images, sizes)
        any_number = {0: torch.export.Dim.DYNAMIC}
        return torch.export.export(model, (images, sizes), dynamic_shapes=(any_number, any_number))


def write_onnx(model: Deployed, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a detector as ONNX, with texts by name as its metadata."""
    model.kept = torch.ops.fdet_export.kept
    with _quietly():
        program = torch.onnx.export(
            exported_program(model),
            dynamo=True,
            verbose=False,
            optimize=False,
            input_names=["images", "sizes"],
            output_names=list(model.outputs),
            custom_translation_table={torch.ops.fdet_export.kept.default: _kept_in_onnx},
        )
        assert program is not None
        # The rules of the exporter's own optimisation lose inputs where a value is clipped twice
        # (onnxscript 0.7.2); runtimes have such rules too.
        optimizer.inline(program.model)
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.save(proto, path)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the exporter says of its own inner life from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
