"""A tail on a cache against the same stages trained with the backbone in the loop."""

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.sources.live import LiveSource
from fdet.pipeline.tools.equivalence.check import check_equivalence
from fdet.pipeline.tools.equivalence.checks import steps_config
from fdet.pipeline.tools.equivalence.options import EquivalenceOptions

from ....conftest import extraction

FROM = "backbone.train_from=c5"
TINY = ("neck.channels=8", "neck.max_level=5", "train.batch_size=2", "train.accumulate=2", FROM)


def checked(cache, images, *more):
    config = steps_config(cache, None, [*TINY, *more], "tail")
    options = EquivalenceOptions(images=images, source="tail", samples=4, steps=3)
    return check_equivalence(cache, config, options)


@pytest.mark.parametrize("name", ["live_cache", "short_cache"])
def test_a_tail_trains_as_finetune_from_there(name, images, request):
    found = checked(request.getfixturevalue(name), images)
    assert found.equivalent and found.training.steps == 3
    assert found.training.raw_expected.exact
    assert found.training.training_distance.exact and found.training.raw.exact


def test_with_more_images_in_a_pass_it_trains_nearly_so(live_cache, images):
    found = checked(live_cache, images, "train.accumulate=1")
    assert found.equivalent
    assert not found.training.raw_expected.exact
    assert "a trained backbone takes 2 images a pass" in str(found.training.raw_expected)


def test_a_backbone_in_the_loop_that_gets_other_pixels_is_found(live_cache, images, monkeypatch):
    """The pixels of finetune's passes alone are changed."""
    made = LiveSource._pyramid

    def brighter(source, pixels, placements):
        trained = any(p.requires_grad for p in source._backbone.parameters())
        return made(source, (pixels // 2 if trained else pixels), placements)

    monkeypatch.setattr(LiveSource, "_pyramid", brighter)
    found = checked(live_cache, images)
    assert [f.partition(";")[0] for f in found.failures] == ["finetune: not the same bits"]


def test_a_codec_is_passed_by_the_tail_and_not_by_finetune(dataset, images, tmp_path):
    out = tmp_path / "c.fdet"
    backbone = {"backbone": "test_efficientnet", "weights": "random", "levels": "c3,c4"}
    extract(extraction(dataset, out, size=64, codec="int8", **backbone))
    found = checked(out, images)
    assert found.equivalent and found.training.training_distance.exact
    assert found.training.raw_expected is None and not found.training.raw.exact
    assert torch.isfinite(torch.tensor(found.training.raw.loss))


def test_on_the_command_line(short_cache, images):
    words = ["check-equivalence", short_cache, "--images", images, "--steps", 1, "--samples", 2]
    words += ["--source", "tail", *(w for s in TINY[:2] for w in ("--set", s)), "--set", FROM]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "finetune from c5: the same bits; expected bit for bit" in result.stdout


@pytest.mark.parametrize(
    ("setting", "source", "said"),
    [
        ("backbone.train_from=", "tail", "--source tail needs the level that the tail begins with"),
        ("backbone.frozen_tail=true", "tail", "finetune trains what a frozen tail does not"),
        ("backbone.adapters=true", "tail", "backbone.adapters: cached maps have not passed"),
    ],
)
def test_what_cannot_be_compared_is_refused(live_cache, setting, source, said):
    with pytest.raises((ConfigError, InputError), match=said):
        steps_config(live_cache, None, [*TINY, setting], source)


def test_a_source_without_a_cache_is_refused(live_cache, images):
    words = ["check-equivalence", live_cache, "--images", images, "--source", "online"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2
    assert "--source 'online'" in result.stderr and "cached, tail" in result.stderr
