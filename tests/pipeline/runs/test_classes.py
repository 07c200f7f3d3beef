"""A run is evaluated on data that list some of its classes alone; labels and figures stay right."""

import json

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.pairing import labelled
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

SQUARE = 5  # The class in the middle of three, so that the label of the last one moves.


def lists(dataset, folder):
    """The data without objects of a class: with that class in the list of classes, and without it."""
    data = json.loads(dataset.read_text())
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] != SQUARE]
    whole, part = folder / "whole.json", folder / "part.json"
    whole.write_text(json.dumps(data))
    data["categories"] = [c for c in data["categories"] if c["id"] != SQUARE]
    part.write_text(json.dumps(data))
    return whole, part


@pytest.fixture(scope="module")
def made(exact_cache, dataset, tmp_path_factory):
    """Two runs, evaluated on data with all classes and on the same data without one; and these data."""
    folder = tmp_path_factory.mktemp("classes")
    settings = ["neck.channels=16", "neck.max_level=5", "train.batch_size=2", "train.epochs=6"]
    config = load_config(
        head="retinanet", assignments=[*settings, "train.eval_every=6", "optim.lr=0.01"]
    )
    files = lists(dataset, folder)
    for file in files:
        options = TrainOptions(
            cache=exact_cache,
            out=folder / file.stem,
            val=exact_cache,
            val_annotations=file,
            threads=1,
        )
        train(config, options)
    return folder, files


def test_evaluations_in_training_are_the_same(made):
    folder, _ = made
    whole, part = (
        [line["metrics"] for line in metrics_log.read(folder / name) if line["kind"] == "eval"]
        for name in ("whole", "part")
    )
    assert [figures["ap"] for figures in whole] == [figures["ap"] for figures in part]
    assert whole and whole[-1]["ap"] > 0


def test_evaluate_gives_the_same_figures_and_detections(made, exact_cache):
    folder, files = made
    run = folder / "whole"
    (whole, found), (part, same) = (
        evaluate_run(run, exact_cache, EvaluateOptions(annotations=file)) for file in files
    )
    assert found == same and {r["category_id"] for r in same} == {2, SQUARE, 11}
    assert part.ap == whole.ap and part.ap > 0
    assert part.per_class == whole.per_class and part.per_class["square"] is None
    assert part.errors == whole.errors and part.objects == whole.objects


def test_only_ids_and_names_of_the_run_are_taken(made, tmp_path):
    folder, (whole, part) = made
    info = RunInfo.read(folder / "whole")
    known = labelled(info, load_annotations(part)[0], "part")
    assert known.class_ids == info.class_ids and known.class_names == info.class_names
    assert known.packed.labels.tolist() == load_annotations(whole)[0].packed.labels.tolist()
    data = json.loads(part.read_text())
    for change in ({"id": 11, "name": "other"}, {"id": 12, "name": "cross"}):
        categories = [*data["categories"][:1], change]
        file = tmp_path / "other.json"
        file.write_text(json.dumps({**data, "categories": categories, "annotations": []}))
        with pytest.raises(InputError, match="its classes are not those that the run was trained"):
            labelled(info, load_annotations(file)[0], "other")
