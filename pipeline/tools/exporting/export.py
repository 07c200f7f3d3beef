"""`fdet export`: the detector of a run as one file, its description and a program that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from ....cache.disk.publish import make_folder, storage_error
from ...exported.description import HW, Description
from ...exported.detector import Array, ExportedDetector
from ...exported.runtimes import open_session
from ...runs.evaluations import file_digest
from ...runs.info import RunInfo
from ...runs.thresholds import thresholds_of
from .checks import PROGRAM, check_export
from .deployed import Deployed
from .features import Features
from .formats import WRITE, ir_of_onnx
from .loading import load
from .options import ExportOptions
from .quantised import quantise
from .sampling import samples_of
from .script import script_of

DEFAULTS = ExportOptions()
# The number of images that an 8-bit file is calibrated on.
_CALIBRATION = 64


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of an export: the detector, its description and the program, None for raw outputs."""

    model: Path
    about: Path
    program: Path | None
    description: Description


def export(run: Path, out: Path, options: ExportOptions = DEFAULTS) -> Exported:
    """Write the detector of a run as one file, with model.json and infer.py beside it.

    Raises InputError, CorruptCache, KeyMismatch, StorageError.
    """
    info, canvas_hw = check_export(run, out, options)
    model = deployed(run, info, canvas_hw, options)
    weights = file_digest(run / f"{options.checkpoint}.safetensors")
    thresholds = thresholds_of(run, info, options.checkpoint).scores
    root = import_module(__name__.partition(".")[0])
    description = Description(
        root.__version__,
        options.runtime(out),
        options.include,
        options.precision,
        canvas_hw,
        model.outputs,
        model.selection(),
        thresholds,
        weights,
        info,
    )
    about, program = out.with_suffix(".json"), out.with_name(PROGRAM)
    with _scratch(out) as folder:
        if options.int8:
            _write_int8(model, folder / out.name, description, options)
        else:
            WRITE[description.runtime](model, folder / out.name, description)
        (folder / about.name).write_text(description.to_text(), "utf-8")
        if options.include == "nms":
            text = script_of(description, out.name, about.name, program.name)
            (folder / program.name).write_text(text, "utf-8")
    return Exported(out, about, program if options.include == "nms" else None, description)


def deployed(run: Path, info: RunInfo, canvas_hw: HW, options: ExportOptions) -> Deployed:
    """Load the detector of a run as one module."""
    detector, backbone, codec = load(run, info, canvas_hw, options)
    keys = [key for key in (info.key, info.second) if key is not None]
    features = Features(backbone, codec, keys, canvas_hw)
    return Deployed(features, detector, nms=options.include == "nms", half=options.fp16)


def _write_int8(
    model: Deployed, path: Path, description: Description, options: ExportOptions
) -> None:
    """Write a file in 8 bits, by way of an ONNX file in float32."""
    exact, onnx = path.with_name("exact.onnx"), path.with_suffix(".onnx")
    described = replace(description, runtime="onnx")
    if onnx == path:
        described = description
    WRITE["onnx"](model, exact, described)
    quantise(exact, onnx, _inputs(exact, described, options))
    exact.unlink()
    if onnx != path:
        ir_of_onnx(onnx, path, description)
        onnx.unlink()


def _inputs(
    exact: Path, description: Description, options: ExportOptions
) -> Iterator[tuple[Array, Array]]:
    """Yield what the file takes of the images that it is calibrated on."""
    assert options.check is not None
    assert options.images is not None
    detector = ExportedDetector(description, open_session(exact))
    for sample in samples_of(options.check, options.images, _CALIBRATION, description.info).images:
        yield detector.inputs(sample.load(description.info.key.bits))


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Yield a folder whose files are moved beside `out` when the block ends, and `out` itself last."""
    make_folder(out.parent)
    try:
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as name:
            yield Path(name)
            for path in sorted(Path(name).iterdir(), key=lambda path: path.name == out.name):
                os.replace(path, out.parent / path.name)
    except OSError as error:
        raise storage_error(out, error) from error
