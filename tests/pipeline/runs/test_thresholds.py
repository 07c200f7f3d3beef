"""Which evaluation of a run gives the thresholds, and which never does."""

import json
import logging
import os
from dataclasses import replace

import numpy as np
import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.runs.evaluations import evaluation_path, file_digest
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.threshold_option import DRAWN, check_threshold
from fdet.pipeline.runs.thresholds import Thresholds, thresholds_of

from ..training.runs import options, tiny

NAMES = ("disc", "square", "cross")


@pytest.fixture(scope="module")
def trained(exact_cache, tmp_path_factory):
    """A run that was validated on the cache that it was trained on; read only."""
    from fdet.pipeline.training.train import train

    out = tmp_path_factory.mktemp("run") / "run"
    train(tiny("retinanet", "train.epochs=1"), options(exact_cache, out))
    return out


@pytest.fixture
def run(trained, tmp_path):
    """A folder with the run's description, and weights of its own."""
    (tmp_path / "run.json").write_bytes((trained / "run.json").read_bytes())
    (tmp_path / "best.safetensors").write_bytes(b"weights")
    (tmp_path / "last.safetensors").write_bytes(b"other weights")
    return tmp_path


def write(run, scores, cache="c" * 64, checkpoint="best", names=NAMES, age=0, **of):
    """Keep an evaluation with one threshold for each class."""
    weights = file_digest(run / f"{checkpoint}.safetensors")
    of = {"weights": weights, "cache": cache, **of}
    classes = {n: {"threshold": s} for n, s in zip(names, scores, strict=True)}
    path = evaluation_path(run, "val", of)
    path.write_text(json.dumps({"ap": 0.5, "of": of, "scores": {"classes": classes}}))
    os.utime(path, (10_000 - age, 10_000 - age))
    return path


def found(run, checkpoint="best", nms=None, **changes):
    info = replace(RunInfo.read(run).with_nms(nms), **changes)
    return thresholds_of(run, info, checkpoint)


def test_they_are_those_of_the_evaluation_of_these_weights(run, caplog):
    caplog.set_level(logging.INFO, "fdet")
    path = write(run, (0.2, 0.5, 0.4))
    assert found(run) == Thresholds((0.2, 0.5, 0.4), path)
    assert caplog.messages == [f"thresholds 0.2 to 0.5, the best of each class in {path}"]
    caplog.clear()
    assert found(run, "last") == Thresholds((DRAWN,) * 3)
    assert "these weights with --checkpoint last: 0.3 for all" in caplog.text
    assert "`fdet evaluate --checkpoint last` finds" in caplog.text


def test_the_command_that_finds_them_has_the_nms_that_is_used(run, caplog):
    caplog.set_level(logging.INFO, "fdet")
    write(run, (0.2, 0.5, 0.4))
    found(run, nms="agnostic")
    assert "`fdet evaluate --nms agnostic` finds the best" in caplog.text


def test_they_are_gone_with_the_weights(run):
    write(run, (0.2, 0.5, 0.4))
    (run / "best.safetensors").write_bytes(b"trained on")
    assert found(run).source is None


def test_validation_images_come_first_then_others_then_those_of_training(run):
    """Whenever they were evaluated."""
    own = RunInfo.read(run).data["training data"].split()[0]
    data = {**RunInfo.read(run).data, "validation data": f"{'v' * 64} {'0' * 64}"}
    paths = [
        write(run, (0.1,) * 3, cache=own, age=0),
        write(run, (0.2,) * 3, cache="e" * 64, age=3),
        write(run, (0.3,) * 3, cache="f" * 64, age=2),
        write(run, (0.4,) * 3, cache="v" * 64, age=4),
    ]
    for expected in (3, 2, 1, 0):
        assert found(run, data=data).source == paths[expected]
        paths[expected].unlink()
    assert found(run, data=data).source is None


@pytest.mark.parametrize("names", [("disc", "square", "ring"), NAMES[:2], NAMES[::-1]])
def test_those_of_other_classes_are_not_taken(names, run):
    write(run, (0.2, 0.5, 0.4)[: len(names)], names=names)
    assert found(run).source is None


def test_nms_is_that_of_the_prediction(run):
    plain = write(run, (0.2, 0.5, 0.4))
    across = write(run, (0.1, 0.1, 0.1), nms="agnostic")
    assert plain != across
    assert found(run).source == found(run, nms="class").source == plain
    assert found(run, nms="agnostic").source == across


BAD = [None, True, "0.2", 1.5, float("nan"), {}]


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_threshold_is_not_taken(value, run, caplog):
    write(run, (0.2, 0.5, value))
    assert found(run).source is None
    assert ("cannot be read" in caplog.text) == (value is not None)


@pytest.mark.parametrize("content", [{}, {"scores": []}, {"scores": {"classes": 3}}])
def test_an_evaluation_without_them_is_passed_over(content, run):
    path = write(run, (0.2, 0.5, 0.4))
    of = json.loads(path.read_text())["of"]
    path.write_text(json.dumps({"ap": 0.5, "of": of, **content}))
    assert found(run).source is None


def test_a_score_that_is_given_is_that_of_all_classes(run):
    write(run, (0.2, 0.5, 0.4))
    given = thresholds_of(run, RunInfo.read(run), "best", 0.25)
    assert given == Thresholds((0.25,) * 3) and given.described == "0.25"


def test_each_detection_is_compared_with_the_threshold_of_its_class():
    scores, labels = np.array([0.5, 0.4, 0.3, 0.3]), np.array([0, 1, 1, 2])
    kept = Thresholds((0.6, 0.4, 0.3)).reached(scores, labels)
    assert kept.tolist() == [False, True, False, True]


def test_they_are_identified_by_their_values(run):
    one = Thresholds((0.2, 0.3), run / "evaluation-val.json")
    other = Thresholds((0.2, 0.4), run / "evaluation-val.json")
    assert one.described != other.described
    assert one.described.startswith("auto (evaluation-val.json, ")


@pytest.mark.parametrize("given", ["best", -0.1, 1.1, float("nan")])
def test_other_values_are_refused(given):
    with pytest.raises(InputError, match="--threshold: expected 0 to 1, or auto, got"):
        check_threshold("--threshold", given)


def test_what_an_evaluation_is_of_may_be_anything_in_a_file_of_someone_else(run):
    """A list cannot be looked up in a set."""
    path = write(run, (0.2, 0.5, 0.4))
    content = json.loads(path.read_text())
    for value in ([], {}, None, 3, ["c" * 64]):
        content["of"]["cache"] = value
        path.write_text(json.dumps(content))
        assert found(run).source == path
