"""One loop, four sources: what each of them trains, keeps, and is evaluated with."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError, KeyMismatch
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .runs import (
    assert_close,
    assert_same,
    content,
    lines,
    losses,
    options,
    part,
    rewrite,
    tensors,
    tiny,
)

CPU = torch.device("cpu")
FAST = (
    *("optim.lr=0.005", "schedule.warmup_steps=0"),
    *("head.score_threshold=0.01", "head.max_detections=20"),
)
# Of a score, where the same image passes in batches of another size.
ROUNDING = 1e-4


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.fixture(scope="module")
def finetuned(live_cache, images, tmp_path_factory):
    """All behind c3, evaluated through its own backbone."""
    run = tmp_path_factory.mktemp("finetuned") / "run"
    config = tiny("retinanet", *FAST, "backbone.train_from=c4", "optim.backbone_factor=0.5")
    more = {"source": "finetune", "images": images, "val": live_cache}
    train(config, options(live_cache, run, **more))
    return run


@pytest.fixture(scope="module")
def scratch(live_cache, images, tmp_path_factory):
    run = tmp_path_factory.mktemp("scratch") / "run"
    more = {"source": "scratch", "images": images, "val": live_cache}
    train(tiny("faster-rcnn", *FAST), options(live_cache, run, **more))
    return run


def original(run):
    """The cache's backbone, by the names in a checkpoint."""
    frozen = load_backbone_of(RunInfo.read(run).key, CPU)
    return part(frozen.state_dict(), "_net.")


def backbone_of(run, name="best"):
    return part(tensors(run, name), "backbone.net.")


def test_finetuning_moves_what_lies_behind_the_level_and_no_statistics(finetuned):
    before, after = original(finetuned), backbone_of(finetuned)
    assert before.keys() == after.keys()
    moved = {n for n in after if not torch.equal(after[n], before[n])}
    # test_efficientnet: c3 ends blocks.2, c4 blocks.3 and c5 the last of them.
    stages = {re.match(r"model\.(blocks\.\d|\w+)", n)[1] for n in moved}
    assert stages == {"blocks.3", "blocks.4"}
    assert not any(is_statistic(n) for n in moved)


def test_scratch_moves_everything_also_the_statistics(scratch):
    before, after = original(scratch), backbone_of(scratch)
    still = {n for n in after if torch.equal(after[n], before[n])}
    assert not any(n.endswith(("conv.weight", "running_mean", "running_var")) for n in still)
    assert len(still) < 0.1 * len(after)


@pytest.mark.parametrize("kind", ["finetuned", "scratch"])
def test_the_state_has_the_backbone_too(kind, request):
    run = request.getfixturevalue(kind)
    last = part(tensors(run), "model.")
    assert last.keys() == tensors(run, "best").keys()
    assert lines(run, "eval")[-1]["epoch"] == 2


@pytest.mark.parametrize("kind", ["finetuned", "scratch"])
def test_evaluate_uses_the_runs_own_backbone(kind, live_cache, images, request):
    run = request.getfixturevalue(kind)
    last = lines(run, "eval")[-1]["metrics"]
    metrics, results = evaluate_run(
        run, live_cache, EvaluateOptions(images=images, checkpoint="last")
    )
    assert results
    found = replace(metrics, errors=None, scores=None, duplicates=None).to_json()
    for name in ("per_class", "objects", "sizes"):
        assert found.pop(name) == pytest.approx(last.pop(name), abs=1e-3)
    assert found == pytest.approx(last, abs=1e-3)


def test_with_the_caches_backbone_it_would_have_found_something_else(
    finetuned, live_cache, images, tmp_path
):
    """So the figures agree because the backbone is the run's own."""
    run = shutil.copytree(finetuned, tmp_path / "run")
    _, mine = evaluate_run(run, live_cache, EvaluateOptions(images=images))
    info = content(run)
    info["data"]["source"] = "online"
    rewrite(run, info)
    weights = tensors(run, "best")
    detector = {n: v for n, v in weights.items() if not n.startswith("backbone.")}
    save_weights(run / "best.safetensors", detector, {}, RunInfo.read(run).digest)
    _, theirs = evaluate_run(run, live_cache)
    scores = [sorted((r["score"] for r in found), reverse=True)[:20] for found in (mine, theirs)]
    assert scores[0] != pytest.approx(scores[1], rel=0.01)


