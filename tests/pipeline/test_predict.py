"""What is found in a file is what `fdet evaluate` finds in the cache of that file."""

import json

import numpy as np
import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.config import load_config
from fdet.pipeline.evaluate import evaluate_run
from fdet.pipeline.extract import extract
from fdet.pipeline.predict import predict
from fdet.pipeline.train import TrainOptions, train

from ..conftest import extraction


@pytest.fixture(scope="module", params=[{"size": 128}, {"size": None, "short": 64, "long": 128}])
def run(request, dataset, tmp_path_factory):
    """A run on an fp16 cache, square and with the aspect kept."""
    folder = tmp_path_factory.mktemp("runs")
    extract(extraction(dataset, folder / "cache.fdet", **request.param))
    settings = ["neck.channels=16", "neck.max_level=5", "train.epochs=6", "optim.lr=0.002"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.01"])
    train(config, TrainOptions(cache=folder / "cache.fdet", out=folder / "run", threads=1))
    return folder / "run"


def test_predict_finds_what_evaluate_finds(run, dataset, tmp_path):
    _, expected = evaluate_run(run, run.parent / "cache.fdet")
    summary = predict(
        run, [dataset.parent / "images"], tmp_path / "out", annotations=dataset, draw_above=0.1
    )
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert summary.images == 12
    assert len(results) == len(expected) > 50
    order = lambda r: (r["image_id"], -r["score"], r["bbox"])  # noqa: E731
    for ours, theirs in zip(sorted(results, key=order), sorted(expected, key=order), strict=True):
        assert ours["category_id"] == theirs["category_id"]
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=0.01)
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
    pictures = sorted(p for p in (tmp_path / "out" / "pictures").rglob("*.jpg"))
    assert len(pictures) == 12
    with Image.open(pictures[0]) as picture:
        assert picture.width > 2 * picture.height * 0.8


def test_files_without_annotations_are_numbered_and_named(run, dataset, tmp_path):
    files = sorted((dataset.parent / "images").glob("*.png"))[:2]
    predict(run, files, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {(r["image_id"], r["file_name"]) for r in results} <= {
        (1, files[0].name),
        (2, files[1].name),
    }


def test_an_unreadable_file_does_not_stop_the_others(run, dataset, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    good = next((dataset.parent / "images").glob("*.png"))
    summary = predict(run, [broken, good], tmp_path / "out")
    assert summary.images == 1
    assert list(summary.failed) == [str(broken)]


@pytest.mark.parametrize("make", ["missing", "empty", "full out"])
def test_what_cannot_be_done_is_refused(make, run, dataset, tmp_path):
    paths, out = [dataset.parent / "images"], tmp_path / "out"
    if make == "missing":
        paths = [tmp_path / "nowhere"]
    elif make == "empty":
        paths = [tmp_path / "nothing"]
        paths[0].mkdir()
    else:
        out.mkdir()
        (out / "thesis.tex").touch()
    with pytest.raises(InputError):
        predict(run, paths, out)
