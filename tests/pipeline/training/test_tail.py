"""--source tail: the last stages of the backbone, trained on the cached maps of the level before them."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import assert_same, lines, losses, options, part, tensors, tiny

FROM = "backbone.train_from=c5"
# One image in a pass, as extraction had: so the trunk's maps are the same to the last bit.
SINGLE = ("train.batch_size=1", "train.epochs=1")
FAST = (
    *("optim.lr=0.005", "schedule.warmup_steps=0", "optim.backbone_factor=1.0"),
    *("head.score_threshold=0.01", "head.max_detections=20"),
)


@pytest.fixture(scope="module")
def short_cache(dataset, tmp_path_factory):
    """As live_cache, without the level of the tail."""
    out = tmp_path_factory.mktemp("short") / "short.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4"}
    extract(extraction(dataset, out, size=64, views="plain,hflip", codec="fp32", **backbone))
    return out


@pytest.fixture(scope="module")
def tailed(short_cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("tailed") / "run"
    train(tiny("retinanet", *FAST, FROM), options(short_cache, run, val=short_cache, source="tail"))
    return run


@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn"])
def test_it_is_finetune_from_there_bit_for_bit(live_cache, images, tmp_path, head):
    """Twelve steps: losses, and all weights behind the cut."""
    config = tiny(head, FROM, *SINGLE, "optim.backbone_factor=1.0", "optim.layer_decay=0.5")
    train(config, options(live_cache, tmp_path / "tail", source="tail"))
    train(config, options(live_cache, tmp_path / "whole", source="finetune", images=images))
    assert losses(tmp_path / "tail") == losses(tmp_path / "whole")
    mine, theirs = (part(tensors(tmp_path / name), "model.") for name in ("tail", "whole"))
    tail, whole = part(mine, "backbone.net."), part(theirs, "backbone.")
    assert tail.keys() < whole.keys()
    assert_same(tail, {name: whole[name] for name in tail})
    for above in ("neck.", "head."):
        assert_same(part(mine, above), part(theirs, above))


def test_a_cache_without_the_levels_of_the_tail_serves_as_well(live_cache, short_cache, tmp_path):
    config = tiny("retinanet", FROM, "train.epochs=1")
    for name, cache in (("with", live_cache), ("without", short_cache)):
        train(config, options(cache, tmp_path / name, source="tail"))
    assert_same(tensors(tmp_path / "with"), tensors(tmp_path / "without"))
    assert RunInfo.read(tmp_path / "without").levels.names == ("c3", "c4", "c5")
    assert RunInfo.read(tmp_path / "without").key.levels.names == ("c3", "c4")


def test_adapters_in_the_tail_are_those_of_online_from_there(live_cache, images, tmp_path):
    config = tiny("retinanet", FROM, *SINGLE, "backbone.adapters=true")
    train(config, options(live_cache, tmp_path / "tail", source="tail"))
    train(config, options(live_cache, tmp_path / "whole", source="online", images=images))
    assert losses(tmp_path / "tail") == losses(tmp_path / "whole")
    assert_same(tensors(tmp_path / "tail"), tensors(tmp_path / "whole"))


def test_a_frozen_tail_trains_the_heads_as_cached_maps_do(live_cache, short_cache, tmp_path):
    frozen = tiny("retinanet", FROM, *SINGLE, "backbone.frozen_tail=true")
    train(frozen, options(short_cache, tmp_path / "tail", source="tail"))
    train(tiny("retinanet", *SINGLE), options(live_cache, tmp_path / "cached"))
    mine = tensors(tmp_path / "tail", "best")
    detector = {n: v for n, v in mine.items() if not n.startswith("backbone.")}
    assert_same(detector, tensors(tmp_path / "cached", "best"))


def test_it_is_evaluated_as_it_was_in_training_and_finds_the_same_in_images(
    tailed, short_cache, images, tmp_path
):
    metrics, found = evaluate_run(tailed, short_cache, EvaluateOptions(device="cpu", threads=1))
    best = max(line["metrics"]["ap"] for line in lines(tailed, "eval"))
    assert metrics.ap == pytest.approx(best)
    assert found
    given = PredictOptions(device="cpu", threads=1, pictures="none")
    predict(tailed, [images], tmp_path / "found", given)
    assert (tmp_path / "found" / "detections.json").is_file()


def test_an_interrupted_run_goes_on_with_the_same_weights(short_cache, tmp_path):
    config = tiny("retinanet", *FAST, FROM)
    whole = options(short_cache, tmp_path / "whole", source="tail")
    train(config, whole)

    class Stopped(Exception):
        pass

    def stop(event):
        if event.line["kind"] == "train" and event.line["epoch"] == 1:
            raise Stopped

    parted = replace(whole, out=tmp_path / "parted")
    with pytest.raises(Stopped):
        train(config, replace(parted, hooks=[stop]))
    train(config, replace(parted, resume=True))
    assert_same(tensors(tmp_path / "whole"), tensors(tmp_path / "parted"))


def test_it_starts_from_heads_that_were_trained_on_the_cache(live_cache, tmp_path):
    train(tiny("retinanet", *FAST), options(live_cache, tmp_path / "heads"))
    config = tiny("retinanet", FROM, "train.epochs=1", "optim.lr=1e-12")
    given = options(live_cache, tmp_path / "tail", source="tail", start=tmp_path / "heads")
    train(config, given)
    before, after = tensors(tmp_path / "heads", "best"), tensors(tmp_path / "tail", "best")
    for name, value in before.items():
        assert torch.allclose(value, after[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("assignments", "more", "message"),
    [
        ((), {}, "--source tail needs the level that the tail begins with"),
        (("backbone.train_from=c1",), {}, "expected the level that a tail begins with, got 'c1'"),
        (("backbone.train_from=c9",), {}, "expected the level that a tail begins with, got 'c9'"),
        (
            ("backbone.train_from=c3",),
            {},
            "takes the maps of c2, and .* has c3, c4, c5; extract it with --levels c2",
        ),
        ((FROM, "backbone.frozen_tail=true"), {"source": "cached"}, "frozen_tail"),
        ((FROM, "backbone.frozen_tail=true", "backbone.adapters=true"), {}, "frozen_tail"),
    ],
)
def test_what_does_not_go_with_it_is_refused(live_cache, tmp_path, assignments, more, message):
    given = {"source": "tail", **more}
    with pytest.raises(ConfigError, match=message):
        train(tiny("retinanet", *assignments), options(live_cache, tmp_path / "run", **given))
    assert not (tmp_path / "run").exists()


def test_images_are_not_its_business(live_cache, images, tmp_path):
    given = options(live_cache, tmp_path / "run", source="tail", images=images)
    with pytest.raises(InputError, match="--images is for a backbone in the loop"):
        train(tiny("retinanet", FROM), given)


def test_on_the_command_line(short_cache, tmp_path):
    words = ["train-heads", short_cache, "--val", short_cache, "--out", tmp_path / "run"]
    settings = ["neck.channels=8", "neck.max_level=5", "train.epochs=1", "head.convs=1", FROM]
    words += ["--source", "tail", "--device", "cpu", "--threads", "1"]
    words += [word for each in settings for word in ("--set", each)]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run"), str(short_cache)])
    assert result.exit_code == 0, result.output