@pytest.mark.parametrize("kind", ["finetuned", "scratch"])
def test_predict_finds_what_evaluate_finds(kind, live_cache, images, dataset, tmp_path, request):
    run = request.getfixturevalue(kind)
    files = sorted((images / "sub").glob("*.png"))[:3]
    predict(run, files, tmp_path / "out", PredictOptions(annotations=dataset))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    seen = {r["image_id"] for r in results}
    assert len(seen) == 3
    _, found = evaluate_run(run, live_cache, EvaluateOptions(images=images))
    expected = [r for r in found if r["image_id"] in seen]
    assert len(results) == len(expected) > 20
    order = lambda r: (r["image_id"], -round(r["score"], 4), r["category_id"])  # noqa: E731
    for ours, theirs in zip(sorted(results, key=order), sorted(expected, key=order), strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=ROUNDING)
    with pytest.raises(InputError, match="has a backbone of its own"):
        predict(run, files, tmp_path / "again", PredictOptions(weights="random"))


def test_predict_computes_in_the_precision_that_evaluate_does(
    live_cache, images, dataset, tmp_path
):
    run = tmp_path / "run"
    config = tiny("retinanet", *FAST, "train.precision=bf16", "train.epochs=1")
    train(config, options(live_cache, run))
    file = images / "10.png"
    predict(run, [file], tmp_path / "out", PredictOptions(annotations=dataset))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    _, found = evaluate_run(run, live_cache)
    expected = [r["score"] for r in found if r["image_id"] == 10]
    assert len(expected) > 5
    assert [r["score"] for r in results] == pytest.approx(expected, rel=1e-4)


def test_evaluating_it_on_cached_maps_is_refused_in_a_line(finetuned, live_cache):
    result = CliRunner().invoke(app, ["evaluate", str(finetuned), str(live_cache)])
    assert result.exit_code == 2
    said = result.stderr.strip().splitlines()
    assert len(said) == 1
    assert "was trained with --source finetune" in said[0] and said[0].endswith("give --images")


def test_the_command_evaluates_it_with_images(finetuned, live_cache, images, tmp_path):
    words = ["evaluate", finetuned, live_cache, "--images", images, "--out", tmp_path]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "evaluation-live.json").is_file()


def test_a_run_on_cached_maps_needs_no_images(live_cache, images, tmp_path):
    train(tiny("retinanet", "train.epochs=1"), options(live_cache, tmp_path / "run"))
    with pytest.raises(InputError, match="is evaluated on cached maps and needs no images"):
        evaluate_run(tmp_path / "run", live_cache, EvaluateOptions(images=images))


def test_a_cache_of_other_features_is_refused_before_its_images_are_looked_for(
    finetuned, dataset, images, tmp_path
):
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    extract(extraction(dataset, tmp_path / "large.fdet", size=96, **backbone))
    with pytest.raises(KeyMismatch, match="short: 64 here, 96 there"):
        evaluate_run(finetuned, tmp_path / "large.fdet", EvaluateOptions(images=tmp_path))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_online_is_cached_bit_for_bit_in_half_precision_too(
    precision, live_cache, images, tmp_path
):
    """A frozen backbone keeps the precision that the cache was made with."""
    config = tiny("retinanet", f"train.precision={precision}")
    train(config, options(live_cache, tmp_path / "cached"))
    more = {"source": "online", "images": images}
    train(config, options(live_cache, tmp_path / "online", **more))
    assert losses(tmp_path / "cached") == losses(tmp_path / "online")
    assert_same(tensors(tmp_path / "cached"), tensors(tmp_path / "online"))


