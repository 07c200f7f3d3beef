"""A tracker for TensorBoard: event files in RUN/tensorboard, written by torch's SummaryWriter."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .tracker import flat

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """An event file for each start of the run, flushed at once, so that a kill loses nothing."""

    def __init__(self, run: Path, parameters: Mapping[str, Any], resume: bool) -> None:
        self._folder = str(run / "tensorboard")
        self._opened: SummaryWriter | None = None
        if not resume:
            # Markdown shows indented lines as they are.
            lines = [f"    {name} = {json.dumps(value)}" for name, value in flat(parameters, ".")]
            self._writer(0).add_text("config", "\n".join(lines))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        writer = self._writer(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def picture(self, step: int, name: str, png: bytes) -> None:
        writer = self._writer(step)
        writer.add_image(name, np.asarray(Image.open(io.BytesIO(png))), step, dataformats="HWC")
        writer.flush()

    def close(self, finished: bool) -> None:
        if self._opened is not None:
            self._opened.close()

    def _writer(self, step: int) -> SummaryWriter:
        """Return the writer, which is opened at the first step of this start of the run.

        All figures after that step are hidden: what a killed run logged after its checkpoint is logged again.
        """
        from torch.utils.tensorboard import SummaryWriter

        if self._opened is None:
            self._opened = SummaryWriter(self._folder, purge_step=step + 1)
        return self._opened
