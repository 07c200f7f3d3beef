"""train.fraction, train.views, neck.levels: a run sees what they say, and names the same data."""

import pytest

from fdet.cache.errors import ConfigError
from fdet.cache.reader import FeatureCache
from fdet.cache.sampler import share_of
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.sources.cached import CachedSource
from fdet.pipeline.training.train import train

from .runs import lines, options, tensors, tiny


@pytest.fixture
def seen(monkeypatch):
    """(image, view) of every sample that is loaded."""
    samples: list[tuple[int, int]] = []
    plain = CachedSource.load

    def noted(self, batches):
        samples.extend(sample for batch in batches for sample in batch)
        return plain(self, batches)

    monkeypatch.setattr(CachedSource, "load", noted)
    return samples


def test_a_share_of_the_images_is_trained_on_each_once_an_epoch(exact_cache, tmp_path, seen):
    train(tiny("retinanet", "train.fraction=0.5"), options(exact_cache, tmp_path / "run"))
    ids = [image.id for image in FeatureCache.open(exact_cache).header.layout.images]
    chosen = share_of(ids, 0.5)
    assert sorted(i for i, _ in seen) == sorted(chosen * 2) and len(chosen) == 6
    # Twelve samples of two canvases, in full batches of four.
    assert lines(tmp_path / "run", "train")[-1]["step"] == 3


def test_all_images_are_validated_whatever_the_share(exact_cache, tmp_path, seen):
    own = tiny("retinanet", "train.fraction=0.5", "train.epochs=1")
    train(own, options(exact_cache, tmp_path / "run", val=exact_cache))
    assert len({i for i, _ in seen}) == 12
    (line,) = lines(tmp_path / "run", "eval")
    assert line["metrics"]["images"] == 12


def test_fewer_views_are_the_first_ones(exact_cache, tmp_path, seen):
    train(tiny("retinanet", "train.views=1"), options(exact_cache, tmp_path / "one"))
    assert {view for _, view in seen} == {0}
    seen.clear()
    train(tiny("retinanet"), options(exact_cache, tmp_path / "all"))
    assert {view for _, view in seen} == {0, 1}


def test_more_views_than_the_cache_has_are_refused_before_a_folder_is_made(exact_cache, tmp_path):
    with pytest.raises(
        ConfigError, match=r"'train.views': expected at most the 2 views of .*got 3"
    ):
        train(tiny("retinanet", "train.views=3"), options(exact_cache, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["train.fraction=0", "train.fraction=1.5", "train.views=-1"])
def test_values_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        tiny("retinanet", setting)


def test_the_run_names_the_same_data_and_keys(exact_cache, tmp_path):
    for name, more in (("all", ()), ("some", ("train.fraction=0.5", "train.views=1"))):
        train(tiny("retinanet", "train.epochs=1", *more), options(exact_cache, tmp_path / name))
    every, some = (RunInfo.read(tmp_path / name) for name in ("all", "some"))
    assert (every.data, every.key) == (some.data, some.key)
    assert every.config.digest != some.config.digest


def test_a_run_goes_on_with_its_own_share_alone(exact_cache, tmp_path):
    out = tmp_path / "run"
    train(tiny("retinanet", "train.fraction=0.5"), options(exact_cache, out))
    with pytest.raises(ConfigError, match=r"train.fraction was 0.5, is 1.0"):
        train(tiny("retinanet"), options(exact_cache, out, resume=True))


def test_a_neck_of_fewer_levels_has_no_weights_for_the_others(exact_cache, tmp_path):
    few = ("neck.levels=['c4','c5']", "neck.min_level=4", "train.epochs=1")
    train(tiny("retinanet", *few), options(exact_cache, tmp_path / "few", val=exact_cache))
    train(tiny("retinanet", "train.epochs=1"), options(exact_cache, tmp_path / "all"))
    few_values, values = (
        sum(v.numel() for n, v in tensors(tmp_path / name, "best").items() if n.startswith("neck"))
        for name in ("few", "all")
    )
    assert few_values < values
    assert lines(tmp_path / "few", "eval")
