"""The files of each runtime, written from a detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ....cache.errors import InputError
from ...exported.description import Description
from ...exported.runtimes import ENTRY
from .deployed import Deployed
from .onnx_file import exported_program, write_onnx

Write = Callable[[Deployed, Path, Description], None]


def _pt2(model: Deployed, path: Path, description: Description) -> None:
    extra = {ENTRY: description.to_text()}
    torch.export.save(exported_program(model), path, extra_files=extra)


def _onnx(model: Deployed, path: Path, description: Description) -> None:
    write_onnx(model, path, {ENTRY: description.to_text()})


def _openvino(model: Deployed, path: Path, description: Description) -> None:
    onnx = path.with_suffix(".onnx")
    write_onnx(model, onnx, {})
    ir_of_onnx(onnx, path, description)
    onnx.unlink()


def ir_of_onnx(onnx: Path, path: Path, description: Description) -> None:
    """Convert an ONNX file to OpenVINO's IR, an .xml and a .bin. Weights in float16 stay so.

    Raises InputError where OpenVINO has not all that the file needs.
    """
    import openvino

    try:
        model = openvino.convert_model(onnx)
    except Exception as error:  # Each frontend of OpenVINO has errors of its own.
        head, neck = description.info.config.head.name, description.info.config.neck.name
        raise InputError(
            f"OpenVINO cannot take neck {neck} with head {head} on this canvas ({_last_line(error)}); "
            "--out NAME.onnx and NAME.pt2 can"
        ) from error
    model.set_rt_info(json.dumps(description.to_text()), ENTRY)
    openvino.save_model(model, path, compress_to_fp16=False)


def _last_line(error: Exception) -> str:
    """Return the reason in what OpenVINO says, which is the last line before its summary."""
    lines = str(error).partition("Summary:")[0].strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


# By runtime.
WRITE: Mapping[str, Write] = {"onnx": _onnx, "pt2": _pt2, "openvino": _openvino}
