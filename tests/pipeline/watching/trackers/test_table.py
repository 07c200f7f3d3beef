"""Each tracker of the table with its real package, where it is installed; none needs a network."""

import io

import numpy as np
import pytest
from PIL import Image

from fdet.pipeline.watching.trackers import TRACKERS
from fdet.pipeline.watching.trackers.tracker import scalars

from .conftest import EVAL_LINE, PARAMETERS, TRAIN_LINE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # a package's own are not ours to mend
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_and_its_resumption(name, tmp_path, monkeypatch, png):
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for resume in (False, True):
        tracker = TRACKERS[name](tmp_path, PARAMETERS, resume)
        for line in (TRAIN_LINE, EVAL_LINE):
            tracker.scalars(line["step"], scalars(line))
        tracker.picture(EVAL_LINE["step"], "pictures/sub/17", png)
        tracker.close(resume)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    READ_BACK[name](tmp_path, png)


def read_tensorboard(run, png):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"))
    reader.Reload()
    for line in (TRAIN_LINE, EVAL_LINE):  # those of the first start are hidden, or the same again
        for name, value in scalars(line).items():
            points = reader.Scalars(name)
            assert {p.step for p in points} == {line["step"]}
            assert {p.value for p in points} == {float(np.float32(value))}
    assert reader.Images("pictures/sub/17")[0].encoded_image_string == png


def read_wandb(run, png):
    """Two starts of one run; its pictures lie there as files."""
    run_id = (run / "wandb" / "id").read_text()
    starts = list((run / "wandb").glob("offline-run-*"))
    assert starts
    assert {path.name.rpartition("-")[2] for path in starts} == {run_id}
    records = b"".join(p.read_bytes() for p in (run / "wandb").rglob("*.wandb"))
    assert b"train/losses/box" in records
    pictures = list((run / "wandb").rglob("*.png"))
    assert pictures
    for path in pictures:
        assert same_pixels(path.read_bytes(), png)


def read_mlflow(run, png):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    run_id = (run / "mlflow" / "id").read_text()
    (experiment,) = [e for e in client.search_experiments() if e.name == "fdet"]
    assert [r.info.run_id for r in client.search_runs([experiment.experiment_id])] == [run_id]
    kept = client.get_run(run_id)
    assert kept.info.status == "FINISHED"
    assert kept.data.params["neck.channels"] == "256"
    assert [m.step for m in client.get_metric_history(run_id, "eval/ap")] == [20, 20]
    for line in (TRAIN_LINE, EVAL_LINE):
        for name, value in scalars(line).items():
            assert kept.data.metrics[name] == value
    pictures = list((run / "mlflow").rglob("*.png"))
    assert len(pictures) == 2
    for path in pictures:
        assert same_pixels(path.read_bytes(), png)


def same_pixels(ours: bytes, theirs: bytes) -> bool:
    first, second = (Image.open(io.BytesIO(raw)).convert("RGB") for raw in (ours, theirs))
    return first.tobytes() == second.tobytes()


READ_BACK = {"tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}
