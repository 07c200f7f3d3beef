"""--adapters: online training at first, then what is trained in it, kept, and evaluated with."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, CorruptCache, InputError
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines.processes import join_processes
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.loading import load_model, load_run
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.training.train import _try, prepared, train

from ...conftest import extraction
from .runs import assert_close, assert_same, lines, losses, options, part, tensors, tiny

CPU = torch.device("cpu")
ADAPTERS = "backbone.adapters=true"
FAST = (
    *("optim.lr=0.005", "schedule.warmup_steps=0"),
    *("head.score_threshold=0.01", "head.max_detections=20"),
)


@pytest.fixture(scope="module")
def started(live_cache, tmp_path_factory):
    """Heads on the cache."""
    run = tmp_path_factory.mktemp("started") / "run"
    train(tiny("retinanet", *FAST), options(live_cache, run, val=live_cache))
    return run


@pytest.fixture(scope="module")
def adapted(live_cache, images, started, tmp_path_factory):
    """Its heads, and adapters below them."""
    run = tmp_path_factory.mktemp("adapted") / "run"
    more = {"source": "online", "images": images, "val": live_cache, "start": started}
    train(tiny("retinanet", *FAST, ADAPTERS), options(live_cache, run, **more))
    return run


def first_step(cache, images, out, config):
    """Losses of a step and the gradients of neck and head, by name."""
    processes = join_processes("cpu")
    more = {"source": "online", "images": images}
    with prepared(config, options(cache, out, **more), processes) as loop:
        stepper = loop.stepper
        grads = {}

        def keep(number):
            for name, p in stepper.model.named_parameters():
                grads[name] = None if p.grad is None else p.grad.clone()

        stepper._move = keep
        samples = [(image_id, 0) for image_id in loop.data.image_ids[:4]]
        batches = loop.data.batches([samples], CPU, 0.0)
        done = stepper.step(batches, len(samples), 0, 10)
    return done.losses, grads


def test_the_first_step_is_that_of_online_bit_for_bit(live_cache, images, tmp_path):
    config = tiny("retinanet")
    plain = first_step(live_cache, images, tmp_path / "a", config)
    ours = first_step(live_cache, images, tmp_path / "b", tiny("retinanet", ADAPTERS))
    assert plain[0].keys() == ours[0].keys() and len(plain[0]) > 1
    assert all(torch.equal(plain[0][n], ours[0][n]) for n in plain[0])
    detectors = {n: g for n, g in ours[1].items() if n.startswith("detector.")}
    assert_same(plain[1], detectors)
    below = {n: g for n, g in ours[1].items() if n.startswith("backbone.")}
    assert below and all(g is not None for g in below.values())
    # Nothing comes through the upper layer while it is zero.
    moving = {n.split(".")[-2] for n, g in below.items() if bool(g.abs().max() > 0)}
    assert moving == {"up"}


def test_adapters_that_learn_nothing_are_training_online_bit_for_bit(live_cache, images, tmp_path):
    more = {"source": "online", "images": images}
    still = tiny("retinanet", ADAPTERS, "optim.adapter_factor=0", "train.clip_norm=0")
    train(still, options(live_cache, tmp_path / "adapted", **more))
    plain = tiny("retinanet", "train.clip_norm=0")
    train(plain, options(live_cache, tmp_path / "online", **more))
    assert losses(tmp_path / "adapted") == losses(tmp_path / "online")
    found = part(tensors(tmp_path / "adapted"), "model.")
    detector = {n: v for n, v in found.items() if not n.startswith("backbone.")}
    assert_same(detector, part(tensors(tmp_path / "online"), "model."))


def test_the_run_keeps_the_adapters_beside_the_detector_and_no_backbone(adapted, started):
    best, last = tensors(adapted, "best"), part(tensors(adapted), "model.")
    assert best.keys() == last.keys()
    mine = part(best, "backbone.")
    assert {n.partition(".")[0] for n in mine} == {"adapters"}
    assert {n for n in best if not n.startswith("backbone.")} == set(tensors(started, "best"))
    assert all(bool(v.abs().max() > 0) for n, v in mine.items() if n.endswith("up.weight"))


def test_the_backbone_below_is_the_caches(adapted):
    info = RunInfo.read(adapted)
    model = load_model(adapted, info, "last", CPU, [(64, 64)])
    inner = model.backbone._frozen[0].state_dict()
    assert_same(inner, load_backbone_of(info.key, CPU).state_dict())
    kept = part(tensors(adapted), "model.backbone.")
    assert_same(dict(model.backbone.state_dict()), kept)


def test_evaluate_passes_images_through_the_adapters(adapted, live_cache, images, tmp_path):
    last = lines(adapted, "eval")[-1]["metrics"]
    metrics, results = evaluate_run(
        adapted, live_cache, EvaluateOptions(images=images, checkpoint="last")
    )
    found = replace(metrics, errors=None, scores=None, duplicates=None).to_json()
    assert found == last
    # And without them it would have found something else.
    plain = shutil.copytree(adapted, tmp_path / "plain")
    weights = tensors(adapted)
    up = {n: torch.zeros_like(v) if ".up." in n else v for n, v in weights.items()}
    save_weights(plain / "last.safetensors", up, {}, RunInfo.read(plain).digest)
    _, others = evaluate_run(plain, live_cache, EvaluateOptions(images=images, checkpoint="last"))
    scores = [sorted((r["score"] for r in found), reverse=True)[:20] for found in (results, others)]
    assert len(scores[0]) == 20 and scores[0] != pytest.approx(scores[1], rel=0.01)


def test_predict_finds_what_evaluate_finds(adapted, live_cache, images, dataset, tmp_path):
    files = sorted((images / "sub").glob("*.png"))[:3]
    predict(adapted, files, tmp_path / "out", PredictOptions(annotations=dataset))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    seen = {r["image_id"] for r in results}
    assert len(seen) == 3
    _, found = evaluate_run(adapted, live_cache, EvaluateOptions(images=images))
    expected = [r for r in found if r["image_id"] in seen]
    assert len(results) == len(expected) > 20
    order = lambda r: (r["image_id"], -round(r["score"], 4), r["category_id"])  # noqa: E731
    for ours, theirs in zip(sorted(results, key=order), sorted(expected, key=order), strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


@pytest.mark.parametrize("way", ["command", "load_run"])
def test_cached_maps_are_refused_in_a_line(way, adapted, live_cache):
    said = (
        "was trained with --adapters in its backbone, and cached maps have not passed through them"
    )
    if way == "load_run":
        with pytest.raises(InputError, match=said):
            load_run(adapted)
        return
    result = CliRunner().invoke(app, ["evaluate", str(adapted), str(live_cache)])
    assert result.exit_code == 2
    lines_said = result.stderr.strip().splitlines()
    assert len(lines_said) == 1
    assert said in lines_said[0] and lines_said[0].endswith("give --images")


def test_the_commands_train_evaluate_and_report_it(live_cache, images, started, tmp_path):
    words = [
        *("train-heads", live_cache, "--val", live_cache, "--out", tmp_path / "run", "--adapters"),
        *("--source", "online", "--images", images, "--start", started, "--threads", "1"),
        *("--config", started / "config.toml", "--set", "train.epochs=1", "--device", "cpu"),
    ]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert RunInfo.read(tmp_path / "run").config.backbone.adapters
    words = ["evaluate", tmp_path / "run", live_cache, "--images", images, "--out", tmp_path]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "evaluation-live.json").is_file()


def test_an_interrupted_run_goes_on_bit_for_bit(adapted, live_cache, images, started, tmp_path):
    config = RunInfo.read(adapted).config
    more = {"source": "online", "images": images, "val": live_cache, "start": started}
    run = tmp_path / "run"

    class Torn(Exception):
        pass

    def tear(event):
        if event.line["kind"] == "eval" and event.line["epoch"] == 1:
            raise Torn

    with pytest.raises(Torn):
        train(config, options(live_cache, run, hooks=[tear], **more))
    assert len(lines(run, "train")) < len(lines(adapted, "train"))
    train(config, options(live_cache, run, resume=True, **more))
    assert losses(run) == losses(adapted)
    assert_same(tensors(run), tensors(adapted))
    assert_same(tensors(run, "best"), tensors(adapted, "best"))


def test_resume_without_them_is_refused(adapted, live_cache, images, started):
    config = RunInfo.read(adapted).config
    plain = replace(config, backbone=replace(config.backbone, adapters=False))
    more = {"source": "online", "images": images, "val": live_cache, "start": started}
    with pytest.raises(ConfigError, match=r"backbone\.adapters"):
        train(plain, options(live_cache, adapted, resume=True, **more))


def test_micro_batches_make_the_step_of_the_whole_batch(live_cache, images, tmp_path):
    more = {"source": "online", "images": images}
    # By each image's own number: of a common one, signs of L1 losses cancel, and Adam's step is rounding.
    settings = (ADAPTERS, "train.epochs=1", "head.normaliser=image")
    for name, parts in (("whole", 1), ("parts", 4)):
        config = tiny("retinanet", *settings, f"train.accumulate={parts}")
        train(config, options(live_cache, tmp_path / name, **more))
    whole, parts = (part(tensors(tmp_path / n), "model.") for n in ("whole", "parts"))
    assert any(n.startswith("backbone.") for n in whole)
    assert_close(whole, parts, 0.02)
    assert losses(tmp_path / "whole")[0] == pytest.approx(losses(tmp_path / "parts")[0], 1e-5)


def test_a_moving_average_is_of_the_adapters_too(live_cache, images, tmp_path):
    config = tiny("retinanet", *FAST, ADAPTERS, "train.average=0.5")
    more = {"source": "online", "images": images, "val": live_cache}
    train(config, options(live_cache, tmp_path / "run", **more))
    found = tensors(tmp_path / "run")
    mine, mean = part(found, "model.backbone."), part(found, "average.backbone.")
    assert mine.keys() == mean.keys() and mine
    assert any(not torch.equal(mine[n], mean[n]) for n in mine)


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        (
            "cached",
            [],
            "--adapters .* cached maps do not pass through them; expected --source online",
        ),
        ("finetune", [], "--adapters .* for a frozen backbone, and --source finetune trains it"),
        ("scratch", [], "--adapters .* for a frozen backbone, and --source scratch trains it"),
        ("online", ["backbone.norm=batch"], "'backbone.norm': .* keeps its statistics"),
        ("online", ["backbone.train_from=c9"], "'backbone.train_from': no level 'c9'"),
        ("online", ["backbone.train_from=c4"], None),
    ],
)
def test_what_does_not_go_with_them_is_named(source, settings, said, live_cache, images, tmp_path):
    where = images if source != "cached" else None
    config = tiny("retinanet", ADAPTERS, "train.epochs=1", *settings)
    given = options(live_cache, tmp_path / "run", source=source, images=where)
    if said is None:
        train(config, given)
        return
    with pytest.raises(ConfigError, match=said) as caught:
        train(config, given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_second_cache_does_not_go_with_them(live_cache, images, tmp_path):
    more = {"second": [live_cache], "source": "online", "images": images}
    with pytest.raises(InputError, match="--with is for cached maps"):
        train(tiny("retinanet", ADAPTERS), options(live_cache, tmp_path / "run", **more))


def test_a_backbone_in_fp16_needs_the_loss_scaled(dataset, images, tmp_path):
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    cache = tmp_path / "half.fdet"
    extract(extraction(dataset, cache, size=64, precision="fp16", **backbone))
    given = options(cache, tmp_path / "run", source="online", images=images)
    with pytest.raises(ConfigError, match=r"'train.precision': .* expected fp16, got fp32"):
        train(tiny("retinanet", ADAPTERS), given)


@pytest.mark.parametrize(
    ("settings", "source", "said"),
    [
        ([ADAPTERS, "backbone.adapter_reduction=2"], "online", "it has adapters in its backbone"),
        ([], "online", "it has adapters in its backbone"),
        ([], "cached", "it has adapters in its backbone"),
        ([], "finetune", "it has adapters in its backbone"),
    ],
)
def test_a_run_begins_with_one_of_the_same_adapters_alone(
    settings, source, said, adapted, live_cache, images, tmp_path
):
    where = images if source != "cached" else None
    more = {"source": source, "images": where, "start": adapted}
    config = tiny("retinanet", *FAST, *settings)
    with pytest.raises(InputError, match=said):
        train(config, options(live_cache, tmp_path / "run", **more))


def test_a_run_begins_with_the_adapters_of_another(adapted, live_cache, images, tmp_path):
    more = {"source": "online", "images": images, "start": adapted}
    config = tiny("retinanet", *FAST, ADAPTERS, "optim.lr=1e-12", "train.epochs=1")
    train(config, options(live_cache, tmp_path / "run", **more))
    assert_close(part(tensors(tmp_path / "run"), "model."), tensors(adapted, "best"), 1e-5)


def test_adapters_do_not_begin_with_a_finetuned_backbones_heads(live_cache, images, tmp_path):
    more = {"images": images}
    config = tiny("retinanet", "train.epochs=1")
    train(config, options(live_cache, tmp_path / "own", source="finetune", **more))
    given = options(live_cache, tmp_path / "run", source="online", start=tmp_path / "own", **more)
    with pytest.raises(InputError, match="it trained a backbone of its own"):
        train(tiny("retinanet", ADAPTERS), given)


@pytest.mark.parametrize(
    "change",
    [
        lambda v, n: {**v, n: torch.zeros(3, 5)},
        lambda v, n: {**v, n: v[n].half()},
        lambda v, n: {k: x for k, x in v.items() if k != n},
        lambda v, n: {**v, "backbone.adapters.99.up.weight": v[n].clone()},
        lambda v, n: {**v, "backbone.net.model.conv_stem.weight": v[n].clone()},
        lambda v, n: {k: x for k, x in v.items() if not k.startswith("backbone.")},
    ],
)
def test_weights_that_do_not_fit_are_refused(change, adapted, live_cache, images, tmp_path):
    run = shutil.copytree(adapted, tmp_path / "run")
    changed = change(tensors(run, "best"), "backbone.adapters.0.up.weight")
    save_weights(run / "best.safetensors", changed, {}, RunInfo.read(run).digest)
    with pytest.raises(CorruptCache, match="its weights do not fit the run's configuration"):
        evaluate_run(run, live_cache, EvaluateOptions(images=images))


def test_weights_of_a_file_are_given_again(dataset, images, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    cache = tmp_path / "cache.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": str(weights), "levels": "c3,c4,c5"}
    extract(extraction(dataset, cache, size=64, **backbone))
    run = tmp_path / "run"
    more = {"source": "online", "images": images, "weights": str(weights), "val": cache}
    train(tiny("retinanet", ADAPTERS, "train.epochs=1"), options(cache, run, **more))
    with pytest.raises(InputError, match="give it again with --weights FILE"):
        evaluate_run(run, cache, EvaluateOptions(images=images))
    metrics, _ = evaluate_run(run, cache, EvaluateOptions(images=images, weights=str(weights)))
    assert metrics.ap == lines(run, "eval")[-1]["metrics"]["ap"]
    done = predict(
        run, [next(images.glob("*.png"))], tmp_path / "out", PredictOptions(weights=str(weights))
    )
    assert done.images == 1


def test_weights_are_refused_where_no_frozen_backbone_is_run(started, live_cache):
    with pytest.raises(InputError, match=r"--weights: .* has no adapters"):
        evaluate_run(started, live_cache, EvaluateOptions(weights="random"))


def test_the_share_that_is_trained_counts_them(
    adapted, started, live_cache, images, caplog, tmp_path
):
    kept = part(tensors(adapted, "best"), "backbone.")
    count = sum(v.numel() for v in kept.values())
    before, after = (record.parameters for record in read_records([started, adapted]))
    assert after.trained == before.trained + count
    assert after.total == before.total + count
    caplog.set_level("INFO")
    more = {"source": "online", "images": images}
    config = tiny("retinanet", ADAPTERS, "train.epochs=1")
    train(config, options(live_cache, tmp_path / "run", **more))
    told = next(r.message for r in caplog.records if "trained share" in r.message)
    assert re.search(r"0\.0[678] M of test_efficientnet are frozen", told)


def test_a_plain_vit_on_its_tokens(dataset, images, tmp_path):
    cache = tmp_path / "vit.fdet"
    backbone = {"backbone": "test_vit", "weights": "random", "levels": "block5"}
    extract(extraction(dataset, cache, size=64, **backbone))
    run = tmp_path / "run"
    more = {"source": "online", "images": images, "val": cache}
    config = tiny("retinanet", ADAPTERS, "neck.min_level=4", "train.epochs=1")
    train(config, options(cache, run, **more))
    metrics, _ = evaluate_run(run, cache, EvaluateOptions(images=images))
    assert metrics.ap == lines(run, "eval")[-1]["metrics"]["ap"]
    assert predict(run, [next(images.glob("*.png"))], tmp_path / "out").images == 1


def test_a_trial_within_a_memory_limit_does_all_that_a_run_does(live_cache, images, tmp_path):
    more = {"source": "online", "images": images, "val": live_cache, "memory_limit": 2**40}
    given = options(live_cache, tmp_path, **more)
    assert _try(tiny("retinanet", ADAPTERS), given, join_processes("cpu")) == 0
    assert lines(tmp_path, "eval")
    kept = part(tensors(tmp_path), "model.backbone.")
    assert {n.partition(".")[0] for n in kept} == {"adapters"}
