"""--source tail: the last stages of the backbone, trained on the cached maps of the level before them."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.tail import Tail
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ..backbones.tiny import SWIN, VIT
from .conftest import FAST, FROM
from .runs import assert_same, lines, losses, options, part, tensors, tiny

# One image in a pass, as extraction had: so the trunk's maps are the same to the last bit.
SINGLE = ("train.batch_size=1", "train.epochs=1")


def assert_tail_is_finetune(cache, images, folder, head, *settings):
    """Train both, and compare losses and all weights behind the cut."""
    config = tiny(head, *settings, "optim.backbone_factor=1.0", "optim.layer_decay=0.5")
    train(config, options(cache, folder / "tail", source="tail"))
    train(config, options(cache, folder / "whole", source="finetune", images=images))
    assert losses(folder / "tail") == losses(folder / "whole")
    mine, theirs = (part(tensors(folder / name), "model.") for name in ("tail", "whole"))
    tail, whole = part(mine, "backbone.net."), part(theirs, "backbone.")
    assert tail.keys() < whole.keys()
    assert_same(tail, {name: whole[name] for name in tail})
    for above in ("neck.", "head."):
        assert_same(part(mine, above), part(theirs, above))
    return tail


@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn"])
def test_it_is_finetune_from_there_bit_for_bit(live_cache, images, tmp_path, head):
    """Twelve steps: losses, and all weights behind the cut."""
    assert_tail_is_finetune(live_cache, images, tmp_path, head, FROM, *SINGLE)


# name: the level that the tail begins with, and the levels of the cache
FAMILIES = {
    "test_resnet": ("c4", "c3,c4,c5"),
    "mobilenetv3_small_050": ("c5", "c3,c4,c5"),
    "test_convnext": ("c4", "c3,c4,c5"),
    SWIN: ("c4", "c3,c4,c5"),
    VIT: ("block2", "block1,block3"),
}


# timm's own resizing of position biases.
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:timm")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning:timm")
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_over_24_steps_it_is_finetune_for_a_model_of_each_family(name, dataset, images, tmp_path):
    start, levels = FAMILIES[name]
    made = {"backbone": name, "weights": "random", "levels": levels, "tokens": name == VIT}
    extract(extraction(dataset, tmp_path / "c.fdet", size=64, codec="fp32", **made))
    neck = ("neck.name=vit-pyramid",) if name == VIT else ()
    settings = (*neck, f"backbone.train_from={start}", *SINGLE, "train.epochs=2")
    tail = assert_tail_is_finetune(tmp_path / "c.fdet", images, tmp_path, "retinanet", *settings)
    begun = Tail(
        load_backbone(name, weights="random", levels=levels.split(",")),
        start,
        trained=True,
        canvases=[(64, 64)],
    )
    before = begun.net.state_dict()
    assert any(not torch.equal(before[name], value) for name, value in tail.items())


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


def test_it_starts_from_heads_on_a_frozen_tail_and_in_part_from_those_on_fewer_levels(
    short_cache, tmp_path, caplog
):
    config = tiny("retinanet", FROM, "train.epochs=1", "optim.lr=1e-12")
    frozen = tiny("retinanet", *FAST, FROM, "backbone.frozen_tail=true", "train.epochs=1")
    train(frozen, options(short_cache, tmp_path / "frozen", source="tail"))
    given = {"source": "tail", "start": tmp_path / "frozen"}
    train(config, options(short_cache, tmp_path / "tail", **given))
    before, after = tensors(tmp_path / "frozen", "best"), tensors(tmp_path / "tail", "best")
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())
    train(tiny("retinanet", *FAST, "train.epochs=1"), options(short_cache, tmp_path / "few"))
    given["start"] = tmp_path / "few"
    train(config, options(short_cache, tmp_path / "other", **given))
    assert "levels: c3, c4 here, c3, c4, c5 there" in caplog.text
    before, after = tensors(tmp_path / "few", "best"), tensors(tmp_path / "other", "best")
    moves = {n for n, value in after.items() if torch.allclose(value, before.get(n, value + 1))}
    assert {n for n in after if n.startswith("head.")} <= moves
    assert not any("inner_blocks" in n and n.endswith("weight") for n in moves)


def test_it_starts_from_another_tail(tailed, short_cache, tmp_path):
    config = tiny("retinanet", FROM, "train.epochs=1", "optim.lr=1e-12")
    train(config, options(short_cache, tmp_path / "run", source="tail", start=tailed))
    before, after = tensors(tailed, "best"), tensors(tmp_path / "run", "best")
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.allclose(value, after[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("source", "more", "said"),
    [
        ("cached", (), "has a tail of its own from c5 on; use --source tail"),
        (
            "tail",
            ("backbone.train_from=c4",),
            "has a tail of its own from c5 on; use --source tail",
        ),
        ("tail", (FROM, "backbone.adapters=true"), "it has no adapters in its backbone"),
    ],
)
def test_it_does_not_start_from_a_tail_that_is_not_its_own(
    tailed, short_cache, tmp_path, source, more, said
):
    given = options(short_cache, tmp_path / "run", source=source, start=tailed)
    with pytest.raises(InputError, match=said):
        train(tiny("retinanet", *more), given)


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
