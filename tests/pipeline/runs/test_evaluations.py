"""Evaluations of several data are kept side by side, and each says what it is of."""

import json
import os

import pytest

from fdet.pipeline.runs.evaluations import (
    detections_path,
    evaluation_path,
    file_digest,
    kept_evaluations,
)

A = {"cache": "a" * 64, "images": "1" * 64, "annotations": "2" * 64}
OF_OTHER_CACHE = {**A, "cache": "b" * 64}
OTHERS = [OF_OTHER_CACHE, *({**A, name: "c" * 64} for name in ("images", "annotations", "second"))]


def write(folder, of, **more):
    """An evaluation, at the place that it gets."""
    path = evaluation_path(folder, "val", of)
    path.write_text(json.dumps({"ap": 0.5, "of": of, **more}))
    return path


def test_the_first_of_a_name_has_the_plain_one_and_is_replaced_by_itself(tmp_path):
    assert write(tmp_path, A).name == "evaluation-val.json"
    assert write(tmp_path, {**A, "weights": "d" * 64}).name == "evaluation-val.json"
    assert detections_path(tmp_path / "evaluation-val.json").name == "detections-val.json"


@pytest.mark.parametrize("other", OTHERS)
def test_other_data_never_replace_it(other, tmp_path):
    first = write(tmp_path, A)
    before = first.read_bytes()
    second = write(tmp_path, other)
    assert second.name == f"evaluation-val-{other['cache'][:8]}.json"
    assert write(tmp_path, other) == second and write(tmp_path, A) == first
    assert first.read_bytes() == before


def test_any_number_are_kept(tmp_path):
    paths = [write(tmp_path, of) for of in (A, *OTHERS)]
    assert len(set(paths)) == len(paths)
    assert [write(tmp_path, of) for of in (A, *OTHERS)] == paths
    assert {kept.path for kept in kept_evaluations(tmp_path)} == set(paths)


def test_one_that_does_not_say_what_it_is_of_is_kept_too(tmp_path):
    (tmp_path / "evaluation-val.json").write_text('{"ap": 0.5}')
    assert write(tmp_path, A).name == f"evaluation-val-{A['cache'][:8]}.json"


def test_one_that_cannot_be_read_is_replaced(tmp_path, caplog):
    (tmp_path / "evaluation-val.json").write_text('{"ap": 0')
    assert kept_evaluations(tmp_path) == []
    assert "the evaluation cannot be read" in caplog.text
    assert write(tmp_path, A).name == "evaluation-val.json"


def test_evaluations_come_newest_first_and_know_their_data(tmp_path):
    for k, of in enumerate((A, OF_OTHER_CACHE)):
        os.utime(write(tmp_path, of), (k, k))
    newest, oldest = kept_evaluations(tmp_path)
    assert newest.is_of(OF_OTHER_CACHE) and oldest.is_of(A)
    assert not newest.is_of(A) and not oldest.is_of({**A, "annotations": "e" * 64})
    assert newest.is_of({"cache": "b" * 64})


def test_older_ones_are_read_as_far_as_they_say_what_they_are_of(tmp_path):
    without_annotations = {name: value for name, value in A.items() if name != "annotations"}
    write(tmp_path, without_annotations)
    (kept,) = kept_evaluations(tmp_path)
    assert kept.is_of(A) and not kept.is_of(OF_OTHER_CACHE)
    kept.path.write_text('{"ap": 0.5, "of": [1]}')
    (kept,) = kept_evaluations(tmp_path)
    assert kept.of == {} and not kept.is_of(A) and not kept.is_of({})


def test_an_evaluation_is_of_the_weights_that_it_names(tmp_path):
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"weights")
    path = write(tmp_path, {**A, "weights": file_digest(weights)})
    os.utime(path, (0, 0))
    assert kept_evaluations(tmp_path)[0].may_be_of_weights(weights)
    weights.write_bytes(b"others")
    assert not kept_evaluations(tmp_path)[0].may_be_of_weights(weights)
    path.write_text('{"ap": 0.5}')
    assert kept_evaluations(tmp_path)[0].may_be_of_weights(weights)
    os.utime(path, (0, 0))
    assert not kept_evaluations(tmp_path)[0].may_be_of_weights(weights)
