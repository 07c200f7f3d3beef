"""An exported detector that finds objects in one image after another, as a run does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...cache.placement import Placement
from ...heads.types import Detections
from ..dataset.images.canvases import recipe_of
from ..dataset.images.decoding import draw_canvas
from ..evaluation.detecting import Stopwatch
from ..runs.info import RunInfo
from .canvas import FixedCanvas
from .description import Description, read_description
from .runtimes import Session, open_session
from .selection import select

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ExportedDetector:
    """A file that is open, with its description."""

    description: Description
    session: Session

    @property
    def known(self) -> RunInfo:
        """The run that it is from."""
        return self.description.info

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that `find` times, besides decoding."""
        return ("detector",)

    @property
    def wait(self) -> Callable[[], None]:
        """The function that waits for a device; a runtime returns when it is done."""
        return lambda: None

    def find(self, image: Image.Image, timed: Stopwatch = lambda _: nullcontext()) -> Detections:
        """Return what is found in an upright RGB image, in image px."""
        with timed("decode"):
            placement = self.place(image)
            canvas, sizes = self.inputs(image)
        with timed("detector"):
            outputs = self.session(canvas, sizes)
        return self._detections(outputs, placement)

    def place(self, image: Image.Image) -> Placement:
        """Return where an image lies on the canvas."""
        rule = recipe_of(self.known.key, Path()).rule
        return FixedCanvas(rule, self.description.canvas_hw).place((image.height, image.width))

    def inputs(self, image: Image.Image) -> tuple[Array, Array]:
        """Return what the file takes of an upright RGB image: its canvas (1, 3, H, W) and size (1, 2)."""
        placement = self.place(image)
        canvas = self._normalised(draw_canvas(image, placement), placement)
        return canvas[None], np.array([placement.content_hw], dtype=np.int64)

    def _normalised(self, canvas: Array, placement: Placement) -> Array:
        """Return a canvas (H, W, 3) uint8 as the file takes it, (3, H, W) float32."""
        key, (rows, columns) = self.known.key, placement.content_hw
        out = np.zeros((3, *placement.canvas_hw), dtype=np.float32)
        mean, std = (np.array(v, dtype=np.float32) for v in (key.mean, key.std))
        shown = canvas[:rows, :columns].astype(np.float32) / np.float32(255)
        out[:, :rows, :columns] = ((shown - mean) / std).transpose(2, 0, 1)
        return out

    def _detections(self, outputs: list[Array], placement: Placement) -> Detections:
        """Return the detections of one image that the file's outputs hold."""
        tensors = [torch.from_numpy(np.array(x)) for x in outputs]
        if self.description.include == "raw":
            chosen = select(tensors[0], tensors[1], self.description.selection)
            tensors = [chosen.boxes, chosen.scores, chosen.labels]
        boxes, scores, labels, *masks = (x[0] for x in tensors)
        found = Detections(boxes, scores, labels.long(), masks[0] if masks else None)
        found = found[scores > 0]
        return replace(found, boxes=placement.to_image(found.boxes))


def open_detector(path: Path, threads: int | None = None) -> ExportedDetector:
    """Open an exported file. threads: how many compute it. Raises InputError, CorruptCache."""
    return ExportedDetector(read_description(path), open_session(path, threads or 0))
