"""Training and evaluating from an object store: the weights of a local run, a request a sample and level."""

import json

import pytest
from typer.testing import CliRunner

from fdet.cache.disk import remote
from fdet.cache.disk.nearby import FOLDER
from fdet.cache.disk.objects import located
from fdet.cache.errors import StorageError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.cli import app
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.upkeep.copy import Part, copy
from fdet.pipeline.training.train import train

from ...object_server import KEY, SECRET
from ..quick import tree
from . import together
from .runs import SHARED, TINY, assert_same, lines, options, tensors, tiny

NO_MEMORY = {"resident": "none"}


@pytest.fixture
def stored(live_cache, prefix, store_proxy):
    copy(live_cache, located(prefix), Part())
    store_proxy.requests.clear()
    return prefix


def fdet(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_weights_are_those_of_a_local_run(
    stored, live_cache, store_proxy, tmp_path, monkeypatch
):
    train(tiny(), options(live_cache, tmp_path / "local", val=live_cache, **NO_MEMORY))
    settings = [f"--set={setting}" for setting in (*SHARED, *TINY["retinanet"])]
    words = ["--head=retinanet", "--device=cpu", "--threads=1", "--resident=none", *settings]
    monkeypatch.setenv(FOLDER, str(tmp_path / "nearby"))
    result = fdet("train-heads", stored, "--val", stored, "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    assert_same(tensors(tmp_path / "run"), tensors(tmp_path / "local"))
    cache = FeatureCache.open(live_cache)
    levels, samples = len(cache.header.key.levels.levels), cache.manifest.samples
    assert sum(bool(r.range) for r in store_proxy.requests) <= samples * levels, "each one once"
    shown = fdet("evaluate", tmp_path / "run", stored, "--device=cpu", "--threads=1")
    assert shown.exit_code == 0, shown.output
    written = tree(tmp_path)
    assert any(name.startswith("nearby/") for name in written)
    assert any(name.startswith("run/") for name in written)
    for secret in (KEY, SECRET):
        assert not [name for name, raw in written.items() if secret.encode() in raw]
        assert secret not in result.output + shown.output


def test_an_epoch_asks_once_for_each_sample_and_level(stored, store_proxy, tmp_path):
    """Two epochs over every image's drawn view, and the evaluations, which read the plain one."""
    config = tiny()
    train(config, options(stored, tmp_path / "run", val=located(stored), **NO_MEMORY))
    cache = FeatureCache.open(stored)
    reads = config.train.epochs * 2 * len(cache) * len(cache.header.key.levels.levels)
    asked = [r for r in store_proxy.requests if r.range]
    assert 0 < len(asked) <= reads


def test_damage_is_skipped_but_an_absent_store_is_not(stored, store_proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES_SECONDS", ())
    cache = FeatureCache.open(stored)
    begins = [f"bytes={cache.entry(10, view).chunks[0].offset}-" for view in (0, 1)]
    store_proxy.fault = lambda r: (
        "wrong" if "/c3/" in r.path and r.range.startswith(tuple(begins)) else None
    )
    summary = train(tiny(), options(stored, tmp_path / "a", on_corrupt="skip", resident="none"))
    assert summary.skipped in (1, 2), "the views of image 10 that were drawn"
    store_proxy.fault = lambda r: "503" if r.range else None
    with pytest.raises(StorageError, match="HTTP 503"):
        train(tiny(), options(stored, tmp_path / "b", on_corrupt="skip", resident="none"))


@pytest.mark.slow
def test_two_processes_train_from_a_store_that_fails_now_and_then(
    stored, live_cache, store_proxy, tmp_path, warm
):
    more = ["train.batch_size=8"]
    assignments = [*SHARED, *TINY["retinanet"], *more]
    jobs = {
        "run": {
            "head": "retinanet",
            "settings": assignments,
            "options": NO_MEMORY,
            "paths": {"cache": stored, "val": stored, "out": str(tmp_path / "runs" / "run")},
        }
    }
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    (tmp_path / "runs").mkdir()
    kinds = ["503", None, "wrong", None, None, "cut", None, "reset", None, None, None]
    damaged = set()

    def fault(request):
        # What was cut is asked for from there on: the end of a range names the frame.
        name = request.path, request.range.rpartition("-")[2]
        kind = kinds[len(store_proxy.requests) % len(kinds)]
        if kind == "wrong" and name in damaged:  # twice would be a damaged sample
            return None
        damaged.update([name] if kind == "wrong" else [])
        return kind

    store_proxy.fault = fault
    started = together.start(
        [together.__file__, tmp_path / "jobs.json", tmp_path], python=warm.python
    )
    ended = together.finish(started)
    assert not any(status for status, _, _ in ended), "\n".join(errors for _, errors, _ in ended)
    assert sum(store_proxy.befallen.values()) > 20
    config = load_config(head="retinanet", assignments=[*assignments, "train.accumulate=2"])
    train(config, options(live_cache, tmp_path / "alone", val=live_cache, **NO_MEMORY))
    assert_same(tensors(tmp_path / "runs" / "run"), tensors(tmp_path / "alone"))
    mine, theirs = (lines(tmp_path / name, "eval") for name in ("runs/run", "alone"))
    assert [line["metrics"] for line in mine] == [line["metrics"] for line in theirs]
    written = tree(tmp_path / "runs")
    assert not [n for n, raw in written.items() if KEY.encode() in raw or SECRET.encode() in raw]
