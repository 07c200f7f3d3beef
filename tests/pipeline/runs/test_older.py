"""Runs of an older format are read, and find what they found when they were kept (tests/kept)."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.format.sealed import SEAL, sealed_json
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.config import digest_of, load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.older import FORMAT
from fdet.pipeline.runs.position import read_position
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

KEPT = Path(__file__).parents[2] / "kept" / "format-7"
BEFORE_SEALS = KEPT.parent / "format-8" / "retinanet"
BEFORE_DISTRIBUTIONS = KEPT.parent / "format-9" / "tal"
CACHE = KEPT / "cache.fdet"
RUNS = ("retinanet", "mask-rcnn", "cascade-rcnn")


@pytest.mark.parametrize(
    "run", [*(KEPT / name for name in RUNS), BEFORE_SEALS, BEFORE_DISTRIBUTIONS]
)
def test_a_kept_run_finds_what_it_found(run):
    before = json.loads((run / "found.json").read_text())
    metrics, found = evaluate_run(run, CACHE)
    assert metrics.ap == pytest.approx(before["ap"], abs=1e-3)
    assert len(found) == len(before["detections"]) > 50
    for ours, theirs in zip(found, before["detections"], strict=True):
        assert (ours["image_id"], ours["category_id"]) == (
            theirs["image_id"],
            theirs["category_id"],
        )
        assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=0.05)
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)


@pytest.mark.parametrize("name", RUNS)
def test_settings_that_came_later_have_their_older_meaning(name):
    info, fresh = RunInfo.read(KEPT / name), load_config
    assert info.format == 7
    config = info.config
    assert config.head.normaliser == "image"
    assert config.head.anchor_grid == "canvas"
    assert fresh(head=config.head.name).head.anchor_grid == "stride"
    assert config.head.norm == "gn32"
    if name != "retinanet":
        assert (config.head.roi_aligned, config.head.rpn_norm) == (False, "none")
    assert info.config.train.precision == "fp32"
    assert json.loads(info.to_bytes())["format"] == FORMAT


@pytest.mark.parametrize(
    ("name", "section", "setting", "value"),
    [
        ("mask-rcnn", "neck", "order", "act-conv-norm"),
        ("mask-rcnn", "head", "roi_aligned", True),
        ("cascade-rcnn", "neck", "norm", "gn"),
        ("retinanet", "head", "norm", "gn"),
    ],
)
def test_a_new_meaning_would_be_seen(name, section, setting, value, tmp_path):
    """The test above can fail."""
    run = shutil.copytree(KEPT / name, tmp_path / "run")
    data = json.loads(RunInfo.read(run).to_bytes())
    assert data["config"][section][setting] != value
    data["config"][section][setting] = value
    data["config_digest"] = digest_of(data["config"])
    (run / "run.json").write_bytes(sealed_json({n: v for n, v in data.items() if n != SEAL}))
    save_weights(
        run / "best.safetensors",
        load_file(run / "best.safetensors"),
        {},
        RunInfo.read(run).digest,
    )
    _, found = evaluate_run(run, CACHE)
    before = json.loads((KEPT / name / "found.json").read_text())["detections"]
    boxes, others = ([d["bbox"] for d in of] for of in (found, before))
    assert len(boxes) != len(others) or not np.allclose(boxes, others, atol=0.5)


def test_its_digest_is_still_checked(tmp_path):
    run = shutil.copytree(KEPT / "retinanet", tmp_path / "run")
    data = json.loads((run / "run.json").read_text())
    data["config"]["head"]["nms_iou"] = 0.4
    (run / "run.json").write_text(json.dumps(data))
    with pytest.raises(CorruptCache, match="altered"):
        RunInfo.read(run)


@pytest.mark.parametrize("format", [6, FORMAT + 1, "8", None, True])
def test_other_formats_are_refused(tmp_path, format):
    run = shutil.copytree(KEPT / "retinanet", tmp_path / "run")
    data = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**data, "format": format}))
    with pytest.raises(InputError, match="reads formats 7 to"):
        RunInfo.read(run)


def test_it_cannot_be_resumed_and_says_what_can(tmp_path):
    run = shutil.copytree(KEPT / "retinanet", tmp_path / "run")
    config = load_config(run / "config.toml")
    cache = CACHE
    with pytest.raises(InputError, match=r"older fdet.*--start"):
        train(config, TrainOptions(cache=cache, val=cache, out=run, resume=True))


def resumed(run, **more):
    config = load_config(run / "config.toml")
    return TrainOptions(
        cache=CACHE, val=CACHE, out=run, device="cpu", threads=1, resume=True, **more
    ), config


def test_one_line_says_what_a_run_without_checksums_cannot_prove(caplog):
    for run in (BEFORE_SEALS, KEPT / "retinanet"):
        caplog.clear()
        with caplog.at_level(logging.INFO, "fdet"):
            evaluate_run(run, CACHE)
        told = [message for message in caplog.messages if "older fdet" in message]
        assert len(told) == 1 and "its weights carry no checksum" in told[0]


def test_what_a_run_without_checksums_goes_on_with_has_them(tmp_path, caplog):
    run = shutil.copytree(BEFORE_SEALS, tmp_path / "run")
    before = (run / "run.json").read_bytes()
    info = RunInfo.read(run)
    begun = read_position(run / "last.safetensors", info)
    assert (info.format, info.sealed, begun.step, begun.finished) == (8, False, 79, False)
    options, config = resumed(run)
    with caplog.at_level(logging.WARNING, "fdet"):
        assert train(config, options).steps > begun.step
    assert len([message for message in caplog.messages if "no checksum" in message]) == 1
    assert (run / "run.json").read_bytes() == before
    assert read_position(run / "last.safetensors", info).finished
    caplog.clear()
    evaluate_run(run, CACHE, EvaluateOptions(checkpoint="last"))
    assert not [message for message in caplog.messages if "older fdet" in message]
    other = replace(info, read_digest="0" * 64)
    with pytest.raises(CorruptCache, match="another run"):
        read_position(run / "last.safetensors", other)


def test_a_run_from_before_a_setting_goes_on_without_it(tmp_path):
    """Its boxes have one number for each distance, where new runs have a distribution."""
    run = shutil.copytree(BEFORE_DISTRIBUTIONS, tmp_path / "run")
    info = RunInfo.read(run)
    assert (info.config.head.reg_max, load_config(head="tal").head.reg_max) == (0, 16)
    longer = replace(info.config, train=replace(info.config.train, epochs=61))
    options, _ = resumed(run, extend=True)
    before = read_position(run / "last.safetensors", info).step
    assert train(longer, options).steps > before


def test_any_change_of_a_sealed_run_is_seen(tmp_path):
    run = tmp_path / "run"
    config = load_config(BEFORE_SEALS / "config.toml", assignments=["train.epochs=1"])
    train(config, TrainOptions(cache=CACHE, out=run, device="cpu", threads=1))
    raw = (run / "run.json").read_bytes()
    RunInfo.read(run)
    for old, new in (
        (b'"source":"cached"', b'"source":"online"'),
        (b'"class_names":["disc"', b'"class_names":["dish"'),
        (b'"backbone_parameters":', b'"backbone_parameters":1'),
        (b'"frequencies":"', b'"frequencies": "'),
        (b'"start":"fresh', b'"start":"other'),
    ):
        assert raw.count(old) == 1
        (run / "run.json").write_bytes(raw.replace(old, new))
        with pytest.raises(CorruptCache, match=r"does not match its own digest.*put a copy"):
            RunInfo.read(run)