def test_a_backbone_that_learns_nothing_is_the_frozen_one(live_cache, images, tmp_path):
    """With a rate of zero, finetune is online but for the size of its backbone's batches."""
    config = tiny("retinanet", "optim.backbone_factor=0", "train.epochs=1")
    more = {"images": images}
    train(config, options(live_cache, tmp_path / "online", source="online", **more))
    train(config, options(live_cache, tmp_path / "finetune", source="finetune", **more))
    frozen, mine = original(tmp_path / "finetune"), backbone_of(tmp_path / "finetune")
    assert_same(mine, frozen)
    online = part(tensors(tmp_path / "online"), "model.")
    finetune = part(tensors(tmp_path / "finetune"), "model.")
    detector = {n: v for n, v in finetune.items() if not n.startswith("backbone.")}
    assert_close(online, detector, 0.05)
    assert losses(tmp_path / "online")[0] == pytest.approx(losses(tmp_path / "finetune")[0], 1e-4)


def test_from_scratch_the_whole_backbone_has_the_full_rate(live_cache, images, tmp_path):
    """What is meant for a fine backbone does not slow a random one."""
    more = {"source": "scratch", "images": images}
    for name, factor in (("a", 0.01), ("b", 1.0)):
        config = tiny("retinanet", f"optim.backbone_factor={factor}", "train.epochs=1")
        train(config, options(live_cache, tmp_path / name, **more))
    assert_same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


def test_another_seed_draws_another_backbone(scratch, live_cache, images, tmp_path):
    config = tiny("faster-rcnn", "train.seed=1", "train.epochs=1", "optim.lr=1e-12")
    train(config, options(live_cache, tmp_path / "run", source="scratch", images=images))
    name = "model.conv_stem.weight"
    drawn = backbone_of(tmp_path / "run")[name]
    assert not np.allclose(drawn.numpy(), original(scratch)[name].numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        ("finetune", ["backbone.train_from=c9"], "'backbone.train_from': no level 'c9'"),
        ("scratch", ["backbone.train_from=c4"], "scratch trains all of the backbone"),
        ("scratch", ["backbone.norm=frozen"], "scratch trains all of the backbone"),
        ("cached", ["train.patience=3"], "'train.patience': nothing is evaluated without --val"),
    ],
)
def test_settings_that_do_not_go_with_the_source_are_named(
    source, settings, said, live_cache, images, tmp_path
):
    where = images if source != "cached" else None
    with pytest.raises(ConfigError) as caught:
        train(
            tiny("retinanet", *settings),
            options(live_cache, tmp_path / "run", source=source, images=where),
        )
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_resume_with_another_source_is_refused(finetuned, live_cache, images):
    config = RunInfo.read(finetuned).config
    more = {"source": "online", "images": images, "val": live_cache, "resume": True}
    with pytest.raises(InputError, match="trained on something else: source"):
        train(config, options(live_cache, finetuned, **more))


def test_the_share_that_is_trained_counts_the_backbone(live_cache, images, tmp_path, caplog):
    caplog.set_level("INFO")
    config = tiny("retinanet", "train.epochs=1")
    told = {}
    for source in ("cached", "finetune"):
        where = images if source != "cached" else None
        train(config, options(live_cache, tmp_path / source, source=source, images=where))
        told[source] = next(r.message for r in caplog.records if "trained share" in r.message)
        caplog.clear()
    assert re.search(r"0\.0[678] M of test_efficientnet are frozen", told["cached"])
    assert "0.00 M of test_efficientnet are frozen; trained share 100.0%" in told["finetune"]


def test_only_a_run_of_one_canvas_trains_a_model_that_is_fitted_to_it(dataset, images, tmp_path):
    cache = tmp_path / "vit.fdet"
    backbone = {"backbone": "test_vit", "weights": "random", "levels": "block5"}
    extract(extraction(dataset, cache, size=64, **backbone))
    config = tiny("retinanet", "neck.min_level=4", "train.epochs=1", "backbone.train_from=block4")
    more = {"source": "finetune", "images": images, "val": cache}
    train(config, options(cache, tmp_path / "run", **more))
    last = lines(tmp_path / "run", "eval")[-1]["metrics"]
    metrics, _ = evaluate_run(tmp_path / "run", cache, EvaluateOptions(images=images))
    assert metrics.ap == pytest.approx(last["ap"], abs=1e-3)
    done = predict(tmp_path / "run", [next(images.glob("*.png"))], tmp_path / "out")
    assert done.images == 1
    kept = RunInfo.read(tmp_path / "run").config
    assert kept == config.adopting(kept)
