"""MLflow: where MLFLOW_TRACKING_URI says; where it says nothing, a database in RUN/mlflow.

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

MAX_BATCH = 100  # the largest request that every server takes, parameters being the scarcest
MAX_NAME = 250
MAX_VALUE = 500


class MLflow:
    """One run of MLflow, in the experiment of MLFLOW_EXPERIMENT_NAME, or "fdet"."""

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
        """Its id; it is made where it does not exist yet."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fdet")
        if found := self._client.get_experiment_by_name(name):
            known: str = found.experiment_id
            return known
        place = (local / "artifacts").as_uri() if local else None
        made: str = self._client.create_experiment(name, artifact_location=place)
        return made

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        settings = [Param(name, str(value)[:MAX_VALUE]) for name, value in flat(parameters, ".")]
        for start in range(0, len(settings), MAX_BATCH):
            self._client.log_batch(self._id, params=settings[start : start + MAX_BATCH])


def metric_name(name: str) -> str:
    """As MLflow takes it: no odd signs, and no part that means another folder."""
    parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)[:MAX_NAME]


def picture_name(name: str) -> str:
    """Of a picture MLflow takes fewer signs still."""
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", name)[:MAX_NAME]
