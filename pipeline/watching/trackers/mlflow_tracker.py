"""A tracker for MLflow, which logs to MLFLOW_TRACKING_URI, else to a database in RUN/mlflow.

`mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows the latter.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ....cache.disk.publish import make_folder
from .tracker import flat, keep_id, kept_id

MAX_BATCH = 100  # The largest batch that every server accepts; the limit is that of parameters.
MAX_NAME = 250
MAX_VALUE = 500


class MLflow:
    """One run of MLflow, in the experiment named by MLFLOW_EXPERIMENT_NAME, or in "fdet"."""

    def __init__(self, run: Path, parameters: Mapping[str, Any], resume: bool) -> None:
        from mlflow import MlflowClient
        from mlflow.tracking import is_tracking_uri_set

        local = None if is_tracking_uri_set() else run.resolve() / "mlflow"
        if local:
            make_folder(local)
        self._client = MlflowClient(f"sqlite:///{local / 'mlflow.db'}" if local else None)
        known = kept_id(run, "mlflow") if resume else None
        if known:
            self._client.update_run(known, status="RUNNING")
            self._id = known
            return
        experiment = self._experiment(local)
        self._id = self._client.create_run(experiment, run_name=run.resolve().name).info.run_id
        keep_id(run, "mlflow", self._id)
        self._parameters(parameters)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(metric_name(name), v, now, step) for name, v in values.items()]
        for start in range(0, len(metrics), MAX_BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + MAX_BATCH])

    def picture(self, step: int, name: str, png: bytes) -> None:
        image, key = Image.open(io.BytesIO(png)), picture_name(name)
        self._client.log_image(self._id, image, key=key, step=step, synchronous=True)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, status="FINISHED" if finished else "FAILED")

    def _experiment(self, local: Path | None) -> str:
        """Return the id of the experiment, which is created where it does not exist yet."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fdet")
        if found := self._client.get_experiment_by_name(name):
            known: str = found.experiment_id
            return known
        location = (local / "artifacts").as_uri() if local else None
        created: str = self._client.create_experiment(name, artifact_location=location)
        return created

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        settings = [Param(name, str(value)[:MAX_VALUE]) for name, value in flat(parameters, ".")]
        for start in range(0, len(settings), MAX_BATCH):
            self._client.log_batch(self._id, params=settings[start : start + MAX_BATCH])


def metric_name(name: str) -> str:
    """Return a metric's name as MLflow accepts it: no odd characters, and no part like ".." or "."."""
    parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)[:MAX_NAME]


def picture_name(name: str) -> str:
    """Return a picture's name as MLflow accepts it, which allows even fewer characters than for metrics."""
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", name)[:MAX_NAME]
