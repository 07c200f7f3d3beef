"""Runs that share a pass over the cache end as they would alone."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fdet.cache.errors import FdetError, InputError
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.sources.cached import CachedSource
from fdet.pipeline.training import together
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.together import sharing_key, train_together
from fdet.pipeline.training.train import train

SMALL = ("neck.channels=16", "neck.max_level=5", "train.batch_size=4", "train.epochs=2")
FEW = ("head.convs=1", "head.anchor_scales=[4]")
HEADS = {
    "plain": ("retinanet", (*SMALL, *FEW)),
    "longer": ("retinanet", (*SMALL, *FEW, "train.epochs=3", "train.eval_every=2")),
    "fast": ("retinanet", (*SMALL, *FEW, "optim.lr=0.01", "train.average=0.9")),
    "fcos": ("fcos", (*SMALL, "head.convs=1")),
}
TIMES = ("seconds", "images_per_second", "waiting", "process_memory_mb")


def run_of(name, cache, out, **changes):
    head, settings = HEADS[name]
    config = load_config(head=head, assignments=settings)
    return config, TrainOptions(cache=cache, val=cache, out=out / name, threads=1, **changes)


def told(run):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in metrics_log.read(run)]


@pytest.fixture(scope="module")
def alone(exact_cache, tmp_path_factory):
    """Each head trained by itself."""
    out = tmp_path_factory.mktemp("alone")
    for name in HEADS:
        train(*run_of(name, exact_cache, out))
    return out


def assert_same(one, other):
    assert told(one) == told(other)
    for file in ("last.safetensors", "best.safetensors"):
        mine, theirs = load_file(one / file), load_file(other / file)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_each_run_ends_bit_for_bit_as_alone(alone, exact_cache, tmp_path):
    ended = train_together([run_of(name, exact_cache, tmp_path) for name in HEADS])
    assert [end.out.name for end in ended] == list(HEADS)
    for name in HEADS:
        assert_same(tmp_path / name, alone / name)


def test_each_batch_is_read_and_decoded_once(exact_cache, tmp_path, monkeypatch):
    loaded, decoded = [], []
    plain = CachedSource.load

    def counted(self, batches):
        for one in plain(self, batches):
            loaded.append(one.samples)
            yield one._replace(pyramid=lambda make=one.pyramid: decoded.append(1) or make())

    monkeypatch.setattr(CachedSource, "load", counted)
    names = ("plain", "fast", "fcos")
    runs = [run_of(name, exact_cache, tmp_path) for name in names]
    runs = [(config, replace(options, val=None)) for config, options in runs]
    train_together(runs)
    steps = metrics_log.read(tmp_path / "plain")[-1]["step"]
    assert len(loaded) == len(decoded) == steps


def test_one_that_fails_leaves_the_others_alone(alone, exact_cache, tmp_path, monkeypatch):
    plain = together.Loop._log

    def broken(self, epoch, *rest):
        if self.out.name == "fast" and epoch == 1:
            raise FdetError("the loss is nan")
        plain(self, epoch, *rest)

    monkeypatch.setattr(together.Loop, "_log", broken)
    runs = [run_of(name, exact_cache, tmp_path) for name in ("plain", "fast", "fcos")]
    first, failed, last = train_together(runs)
    assert isinstance(failed, FdetError) and "nan" in str(failed)
    assert first.out.name == "plain" and last.out.name == "fcos"
    assert_same(tmp_path / "plain", alone / "plain")
    assert_same(tmp_path / "fcos", alone / "fcos")


def test_one_that_cannot_begin_leaves_the_others_alone(alone, exact_cache, tmp_path):
    config, options = run_of("plain", exact_cache, tmp_path)
    lacking = load_config(head="retinanet", assignments=[*SMALL, *FEW, "neck.min_level=1"])
    ended = train_together([(lacking, replace(options, out=tmp_path / "x")), (config, options)])
    assert "level" in str(ended[0]) and not (tmp_path / "x").exists()
    assert_same(tmp_path / "plain", alone / "plain")


def test_interrupted_and_resumed_they_are_the_same(alone, exact_cache, tmp_path, monkeypatch):
    """One saves a step before the other, as after a kill: it catches up first."""
    plain = together.Loop._save
    names = ("plain", "longer", "fcos")

    def torn(self):
        plain(self)
        if self.out.name == "longer" and self.position.step >= 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(together.Loop, "_save", torn)
    with pytest.raises(KeyboardInterrupt):
        train_together([run_of(name, exact_cache, tmp_path) for name in names])
    monkeypatch.undo()
    unfinished = [
        run_of(name, exact_cache, tmp_path, resume=True)
        for name in names
        if not (tmp_path / name / "curve.png").exists()
    ]
    assert unfinished
    train_together(unfinished)
    for name in names:
        assert_same(tmp_path / name, alone / name)


def test_what_does_not_go_together_is_refused(exact_cache, tmp_path):
    config, options = run_of("plain", exact_cache, tmp_path)
    other = load_config(head="retinanet", assignments=[*SMALL, *FEW, "train.seed=1"])
    assert sharing_key(config, options) != sharing_key(other, options)
    assert sharing_key(config, options) == sharing_key(*run_of("fcos", exact_cache, tmp_path))
    with pytest.raises(InputError, match=r"the same train.batch_size, .*train.seed"):
        train_together([(config, options), (other, replace(options, out=tmp_path / "o"))])
    with pytest.raises(InputError, match="on a cache alone"):
        train_together([(config, replace(options, memory_limit=2**30))])
