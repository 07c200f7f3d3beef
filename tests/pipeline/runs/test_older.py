"""Runs of an older format are read, and find what they found when they were kept (tests/kept)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fdet.cache.errors import CorruptCache, InputError
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.runs.config import digest_of, load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.older import FORMAT
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

KEPT = Path(__file__).parents[2] / "kept" / "format-7"
RUNS = ("retinanet", "mask-rcnn", "cascade-rcnn")


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_run_finds_what_it_found(name):
    before = json.loads((KEPT / name / "found.json").read_text())
    metrics, found = evaluate_run(KEPT / name, KEPT / "cache.fdet")
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
    (run / "run.json").write_text(json.dumps(data))
    _, found = evaluate_run(run, KEPT / "cache.fdet")
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
    cache = KEPT / "cache.fdet"
    with pytest.raises(InputError, match=r"older fdet.*--start"):
        train(config, TrainOptions(cache=cache, val=cache, out=run, resume=True))
