"""What can be refused of an export before torch is imported: options, names, paths, the canvas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ...backbones.known import check_weights
from ...command import check_folder, check_ranges
from ...dataset.images.canvases import recipe_of
from ...exported.description import HW
from ...exported.runtimes import RUNTIMES, check_installed
from ...runs.info import RunInfo
from ...runs.position import check_there
from .options import ExportOptions

# The name of the program that runs the file.
PROGRAM = "infer.py"
# What each runtime needs to be written, besides what its files need to run.
_WRITERS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript"),
    "pt2": (),
    "openvino": ("onnx", "onnxscript", "onnxruntime"),
}


def check_export(run: Path, out: Path, options: ExportOptions) -> tuple[RunInfo, HW]:
    """Return the run's info and the canvas of the file, once all that needs no torch is checked.

    Raises InputError, CorruptCache.
    """
    check_ranges(options)
    options.check_choices()
    runtime = options.runtime(out)
    info = RunInfo.read(run)
    check_there(run / f"{options.checkpoint}.safetensors")
    check_weights("--weights", options.weights)
    check_weights("--with-weights", options.second_weights)
    check_folder("--images", options.images)
    for path in (out, out.with_suffix(".json"), out.with_name(PROGRAM)):
        if path.exists() and not options.overwrite:
            raise InputError(
                f"--out {out}: {path} exists already; choose another folder, or add --overwrite"
            )
    if runtime == "pt2" and options.int8:
        raise InputError("--int8: pt2 files have no 8-bit form here; onnx and openvino files have")
    if options.include == "raw" and getattr(info.config.head, "masks", False):
        raise InputError(
            "--include raw: masks are made of what NMS keeps, and this run finds masks; use --include nms"
        )
    if options.include == "raw" and info.config.head.refine:
        raise InputError(
            "--include raw: a refiner corrects what NMS keeps, and this run has one; use --include nms"
        )
    canvas_hw = _canvas(info, options)
    check_installed(RUNTIMES[runtime].package, *_WRITERS[runtime])
    return info, canvas_hw


def _canvas(info: RunInfo, options: ExportOptions) -> HW:
    """Return the canvas of the file. Raises InputError where it is unknown or impossible."""
    rule = recipe_of(info.key, Path()).rule
    canvas_hw = options.canvas_hw
    if canvas_hw is None and rule.square:
        canvas_hw = rule.canvas_hw((1, 1))
    if canvas_hw is None and options.check is not None:
        buckets = CacheHeader.read(options.check).layout.buckets
        canvas_hw = max(buckets, key=lambda bucket: len(bucket.images)).canvas_hw
    if canvas_hw is None:
        wide, high = ("x".join(map(str, rule.canvas_hw(hw))) for hw in ((3000, 4000), (4000, 3000)))
        raise InputError(
            f"--canvas: this run keeps the aspect of its images, and a file takes one canvas; give that of "
            f"most images (4:3 photographs have {wide}, upright ones {high}), or --check CACHE to find it"
        )
    divisor = info.key.divisor
    if any(side % divisor for side in canvas_hw):
        raise InputError(
            f"--canvas {canvas_hw[0]}x{canvas_hw[1]}: expected multiples of {divisor}, the coarsest stride "
            "of the backbone"
        )
    return canvas_hw
