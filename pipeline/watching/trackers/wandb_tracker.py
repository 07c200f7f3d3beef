"""A tracker for Weights & Biases. Its files lie in RUN/wandb; `wandb sync` sends what was logged offline.

Where figures are sent, as whom and whether at all is left to W&B: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY,
WANDB_API_KEY or `wandb login`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from .tracker import keep_id, kept_id


class WandB:
    """One run of W&B. The step is logged as a figure, since W&B's own counter accepts no step twice."""

    def __init__(self, run: Path, parameters: Mapping[str, Any], resume: bool) -> None:
        import wandb

        run_id = kept_id(run, "wandb") if resume else None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "fdet"),
            name=os.environ.get("WANDB_NAME", run.resolve().name),
            dir=str(run),
            config=dict(parameters),
            id=run_id,
            resume="allow" if run_id else None,
        )
        self._run.define_metric("*", step_metric="step")
        keep_id(run, "wandb", self._run.id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def picture(self, step: int, name: str, png: bytes) -> None:
        import wandb

        self._run.log({"step": step, name: wandb.Image(Image.open(io.BytesIO(png)))})

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
