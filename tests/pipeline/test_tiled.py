"""A tiled cache from command to command: what each makes of tiles, and where they find the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fdet
from fdet.cache.format.header import CacheHeader
from fdet.cache.reader import FeatureCache
from fdet.cache.windows import split_name
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.tiling import Tiling
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.history import read_history
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.browsing.collection import open_collection
from fdet.pipeline.tools.browsing.facts import sample_facts
from fdet.pipeline.tools.browsing.picture import picture
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from .quick import quick

TILES = {"tiles": 80, "overlap": 0.2, "levels": "c2,c3", "size": 64, "views": "plain"}
SETTINGS = [
    *("neck.channels=16", "neck.min_level=2", "neck.max_level=4", "head.convs=1"),
    *("train.epochs=4", "train.batch_size=4", "optim.lr=0.003", "train.seed=1"),
    *("head.score_threshold=0.01", "head.max_detections=20"),
]


def fdet_command(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code != 0
    return str(result.exception) + result.output


@pytest.fixture(scope="module")
def tiled(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiled") / "a.fdet"
    summary = extract(quick(dataset, out, **TILES))
    assert not summary.failed
    return out


@pytest.fixture(scope="module")
def run(tiled, dataset):
    out = tiled.parent / "run"
    options = TrainOptions(
        cache=tiled, val=tiled, val_images=dataset.parent / "images", out=out, threads=1
    )
    train(load_config(assignments=SETTINGS), options)
    return out


def test_every_image_is_cut_and_each_tile_is_a_sample_of_its_own_pixels(tiled, dataset):
    layout = CacheHeader.read(tiled).layout
    images = json.loads(dataset.read_text())["images"]
    expected = sum(len(Tiling(80, 0.2).windows((i["height"], i["width"]))) for i in images)
    assert len(layout.images) == expected == 40
    assert len(FeatureCache.open(tiled).image_ids) == expected
    assert {split_name(i.file_name)[0] for i in layout.images} == {i["file_name"] for i in images}


def test_features_of_a_tile_are_those_of_its_window_as_a_file(tiled, dataset, tmp_path):
    cache = FeatureCache.open(tiled)
    tile = cache.header.layout.images[1]
    name, window = split_name(tile.file_name)
    with Image.open(dataset.parent / "images" / name) as image:
        x, y, width, height = window
        (tmp_path / "images").mkdir()
        image.crop((x, y, x + width, y + height)).save(tmp_path / "images" / "tile.png")
    data = {
        "images": [{"id": 1, "file_name": "tile.png", "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 2, "name": "disc"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    alone = tmp_path / "b.fdet"
    extract(quick(tmp_path / "a.json", alone, **{**TILES, "tiles": None, "overlap": None}))
    other = FeatureCache.open(alone)
    for ours, theirs in zip(cache.sample(tile.id).maps, other.sample(1).maps, strict=True):
        assert np.array_equal(ours, theirs)


def test_the_cache_keeps_the_annotations_as_they_were_given(tiled, dataset, tmp_path):
    fdet_command("cache", "annotations", tiled, tmp_path / "own.json")
    assert (tmp_path / "own.json").read_bytes() == dataset.read_bytes()
    shown = fdet_command("cache", "info", tiled)
    assert "40 tiles of 12 images" in shown
    assert json.loads(fdet_command("cache", "info", tiled, "--json"))["cut_from"] == 12


def test_evaluate_scores_whole_images_as_training_does(run, tiled, dataset):
    shown = fdet_command("evaluate", run, tiled, "--threads", 1)
    metrics = json.loads((run / "evaluation-a.json").read_text())
    assert metrics["images"] == 12
    objects = [a for a in json.loads(dataset.read_text())["annotations"] if not a["iscrowd"]]
    assert sum(metrics["objects"].values()) == len(objects)
    last = [event for event in read_history(run) if hasattr(event, "metrics")][-1]
    assert metrics["ap"] == pytest.approx(last.metrics["ap"], abs=1e-6)
    assert "12 images" in shown
    ids = {d["image_id"] for d in json.loads((run / "detections-a.json").read_text())}
    assert ids <= {i["id"] for i in json.loads(dataset.read_text())["images"]}
    assert sorted(p.name for p in (run / "pictures").glob("**/*.png"))


def test_predict_finds_the_same_in_the_photographs(run, tiled, dataset, tmp_path):
    fdet_command("evaluate", run, tiled, "--threads", 1)
    expected = json.loads((run / "detections-a.json").read_text())
    words = ["--annotations", dataset, "--recursive", "--threads", 1, "--out", tmp_path / "p"]
    fdet_command("predict", run, dataset.parent / "images", *words)
    found = json.loads((tmp_path / "p" / "detections.json").read_text())
    values = [
        sorted((d["image_id"], d["category_id"], round(d["score"], 3)) for d in each)
        for each in (found, expected)
    ]
    assert values[0] == values[1]
    assert refused("predict", run, dataset.parent / "images", *words, "--tiles", 64)
    file = next((dataset.parent / "images").glob("*.png"))
    own, whole = fdet.load(run, threshold=0), fdet.load(run, threshold=0, tiles="none")
    assert own.tiling is not None
    assert own.tiling.side == 80
    assert whole.tiling is None
    assert len(own(file)) == len(own(Image.open(file)))
    assert not np.array_equal(own(file).scores, whole(file).scores)


def test_the_run_knows_its_tiles(run):
    tiling = RunInfo.read(run).tiling
    assert tiling is not None
    assert (tiling.side, tiling.whole) == (80, False)


@pytest.mark.parametrize("source", ["online", "finetune"])
def test_a_backbone_in_the_loop_sees_the_same_tiles(source, tiled, dataset, tmp_path):
    images = dataset.parent / "images"
    short = [*SETTINGS, "train.epochs=1"]
    more = {"source": source, "images": images, "threads": 1}
    if source == "finetune":
        short.append("backbone.train_from=c3")
    train(
        load_config(assignments=short),
        TrainOptions(cache=tiled, val=tiled, out=tmp_path / "run", **more),
    )
    words = ["--images", images] if source == "finetune" else []
    assert "12 images" in fdet_command("evaluate", tmp_path / "run", tiled, *words)


def test_an_update_takes_over_tiles_and_never_a_neighbour(tiled, dataset, tmp_path):
    out = tmp_path / "b.fdet"
    summary = extract(quick(dataset, out, update=tiled, **TILES))
    assert summary.reused == 40
    ours, theirs = FeatureCache.open(out), FeatureCache.open(tiled)
    for image_id in ours.image_ids:
        assert ours.stored(image_id, 0)[0].chunks[0].crc32c == (
            theirs.stored(image_id, 0)[0].chunks[0].crc32c
        )


def test_a_part_of_a_cache_has_all_tiles_of_its_images(tiled, tmp_path):
    fdet_command("cache", "copy", tiled, tmp_path / "c.fdet", "--limit", 2)
    layout = CacheHeader.read(tmp_path / "c.fdet").layout
    assert len(layout.images) == 6  # 128 x 128 and 128 x 64 px.
    assert "6 tiles of 2 images" in fdet_command("cache", "info", tmp_path / "c.fdet")


def test_an_audit_is_of_whole_images(run, tiled, dataset, tmp_path):
    words = ["--folds", 2, "--images", dataset.parent / "images", "--above", 0]
    fdet_command("audit", run, tiled, "--out", tmp_path / "audit", *words)
    results = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert results["images"] == 12
    names = {i["file_name"] for i in json.loads(dataset.read_text())["images"]}
    assert {entry["image"] for entry in results["entries"]} <= names


def test_other_commands_take_a_tiled_cache(run, tiled, dataset, tmp_path):
    images = dataset.parent / "images"
    fdet_command("check-equivalence", tiled, "--images", images)
    fdet_command("cache", "verify", tiled)
    fdet_command("cache", "diff", tiled, tiled)
    fdet_command("report", run, "--out", tmp_path / "r.html", "--val", tiled, "--images", images)
    assert (tmp_path / "r.html").stat().st_size > 0


def test_a_plan_counts_tiles(dataset, tmp_path):
    words = ["--images", dataset.parent / "images", "--out", tmp_path / "p.fdet", "--json"]
    words += ["--size", 64, "--backbone", "test_resnet", "--weights", "random", "--levels", "c2"]
    words += ["--trial-images", 2, "--write-trial", "64MB", "--tiles", 80, "--overlap", 0.2]
    assert json.loads(fdet_command("plan", dataset, *words))["samples"] == 40


def test_windows_beyond_a_file_that_has_changed_are_one_error(tiled, dataset, tmp_path):
    images = tmp_path / "images"
    for path in (dataset.parent / "images").rglob("*.png"):
        target = images / path.relative_to(dataset.parent / "images")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((70, 60)).save(target)
    said = refused(
        *("train-heads", tiled, "--out", tmp_path / "run", "--source", "online"),
        *("--images", images),
    )
    assert "12 images differ in size from what the annotations say" in said


def test_where_no_image_is_larger_nothing_is_cut(dataset, tmp_path, caplog):
    out = tmp_path / "b.fdet"
    extract(quick(dataset, out, **{**TILES, "tiles": 128}))
    assert "no image is larger" in caplog.text
    ids = {i["id"] for i in json.loads(dataset.read_text())["images"]}
    assert {i.id for i in CacheHeader.read(out).layout.images} == ids


def test_options_that_cannot_be_are_refused(dataset, tmp_path):
    words = ["extract", dataset, "--out", tmp_path / "b.fdet", "--size", 64]
    assert "--tiles: expected a side of at least 32 px" in refused(*words, "--tiles", 0)
    assert "--overlap: expected 0 to 0.75" in refused(*words, "--tiles", 64, "--overlap", 1)
    assert "it belongs to --tiles" in refused(*words, "--whole")
    assert not Path(tmp_path / "b.fdet").exists()


def test_a_run_on_tiles_is_compared_with_one_on_whole_images(run, tiled, dataset, tmp_path):
    whole = tmp_path / "whole.fdet"
    extract(quick(dataset, whole, levels="c2,c3", size=96, views="plain"))
    options = TrainOptions(cache=whole, val=whole, out=tmp_path / "run", threads=1)
    train(load_config(assignments=[*SETTINGS, "train.epochs=1"]), options)
    fdet_command("evaluate", tmp_path / "run", whole, "--threads", 1)
    fdet_command("evaluate", run, tiled, "--compare", tmp_path / "run", "--threads", 1)
    compared = json.loads((run / "evaluation-a.json").read_text())["compared"]
    assert compared["other"] == str(tmp_path / "run")


def test_a_last_layer_is_trained_again_on_tiles(run, tiled, tmp_path):
    words = ["--val", tiled, "--out", tmp_path / "again", "--set", "train.epochs=1"]
    fdet_command("retrain-classifier", run, tiled, *words, "--threads", 1)
    assert RunInfo.read(tmp_path / "again").tiling == RunInfo.read(run).tiling


def test_boxes_and_windows_are_browsed(tiled, dataset):
    collection = open_collection(tiled, dataset.parent / "images", None)
    tile = collection.cache.header.layout.images[1]
    assert picture(collection, tile.id, 0)["changed"] is False
    assert sum(collection.box_counts.values()) > 12
    assert sample_facts(collection, tile.id, 0)["name"] == tile.file_name
