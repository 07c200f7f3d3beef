"""A refiner of a finished run: all of that run stays as it is, bit for bit, and what cannot be is refused."""

import json
import re

import pytest

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.loading import load_run
from fdet.pipeline.tools.audit.audit import audit
from fdet.pipeline.tools.retraining.retrain import retrain
from fdet.pipeline.training import loop as loop_module
from fdet.pipeline.training.train import train

from ...conftest import extraction
from .conftest import FAST, FROM
from .runs import assert_close, assert_same, options, part, tensors, tiny
from .test_resume import check

FREQUENT = ("train.save_minutes=0", *FAST)


@pytest.fixture(scope="module")
def finished(live_cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("refining") / "run"
    train(tiny("retinanet", *FAST), options(live_cache, run, val=live_cache))
    return run


def frozen(run, name: str = "last"):
    """Of a run's tensors those that are not the refiner's."""
    return {n: v for n, v in tensors(run, name).items() if not n.startswith("refiner.")}


def refined(start, cache, out, *settings, **given):
    """The tensors of a refiner that a run has got."""
    config = tiny("retinanet", *FAST, "head.refine=1", *settings)
    train(config, options(cache, out, start=start, **given))
    return part(tensors(out, "best"), "refiner.")


@pytest.mark.parametrize("more", [(), ("train.average=0.9",), ("optim.name=sgd",)])
def test_it_alone_is_trained(more, finished, live_cache, tmp_path, caplog):
    caplog.set_level("INFO")
    own = refined(finished, live_cache, tmp_path / "run", *more, val=live_cache)
    assert_same(frozen(tmp_path / "run", "best"), tensors(finished, "best"))
    assert own["stages.0.output.weight"].any()
    detector = load_run(tmp_path / "run")[1]
    count, whole = detector.trained_parameters, detector.all_parameters
    total = whole + RunInfo.read(tmp_path / "run").backbone_parameters
    assert count < whole and f"trained share {count / total:.1%}" in caplog.text
    state = tensors(tmp_path / "run")
    moments = [v for n, v in state.items() if n.endswith((".exp_avg", ".momentum_buffer"))]
    assert sum(v.numel() for v in moments) == count


@pytest.mark.parametrize(
    "more", [(), ("train.precision=bf16", "train.checkpoint_activations=true")]
)
def test_torn_and_resumed_it_is_the_same(more, finished, live_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "LOG_EVERY_STEPS", 1)
    config = tiny("retinanet", *FREQUENT, "head.refine=2", *more)
    check(
        config, options(live_cache, tmp_path, val=live_cache, start=finished), [2, 4], monkeypatch
    )


def test_parts_of_a_batch_change_nothing(finished, live_cache, tmp_path):
    found = [
        refined(finished, live_cache, tmp_path / str(k), f"train.accumulate={k}") for k in (1, 3)
    ]
    assert_close(*found, tolerance=1e-3)


def test_a_further_stage_begins_with_those_before_it(finished, live_cache, tmp_path):
    first = refined(finished, live_cache, tmp_path / "one")
    config = tiny("retinanet", "head.refine=2", "optim.lr=1e-12", "train.epochs=1")
    train(config, options(live_cache, tmp_path / "two", start=tmp_path / "one"))
    both = part(tensors(tmp_path / "two", "best"), "refiner.")
    assert_close({n: both[n] for n in first}, first, tolerance=1e-6)
    assert "stages.1.output.weight" in both


@pytest.mark.parametrize("source", ["tail", "finetune", "online"])
def test_what_is_trained_of_a_backbone_is_frozen_too(
    source, tailed, short_cache, live_cache, images, tmp_path
):
    """A tail, a backbone, and adapters."""
    settings = {"tail": (FROM,), "finetune": (FROM,), "online": ("backbone.adapters=true",)}[source]
    cache = short_cache if source == "tail" else live_cache
    given = {"source": source} | ({} if source == "tail" else {"images": images})
    start = tailed
    if source != "tail":
        start = tmp_path / "start"
        train(tiny("retinanet", *FAST, *settings), options(cache, start, **given))
    refined(start, cache, tmp_path / "run", *settings, **given)
    assert any(name.startswith("backbone.") for name in frozen(tmp_path / "run", "best"))
    assert_same(frozen(tmp_path / "run", "best"), tensors(start, "best"))


def test_a_run_may_be_gone_on_with_without_it(finished, live_cache, tmp_path):
    refined(finished, live_cache, tmp_path / "run")
    train(tiny("retinanet", *FAST), options(live_cache, tmp_path / "on", start=tmp_path / "run"))
    assert not part(tensors(tmp_path / "on", "best"), "refiner.")


def test_without_a_run_there_is_nothing_to_refine(live_cache, tmp_path):
    with pytest.raises(ConfigError, match=r"head\.refine.*--start RUN"):
        train(tiny("retinanet", "head.refine=1"), options(live_cache, tmp_path / "run"))


def test_other_classes_are_refused(finished, live_cache, dataset, tmp_path):
    coco = json.loads(dataset.read_text())
    coco["categories"][2]["name"] = "novel"
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(coco))
    with pytest.raises(
        InputError, match=r"head\.refine=1 freezes the whole detector.* lacks novel"
    ):
        refined(finished, live_cache, tmp_path / "run", annotations=path)
    assert not (tmp_path / "run").exists()


def test_other_features_are_refused(finished, dataset, tmp_path):
    other = tmp_path / "other.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4,c5"}
    extract(
        extraction(dataset, other, size=64, seed=1, views="plain,hflip", codec="fp32", **backbone)
    )
    with pytest.raises(InputError, match=r"this one lacks neck\.fpn\.inner_blocks"):
        refined(finished, other, tmp_path / "run")


def test_the_classifier_is_retrained_and_labels_are_audited_before_it(
    finished, live_cache, tmp_path
):
    run = tmp_path / "run"
    refined(finished, live_cache, run)
    with pytest.raises(InputError, match=re.escape(f"{run}: head.refine=1; retrain")):
        retrain(run, options(live_cache, tmp_path / "stage-2"))
    with pytest.raises(InputError, match=re.escape(f"{run}: head.refine=1, and an audit")):
        audit(run, live_cache, tmp_path / "audit")
