"""A head without NMS: what is about NMS is neither counted nor accepted, and nobody is told to change it."""

import json

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.evaluation.evaluate import evaluate_run, write_evaluation
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs.advice.evaluation_rules import duplicates
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.inspection import inspected
from fdet.pipeline.training.train import train

from ..training.runs import SHARED, options


@pytest.fixture(scope="module")
def run(exact_cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("query") / "run"
    shared = [one for one in SHARED if not one.startswith("head.norm=")]
    small = ("head.queries=10", "head.layers=1", "head.ffn_channels=16", "train.epochs=1")
    config = load_config(head="query", assignments=[*shared, *small])
    train(config, options(exact_cache, folder, val=exact_cache))
    return folder


def test_it_is_evaluated_without_what_nms_would_drop(run, exact_cache):
    metrics, results = evaluate_run(run, exact_cache)
    assert metrics.duplicates is None and metrics.nms == ""
    path = write_evaluation(run, run, "best", exact_cache, metrics, results)
    assert "duplicates" not in json.loads(path.read_text())
    assert inspected(run).nms_iou is None
    assert duplicates(inspected(run)) is None


def test_another_nms_is_refused(run, exact_cache):
    with pytest.raises(
        InputError, match="--nms agnostic: head query has no NMS, as it finds an ob"
    ):
        evaluate_run(run, exact_cache, EvaluateOptions(nms="agnostic"))
    info = RunInfo.read(run)
    assert info.with_nms(None) is info
