"""Stage 2: the last classifier layer and nothing else, resumable, and of use for rare classes."""

import json
import shlex
import shutil
from dataclasses import replace
from functools import cache
from hashlib import sha256

import pytest
import torch
from pycocotools import mask
from safetensors.torch import save_file
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError, KeyMismatch
from fdet.heads.necks import NECKS
from fdet.heads.roi.last_layer import seen_rois
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.reporting.commands import reproduction
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.retraining import pool as pool_module
from fdet.pipeline.tools.retraining import retrain as retrain_module
from fdet.pipeline.tools.retraining.config import stage_2_config
from fdet.pipeline.tools.retraining.retrain import retrain
from fdet.pipeline.tools.retraining.settings import RetrainSettings
from fdet.pipeline.training import loop as loop_module
from fdet.pipeline.training.step import Stepper, image_seed
from fdet.pipeline.training.train import train

from ....conftest import extraction
from ....generated import make_dataset, outlined
from ...training.runs import SHARED, assert_same, lines, options, tensors, tiny
from ...training.test_resume import Torn

SMALL_ROI = ("head.fc_channels=32", "head.sampled=16", "head.rpn_sampled=16")
CASES = {
    "retinanet": ("head.convs=1",),
    "fcos": ("head.convs=1",),
    "tal": ("head.convs=1",),
    "faster-rcnn": SMALL_ROI,
    "cascade-rcnn": SMALL_ROI,
    "query": ("head.queries=20", "head.layers=2", "head.ffn_channels=32"),
    "bifpn": ("head.convs=1", "neck.repeats=1", "neck.norm=sync-bn"),
}
LAST = {
    "retinanet": "classification_head.cls_logits.",
    "bifpn": "classification_head.cls_logits.",
    "fcos": "classification_head.cls_logits.",
    "tal": "classification_head.output.",
    "faster-rcnn": ".predictor.cls_score.",
    "cascade-rcnn": ".predictor.cls_score.",
    "query": ".classifier.",
}
QUICK = RetrainSettings(epochs=3, lr=0.01, class_balance=0.9, samplings=2)


def config_of(case, *more):
    neck, head = (case, "retinanet") if case in NECKS else (None, case)
    # A query head has layer norms of its own.
    shared = [one for one in SHARED if case != "query" or not one.startswith("head.norm=")]
    assignments = [*shared, *CASES[case], "train.epochs=1", "head.score_threshold=0.001", *more]
    return load_config(neck=neck, head=head, assignments=assignments)


@pytest.fixture(scope="module")
def stage_1(live_cache, tmp_path_factory):
    """A finished run of a case; read only."""
    folder = tmp_path_factory.mktemp("stage1")

    @cache
    def run(case):
        train(config_of(case), options(live_cache, folder / case, val=live_cache))
        return folder / case

    return run


def changed(run, out):
    """The tensors of a run's kept weights that are not those of the other's."""
    before, after = tensors(run, "best"), tensors(out, "best")
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("case", CASES)
def test_the_last_layer_changes_and_nothing_else(case, stage_1, live_cache, tmp_path):
    """Bit for bit, the statistics of norms too."""
    run, out = stage_1(case), tmp_path / "run"
    done = retrain(run, options(live_cache, out, val=live_cache), QUICK)
    own = {name for name in tensors(run, "best") if LAST[case] in name}
    assert changed(run, out) == own
    assert len(own) == (6 if case in ("cascade-rcnn", "query") else 2)
    if case == "bifpn":
        assert any(name.endswith("running_mean") for name in tensors(run, "best"))
    told = lines(out, "train")
    assert all(set(line["losses"]) == {"classification"} for line in told)
    assert done.summary.steps == 9 and done.after == lines(out, "eval")[-1]["metrics"]
    assert done.before["ap"] == lines(run, "eval")[-1]["metrics"]["ap"]
    assert json.loads((out / "before.json").read_text()) == done.before


