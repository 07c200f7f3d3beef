"""The calls that MLflow gets; modules of its names stand in for it."""

import os
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from fdet.pipeline.watching.trackers.mlflow_tracker import MLflow, metric_name, picture_name
from fdet.pipeline.watching.trackers.tracker import kept_id

from .conftest import PARAMETERS


@dataclass(frozen=True)
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class Param:
    key: str
    value: str


class FakeServer:
    """What all clients of a test see."""

    def __init__(self) -> None:
        self.uris: list[str | None] = []
        self.experiments: dict[str, str | None] = {}
        self.statuses: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.metrics: dict[str, list[Metric]] = {}
        self.params: dict[str, list[Param]] = {}
        self.pictures: list[tuple] = []
        self.requests: list[int] = []

    def client(self, uri=None):
        self.uris.append(uri)
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name, artifact_location):
        assert name not in self.experiments
        self.experiments[name] = artifact_location
        return name

    def create_run(self, experiment, run_name):
        assert experiment in self.experiments
        run_id = f"run-{len(self.statuses)}"
        self.statuses[run_id], self.names[run_id] = "RUNNING", run_name
        self.metrics[run_id], self.params[run_id] = [], []
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run(self, run_id, status):
        assert run_id in self.statuses, "no such run"
        self.statuses[run_id] = status

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=()):
        self.requests.append(len(metrics) + len(params))
        self.metrics[run_id] += metrics
        self.params[run_id] += params

    def log_image(self, run_id, image, key, step, synchronous):
        assert synchronous, "otherwise a failure would be lost"
        self.pictures.append((run_id, image.size, key, step))


@pytest.fixture
def server(monkeypatch) -> FakeServer:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    server = FakeServer()
    package, tracking, entities = map(ModuleType, ("mlflow", "mlflow.tracking", "mlflow.entities"))
    package.MlflowClient = server.client
    tracking.is_tracking_uri_set = lambda: "MLFLOW_TRACKING_URI" in os.environ
    entities.Metric, entities.Param = Metric, Param
    for module in (package, tracking, entities):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return server


def test_without_a_server_all_stays_below_the_run(server, tmp_path):
    MLflow(tmp_path, PARAMETERS, False)
    assert server.uris == [f"sqlite:///{tmp_path}/mlflow/mlflow.db"]
    assert server.experiments == {"fdet": (tmp_path / "mlflow" / "artifacts").as_uri()}


def test_the_users_server_and_experiment_are_taken(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@tracking.example")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trees")
    MLflow(tmp_path, PARAMETERS, False)
    assert server.uris == [None], "MLflow reads its own environment"
    assert server.experiments == {"trees": None}
    files = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert files == ["run-0"]


def test_an_experiment_is_made_once(server, tmp_path):
    for name in ("a", "b"):
        MLflow(tmp_path / name, PARAMETERS, False)
    assert list(server.experiments) == ["fdet"]
    assert list(server.names.values()) == ["a", "b"]


def test_settings_figures_and_pictures_arrive(server, tmp_path, png):
    tracker = MLflow(tmp_path, PARAMETERS, False)
    tracker.scalars(10, {"train/loss": 1.5, "eval/per_class/a:b": 0.5})
    tracker.picture(20, "pictures/Füchse/17", png)
    assert server.params["run-0"] == [
        Param("neck.name", "fpn"),
        Param("neck.channels", "256"),
        Param("optim.lr", "0.0005"),
    ]
    assert [(m.key, m.value, m.step) for m in server.metrics["run-0"]] == [
        ("train/loss", 1.5, 10),
        ("eval/per_class/a_b", 0.5, 10),
    ]
    assert server.pictures == [("run-0", (30, 20), "pictures/F_chse/17", 20)]


def test_many_classes_are_sent_in_several_requests(server, tmp_path):
    tracker = MLflow(tmp_path, {}, False)
    tracker.scalars(20, {f"eval/per_class/{k}": k / 1203 for k in range(1203)})
    assert max(server.requests) <= 100
    assert [m.value for m in server.metrics["run-0"]] == [k / 1203 for k in range(1203)]


def test_resume_goes_on_with_the_same_run(server, tmp_path):
    MLflow(tmp_path, PARAMETERS, False).close(False)
    assert server.statuses == {"run-0": "FAILED"}
    resumed = MLflow(tmp_path, PARAMETERS, True)
    assert server.statuses == {"run-0": "RUNNING"}
    resumed.scalars(30, {"train/loss": 1.0})
    resumed.close(True)
    assert server.statuses == {"run-0": "FINISHED"}
    assert len(server.metrics["run-0"]) == 1
    assert len(server.params["run-0"]) == 3


def test_a_run_that_was_not_tracked_before_becomes_a_new_one(server, tmp_path):
    MLflow(tmp_path, PARAMETERS, True)
    assert kept_id(tmp_path, "mlflow") == "run-0"


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("eval/per_class/traffic light", "eval/per_class/traffic light"),
        ("eval/per_class/自行车", "eval/per_class/自行车"),
        ("eval/per_class/disc (2)", "eval/per_class/disc _2_"),
        ("eval/per_class/../..", "eval/per_class/_/_"),
        ("eval/per_class//", "eval/per_class/_/_"),
        ("eval/" + "x" * 300, "eval/" + "x" * 245),
    ],
)
def test_names_are_made_such_as_are_taken(name, taken):
    assert metric_name(name) == taken


def test_names_of_pictures_are_plainer_still():
    assert picture_name("pictures/自 (1)/a.b-c") == "pictures/_ _1_/a.b-c"
