"""Runs on long-tailed data: images repeated, classes that count, and what is said of it."""

import json

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.sources.data import open_cached
from fdet.pipeline.sources.epochs import sampler_of
from fdet.pipeline.training.train import train

from .runs import assert_same, lines, losses, options, tensors, tiny
from .test_resume import torn

REPEATED = ("train.repeat_factor=1.0", "train.epochs=3")
FEDERATED = {
    "retinanet": ("head.federated=1", "head.class_balance=0.9"),
    "faster-rcnn": ("head.federated=1", "head.class_balance=0.9", "head.classifier=sigmoid"),
}


@pytest.fixture(scope="module")
def lvis(dataset, tmp_path_factory):
    """The data set in LVIS' words: crosses are rare; of each image one absent class is known."""
    data = json.loads(dataset.read_text())
    data["annotations"] = [a for a in data["annotations"] if not a["iscrowd"]]
    for image in data["images"]:
        shown = {a["category_id"] for a in data["annotations"] if a["image_id"] == image["id"]}
        image["neg_category_ids"] = sorted({2, 5, 11} - shown)[:1]
        image["not_exhaustive_category_ids"] = []
    for category, frequency in zip(data["categories"], "fcr", strict=True):
        category["frequency"] = frequency
    path = tmp_path_factory.mktemp("lvis") / "lvis.json"
    path.write_text(json.dumps(data))
    return path


def test_all_epochs_draw_the_repeated_images(live_cache):
    data = open_cached([live_cache], None, torch.device("cpu"))
    plain = tiny("retinanet", "train.batch_size=1").train
    repeated = tiny("retinanet", "train.batch_size=1", *REPEATED).train
    sizes = {len(sampler_of(data, repeated).batches(epoch)) for epoch in range(3)}
    assert len(sizes) == 1 and sizes.pop() > len(data.image_ids)
    assert len(sampler_of(data, plain).batches(0)) == len(data.image_ids)


@pytest.mark.parametrize("step", [2, 6])
def test_a_resumed_run_repeats_the_same_images(step, live_cache, tmp_path, monkeypatch):
    config = tiny("retinanet", *REPEATED, "train.save_minutes=0")
    whole = train(config, options(live_cache, tmp_path / "whole"))
    assert whole.steps > 9, "more than without"
    torn(config, options(live_cache, tmp_path / "torn"), step, monkeypatch)
    train(config, options(live_cache, tmp_path / "torn", resume=True))
    assert_same(tensors(tmp_path / "torn"), tensors(tmp_path / "whole"))


@pytest.mark.parametrize("head", FEDERATED)
def test_a_run_on_lvis_data_learns_and_is_counted_by_its_rules(
    head, lvis, live_cache, tmp_path, caplog
):
    config = tiny(head, *FEDERATED[head], "head.score_threshold=0.001")
    of_lvis = {"annotations": lvis, "val_annotations": lvis, "val": live_cache}
    train(config, options(live_cache, tmp_path / "run", **of_lvis))
    assert RunInfo.read(tmp_path / "run").frequencies == ("f", "c", "r")
    assert "LVIS counts 300 detections" in caplog.text
    metrics, _ = evaluate_run(
        tmp_path / "run", live_cache, EvaluateOptions(annotations=lvis, checkpoint="last")
    )
    told = lines(tmp_path / "run", "eval")[-1]["metrics"]
    for name, label in (("ap_frequent", "disc"), ("ap_common", "square"), ("ap_rare", "cross")):
        assert told[name] == getattr(metrics, name) == metrics.per_class[label]
    plain = tiny(head, *FEDERATED[head][2:])
    train(plain, options(live_cache, tmp_path / "plain", annotations=lvis))
    assert (
        losses(tmp_path / "plain")[0]["classification"]
        != losses(tmp_path / "run")[0]["classification"]
    )


def test_coco_style_data_have_groups_too_but_no_federated_loss(live_cache, tmp_path):
    train(
        tiny("retinanet", "train.epochs=1"), options(live_cache, tmp_path / "run", val=live_cache)
    )
    assert set(RunInfo.read(tmp_path / "run").frequencies) == {"r"}
    told = lines(tmp_path / "run", "eval")[-1]["metrics"]
    assert told["ap_rare"] == pytest.approx(told["ap"])
    assert told["ap_frequent"] is None
    with pytest.raises(ConfigError, match="do not say which classes were looked for"):
        train(tiny("retinanet", "head.federated=50"), options(live_cache, tmp_path / "federated"))