@pytest.mark.parametrize("case", ["faster-rcnn", "retinanet"])
def test_it_is_a_run_as_any_other(case, stage_1, live_cache, dataset, tmp_path):
    run, out = stage_1(case), tmp_path / "run"
    done = retrain(run, options(live_cache, out, val=live_cache), QUICK)
    metrics, results = evaluate_run(out, live_cache)
    assert metrics.ap == done.after["ap"] and len(results) > 12
    found = predict(
        out,
        [dataset.parent / "images"],
        tmp_path / "found",
        PredictOptions(device="cpu", threads=1, recursive=True),
    )
    assert found.images == 12 and not found.failed
    (record,) = read_records([out])
    layer = sum(v.numel() for n, v in tensors(out, "best").items() if LAST[case] in n)
    assert record.finished and record.parameters.trained == layer
    info, before = RunInfo.read(out), RunInfo.read(run)
    digest = sha256((run / "best.safetensors").read_bytes()).hexdigest()
    assert info.stage_2 and not before.stage_2
    assert info.data["start"] == digest and "samplings 2" in info.data["stage 2"]
    assert (info.config.neck, info.config.head.class_balance) == (before.config.neck, 0.9)
    config = replace(info.config, train=replace(info.config.train, epochs=1))
    train(config, options(live_cache, tmp_path / "next", start=out))
    retrain(out, options(live_cache, tmp_path / "again"), replace(QUICK, epochs=1))


def test_pooled_rois_are_those_of_the_detector(stage_1, live_cache, tmp_path, monkeypatch):
    """What a step takes, against a pass over the maps with the same seeds."""
    run, out, pools = stage_1("cascade-rcnn"), tmp_path / "run", []
    original = retrain_module.pooled

    def keeping(*arguments):
        pools.append((original(*arguments), arguments))
        return pools[-1][0]

    monkeypatch.setattr(retrain_module, "pooled", keeping)
    retrain(run, options(live_cache, out), replace(QUICK, epochs=1))
    ((pool, (config, model, data, *_)),) = pools
    samples = [(i, v) for v in range(2) for i in data.image_ids]
    assert set(pool.rows) == set(samples) and pool.vectors.shape[0] == 2 * len(samples)
    for image_id, view in samples[::5]:
        (batch,) = data.batches([[(image_id, view)]], torch.device("cpu"), config.train.min_visible)
        for sampling in range(2):
            seeds = [image_seed(config.train.seed, view * 2 + sampling, image_id)]
            given = batch.pyramid(), batch.placements, batch.targets, seeds
            (expected,) = seen_rois(model.detector, *given)
            found = pool.seen((image_id, view), sampling)
            assert torch.equal(found.labels, expected.labels)
            torch.testing.assert_close(found.vectors, expected.vectors, rtol=1e-5, atol=1e-6)
    (first,) = pool.batches([samples[:3]], 4, data, torch.device("cpu"))
    (second,) = pool.batches([samples[:3]], 5, data, torch.device("cpu"))
    assert not torch.equal(first.seen[0].vectors, second.seen[0].vectors), "samplings take turns"
    (third,) = pool.batches([samples[:3]], 6, data, torch.device("cpu"))
    assert torch.equal(first.seen[0].vectors, third.seen[0].vectors)


def test_what_does_not_fit_in_memory_goes_to_a_file_that_leaves_nothing(
    stage_1, live_cache, tmp_path, monkeypatch, caplog
):
    run = stage_1("faster-rcnn")
    retrain(run, options(live_cache, tmp_path / "ram"), QUICK)
    monkeypatch.setattr(pool_module, "free_memory", lambda device: 0)
    caplog.set_level("INFO", "fdet")
    retrain(run, options(live_cache, tmp_path / "disk"), QUICK)
    assert "go to a scratch file in" in caplog.text
    assert_same(tensors(tmp_path / "ram"), tensors(tmp_path / "disk"))
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("ram", "disk")]
    assert names[0] == names[1]


@pytest.mark.parametrize("case", ["faster-rcnn", "tal"])
@pytest.mark.parametrize("step", [2, 7])
def test_an_interrupted_run_ends_with_the_same_bits(
    case, step, stage_1, live_cache, tmp_path, monkeypatch
):
    run, saving = stage_1(case), ["train.save_minutes=0", "train.eval_every=1"]
    monkeypatch.setattr(loop_module, "LOG_EVERY_STEPS", 1)
    whole = options(live_cache, tmp_path / "whole", val=live_cache)
    retrain(run, whole, QUICK, saving)
    original = Stepper.step

    def tearing(stepper, batches, size, number, total):
        if number == step:
            raise Torn
        return original(stepper, batches, size, number, total)

    pieces = replace(whole, out=tmp_path / "torn")
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", tearing)
        with pytest.raises(Torn):
            retrain(run, pieces, QUICK, saving)
    done = retrain(run, replace(pieces, resume=True), QUICK, saving)
    again = retrain(run, replace(pieces, resume=True), QUICK, saving)
    assert (again.before, again.after) == (done.before, done.after)
    for name in ("last", "best"):
        assert_same(tensors(pieces.out, name), tensors(whole.out, name))
    assert lines(pieces.out, "eval") == lines(whole.out, "eval")


