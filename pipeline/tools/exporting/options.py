"""The options of an export; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from ....cache.errors import InputError, did_you_mean
from ....heads.ranges import at_least
from ...command import BackboneWeights, Checkpoint, SecondWeights, UsedCheckpoint, cache_opt, opt
from ...exported.runtimes import RUNTIMES, Include, runtime_of

Precision = Literal["fp32", "fp16", "int8"]
# The groups of options in the help.
_FILE, _PROOF = "File", "Proof"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export, besides its run and its file.

    check: the cache that names the images of the proof, and on which an int8 file is calibrated. canvas: rows
    and columns as text; None for that of the run or, where it has several, for the one of most images of the
    cache.
    """

    format: Annotated[
        str | None,
        opt(f"{', '.join(RUNTIMES)}; default: by the suffix of --out", group=_FILE),
    ] = None
    include: Annotated[
        Include,
        opt(
            "nms: boxes, scores and labels; raw: the scores and boxes before NMS",
            group=_FILE,
            parser=str,
            metavar="nms|raw",
        ),
    ] = "nms"
    fp16: Annotated[bool, opt("compute in float16", group=_FILE)] = False
    int8: Annotated[
        bool, opt("convolve in 8 bits, calibrated on the images of --check", group=_FILE)
    ] = False
    canvas: Annotated[
        str | None, opt("the one canvas that the file takes, px", group=_FILE, metavar="HxW")
    ] = None
    overwrite: Annotated[bool, opt("replace a file that is there", group=_FILE)] = False
    check: Annotated[
        Path | None,
        cache_opt("cache of validation images on which the file must find the same", group=_PROOF),
    ] = None
    images: Annotated[Path | None, opt("image folder of that cache", group=_PROOF)] = None
    check_images: Annotated[
        int, at_least(0), opt("number of images to check; 0: all", group=_PROOF)
    ] = 32
    weights: BackboneWeights = None
    second_weights: SecondWeights = None
    checkpoint: UsedCheckpoint = Checkpoint.best

    @property
    def precision(self) -> Precision:
        """The precision of the file."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"

    @property
    def canvas_hw(self) -> tuple[int, int] | None:
        """The canvas, rows and columns. Raises InputError."""
        if self.canvas is None:
            return None
        sides = self.canvas.lower().split("x")
        if len(sides) != 2 or not all(s.isdecimal() and 0 < int(s) <= 2**16 for s in sides):
            raise InputError(f"--canvas {self.canvas!r}: expected rows and columns, e.g. 480x640")
        return int(sides[0]), int(sides[1])

    def runtime(self, out: Path) -> str:
        """Return the name of the runtime of the file. Raises InputError."""
        if self.format is not None and self.format not in RUNTIMES:
            raise InputError(f"--format {self.format!r}{did_you_mean(self.format, RUNTIMES)}")
        if self.format is not None and out.suffix != RUNTIMES[self.format].suffix:
            raise InputError(
                f"--out {out}: the name of a file of --format {self.format} ends with "
                f"{RUNTIMES[self.format].suffix}"
            )
        return runtime_of(out)

    def check_choices(self) -> None:
        """Raise InputError for choices that do not exist or do not go together."""
        if self.include not in get_args(Include):
            raise InputError(
                f"--include {self.include!r}{did_you_mean(self.include, ('nms', 'raw'))}"
            )
        if self.fp16 and self.int8:
            raise InputError("--fp16 and --int8 exclude each other; give one of them")
        if (self.check is None) != (self.images is None):
            raise InputError(
                "--check and --images belong together: the cache names the images, and the folder holds them"
            )
        if self.int8 and self.check is None:
            raise InputError("--int8 is calibrated on images; give --check CACHE and --images DIR")