def test_resuming_refuses_what_it_was_not_started_with(stage_1, live_cache, tmp_path):
    run, own = stage_1("faster-rcnn"), options(live_cache, tmp_path / "run")
    retrain(run, own, QUICK)
    resumed = replace(own, resume=True)
    with pytest.raises(InputError, match="it contains a run already"):
        retrain(run, own, QUICK)
    with pytest.raises(ConfigError, match=r"optim\.lr was 0\.01, is 0\.02"):
        retrain(run, resumed, replace(QUICK, lr=0.02))
    with pytest.raises(InputError, match="trained on something else: stage 2"):
        retrain(run, resumed, replace(QUICK, samplings=1))
    other = shutil.copytree(run, tmp_path / "other")
    others = {n: v + 1 for n, v in tensors(run, "best").items()}
    save_weights(other / "best.safetensors", others, {}, RunInfo.read(other).digest)
    with pytest.raises(InputError, match="trained on something else: start"):
        retrain(other, resumed, QUICK)
    with pytest.raises(InputError, match=r"trained on something else: .*stage 2"):
        train(RunInfo.read(own.out).config, replace(resumed, start=run))


def torn_copy(run, out):
    """A run that was stopped before its end."""
    shutil.copytree(run, out)
    (out / "last.safetensors").unlink()
    return out


BAD = [
    (["TMP/unfinished", "CACHE"], "is not finished; continue it with"),
    (["TMP/none", "CACHE"], "is not a run: it has no run.json"),
    (["RUN", "TMP/other.fdet"], "was trained on other features"),
    (["RUN", "CACHE", "--val", "TMP/other.fdet"], "other features than this run was trained on"),
    (["RUN", "CACHE", "--annotations", "TMP/renamed.json"], "it knows the classes"),
    (
        ["RUN", "CACHE", "--set", "head.fc_channels=64"],
        "another head; give the same settings: --set",
    ),
    (["RUN", "CACHE", "--set", "neck.channels=16"], "another neck; give the same settings: --set"),
    (["RUN", "CACHE", "--samplings", "0"], "--samplings: expected 1 to 1000, got 0"),
    (["RUN", "CACHE", "--epochs", "0"], "'train.epochs': expected at least 1, got 0"),
    (["RUN", "CACHE", "--class-balance", "1"], "'head.class_balance': expected 0 to"),
    (["RUN", "CACHE", "--with", "CACHE", "--val", "CACHE"], "--with needs --val-with"),
    (["RUN", "CACHE", "--set", "head.federated=5"], "head.federated"),
]


@pytest.fixture(scope="module")
def places(stage_1, live_cache, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    torn_copy(stage_1("faster-rcnn"), folder / "unfinished")
    (folder / "renamed.json").write_text(dataset.read_text().replace('"disc"', '"dish"'))
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    extract(extraction(dataset, folder / "other.fdet", size=64, seed=1, **backbone))
    own = {"RUN": str(stage_1("faster-rcnn")), "CACHE": str(live_cache)}
    return lambda word: own.get(word, word.replace("TMP", str(folder)))


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_line_and_exit_two(words, said, places, tmp_path):
    words = ["retrain-classifier", *map(places, words), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--threads", "1", "--device", "cpu"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("source", "adapters"), [("finetune", "false"), ("online", "true")])
def test_a_run_with_a_backbone_of_its_own_is_refused(
    source, adapters, live_cache, images, tmp_path
):
    own = options(live_cache, tmp_path / "run", source=source, images=images)
    train(config_of("retinanet", f"backbone.adapters={adapters}"), own)
    with pytest.raises(InputError, match="its backbone, or the adapters in it, are its own"):
        retrain(tmp_path / "run", options(live_cache, tmp_path / "out"))


@pytest.mark.parametrize("name", ["tailed", "adapted_tail"])
def test_a_run_with_a_tail_keeps_it(name, short_cache, tmp_path, request):
    """A trained tail, or the adapters in one."""
    run, out = request.getfixturevalue(name), tmp_path / "run"
    done = retrain(run, options(short_cache, out, val=short_cache), QUICK)
    assert changed(run, out) == {n for n in tensors(run, "best") if LAST["retinanet"] in n}
    assert any(name.startswith("backbone.") for name in tensors(out, "best"))
    info = RunInfo.read(out)
    assert (info.source, info.tail) == ("tail", RunInfo.read(run).tail)
    assert done.before["ap"] == max(line["metrics"]["ap"] for line in lines(run, "eval"))
    again = evaluate_run(out, short_cache, EvaluateOptions(device="cpu", threads=1))[0]
    assert again.ap == pytest.approx(done.after["ap"])


def test_box_heads_behind_a_tail_see_what_it_computes(live_cache, short_cache, tmp_path):
    """The levels of the tail are in the pool as those of the cache are."""
    frozen = ("backbone.train_from=c5", "backbone.frozen_tail=true", "train.batch_size=1")
    for name, data, more in (("tail", short_cache, frozen), ("cached", live_cache, frozen[2:])):
        train(config_of("faster-rcnn", *more), options(data, tmp_path / name, source=name))
        retrain(tmp_path / name, options(data, tmp_path / f"{name} 2"), QUICK)
    mine, theirs = (tensors(tmp_path / f"{name} 2", "best") for name in ("tail", "cached"))
    assert_same({n: v for n, v in mine.items() if not n.startswith("backbone.")}, theirs)


def test_other_training_data_are_told_of(stage_1, live_cache, dataset, tmp_path, caplog):
    run, quick = stage_1("faster-rcnn"), replace(QUICK, epochs=1, samplings=1)
    retrain(run, options(live_cache, tmp_path / "same"), quick)
    assert "the training data are not those" not in caplog.text
    fewer = json.loads(dataset.read_text())
    del fewer["annotations"][-1]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    own = options(live_cache, tmp_path / "other", annotations=tmp_path / "fewer.json")
    retrain(run, own, quick)
    assert f"the training data are not those of {run}" in caplog.text


def test_masks_stay_as_they_were(live_cache, dataset, tmp_path):
    path = outlined(dataset)
    given = {"annotations": path, "val": live_cache, "val_annotations": path}
    own = options(live_cache, tmp_path / "run", **given)
    train(config_of("faster-rcnn", "head.masks=true", "head.mask_channels=8"), own)
    done = retrain(own.out, replace(own, out=tmp_path / "out"), QUICK)
    assert all(LAST["faster-rcnn"] in name for name in changed(own.out, tmp_path / "out"))
    assert done.before["masks"] is not None and done.after["masks"] is not None


def test_the_command_shows_both_stages(stage_1, live_cache, tmp_path):
    words = ["retrain-classifier", stage_1("faster-rcnn"), live_cache, "--out", tmp_path / "run"]
    more = ["--val", live_cache, "--threads", 1, "--device", "cpu", "--epochs", 2, "--seed", 5]
    result = CliRunner().invoke(app, [str(word) for word in (*words, *more)])
    assert result.exit_code == 0, result.output
    head, *rows, last = result.stdout.splitlines()
    assert head.split() == ["stage", "1", "stage", "2"]
    assert [row.split()[:2] for row in rows][2] == ["AP", "rare"]
    assert all(len(row.split()) >= 3 for row in rows)
    assert last.startswith("6 steps, ") and last.endswith(str(tmp_path / "run"))
    train_settings = RunInfo.read(tmp_path / "run").config.train
    assert (train_settings.seed, train_settings.epochs, train_settings.batch_size) == (5, 2, 4)


def test_classes_told_by_vectors_keep_their_vectors(live_cache, dataset, tmp_path):
    names = [c["name"] for c in json.loads(dataset.read_text())["categories"]]
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    given = tmp_path / "vectors.safetensors"
    save_file(dict(zip(names, vectors.contiguous().unbind(), strict=True)), given)
    config = config_of("faster-rcnn", "head.class_agnostic=true")
    own = options(live_cache, tmp_path / "run", class_embeddings=given, val=live_cache)
    train(config, own)
    retrain(tmp_path / "run", options(live_cache, tmp_path / "out", val=live_cache), QUICK)
    moved = {
        name.rpartition("cls_score.")[2] for name in changed(tmp_path / "run", tmp_path / "out")
    }
    assert moved == {"background", "log_scale", "projection.weight", "projection.bias"}
    assert RunInfo.read(tmp_path / "out").embedding == 8
    evaluate_run(tmp_path / "out", live_cache, EvaluateOptions(class_embeddings=given))


def test_the_report_tells_the_command(stage_1, live_cache, tmp_path):
    settings, out = replace(QUICK, lr=5e-4, seed=3), tmp_path / "run"
    retrain(stage_1("retinanet"), options(live_cache, out), settings)
    (record,) = read_records([out])
    words = shlex.split(reproduction(record, {}))
    assert words[:5] == ["fdet", "retrain-classifier", "RUN", "TRAIN.fdet", "--out"]
    given = [words[k + 1] for k, word in enumerate(words) if word == "--set"]
    assert int(words[words.index("--samplings") + 1]) == 2
    before = RunInfo.read(stage_1("retinanet")).config
    again = stage_2_config(before, RetrainSettings(), given)
    assert again == RunInfo.read(out).config


def test_two_caches_beside_each_other(caches, tmp_path):
    first, second = caches
    own = options(first, tmp_path / "run", second=second)
    train(tiny("faster-rcnn", "neck.max_level=4", "train.epochs=1"), own)
    with pytest.raises(KeyMismatch, match="second cache: test_vit here, none there"):
        retrain(tmp_path / "run", options(first, tmp_path / "alone"))
    retrain(tmp_path / "run", replace(own, out=tmp_path / "out"), QUICK)
    moved = changed(tmp_path / "run", tmp_path / "out")
    assert all(LAST["faster-rcnn"] in name for name in moved) and len(moved) == 2
    evaluate_run(tmp_path / "out", first, EvaluateOptions(second=second))


def test_a_federated_loss_knows_of_the_looked_for_classes(live_cache, lvis, tmp_path):
    given = {"annotations": lvis, "val": live_cache, "val_annotations": lvis}
    own = options(live_cache, tmp_path / "run", **given)
    train(config_of("faster-rcnn", "head.classifier=sigmoid"), own)
    for count in (0, 1):
        out = replace(own, out=tmp_path / str(count))
        done = retrain(own.out, out, QUICK, [f"head.federated={count}"])
        assert len(changed(own.out, out.out)) == 2
        assert done.after["ap_common"] == done.after["per_class"]["square"]
    first = [lines(tmp_path / str(count), "train")[0]["loss"] for count in (0, 1)]
    assert first[1] < first[0]


def long_tailed(folder):
    """A data set, and two annotation files of it: for training, crosses are in two images alone, and no
    others show any; the others are for validation.
    """
    data = json.loads(make_dataset(folder, images=48, seed=3).read_text())
    rare = {a["image_id"] for a in data["annotations"] if a["category_id"] == 11}
    ids = {image["id"] for image in data["images"]}
    training = (ids - rare) | set(sorted(rare)[:2])
    for name, chosen in (("train", training), ("val", ids - training)):
        part = {
            "images": [i for i in data["images"] if i["id"] in chosen],
            "annotations": [a for a in data["annotations"] if a["image_id"] in chosen],
            "categories": data["categories"],
        }
        (folder / f"{name}.json").write_text(json.dumps(part))
    return folder / "train.json", folder / "val.json"


RARE = {
    "faster-rcnn": ("head.fc_channels=128", "head.sampled=64", "head.anchor_scales=[4]"),
    "fcos": ("head.convs=2",),
}


def given_score(run, cache, annotations):
    """What crosses are called crosses with, in the mean; 0 where none is found."""
    _, results = evaluate_run(run, cache, EvaluateOptions(annotations=annotations, threads=1))
    crosses = [r for r in results if r["category_id"] == 11]
    best = []
    for truth in json.loads(annotations.read_text())["annotations"]:
        if truth["category_id"] == 11:
            there = [r for r in crosses if r["image_id"] == truth["image_id"]]
            overlaps = mask.iou([r["bbox"] for r in there], [truth["bbox"]], [0])
            pairs = zip(there, overlaps, strict=True)
            best.append(max((r["score"] for r, overlap in pairs if overlap >= 0.5), default=0.0))
    assert len(best) > 20
    return sum(best) / len(best)


@pytest.mark.slow
@pytest.mark.parametrize("head", RARE)
def test_a_rare_class_is_believed_in_more(head, tmp_path):
    """In images that no training has seen: more than before, and than without the weights of classes."""
    training, val = long_tailed(tmp_path / "data")
    cache = tmp_path / "c.fdet"
    extract(extraction(tmp_path / "data" / "annotations.json", cache, codec="fp32"))
    base = ("neck.channels=32", "neck.max_level=5", "train.batch_size=4", "train.epochs=20")
    rest = ("optim.lr=0.003", "head.score_threshold=0.01")
    config = load_config(head=head, assignments=[*base, *rest, *RARE[head]])
    own = options(cache, tmp_path / "run", annotations=training)
    train(config, own)
    scores = {"before": given_score(own.out, cache, val)}
    for beta in (0.0, 0.999):
        out = tmp_path / str(beta)
        settings = RetrainSettings(lr=0.001, class_balance=beta)
        retrain(own.out, replace(own, out=out), settings)
        scores[beta] = given_score(out, cache, val)
    assert scores[0.999] > scores["before"] + 0.02, scores
    assert scores[0.999] > scores[0.0], scores
