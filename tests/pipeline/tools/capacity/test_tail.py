"""What a tail holds, computes and keeps, against the backbone that it is cut from."""

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.backbones.loading import random_backbone_of
from fdet.pipeline.backbones.trained import TrainedBackbone
from fdet.pipeline.cli import app
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.capacity.measure import measure

CPU = torch.device("cpu")
CANVAS = [(64, 64)]


def config(*more):
    quick = ("neck.channels=16", "neck.max_level=5", "head.convs=1", "neck.norm=none")
    plain = ("head.norm=none", "train.precision=fp32", "backbone.train_from=c5")
    return load_config(head="retinanet", assignments=[*quick, *plain, *more])


@pytest.fixture(scope="module")
def header(short_cache):
    return CacheHeader.read(short_cache)


@pytest.fixture(scope="module")
def whole(header):
    return random_backbone_of(header.key, CPU, 0, ["c3", "c4", "c5"])


@pytest.mark.parametrize("cache", ["short_cache", "live_cache"])
def test_trunk_and_tail_are_the_backbone(cache, whole, request):
    header = CacheHeader.read(request.getfixturevalue(cache))
    trunk, tail, neck, head = measure(config(), header, 3, "tail").parts
    assert (trunk.name, trunk.trained) == ("test_efficientnet up to c4", False)
    assert (tail.name, tail.trained) == ("tail from c5", True)
    assert trunk.parameters + tail.parameters == whole.parameters_count
    assert trunk.flops + tail.flops == whole.flops((64, 64)) and tail.flops > 0
    trained = TrainedBackbone(random_backbone_of(header.key, CPU, 0, ["c5"]), "c5", canvases=CANVAS)
    assert tail.parameters == sum(p.numel() for stage in trained.stages for p in stage)
    # Neck and head are those of a cache with all levels.
    assert neck.trained and head.trained
    if cache == "live_cache":
        assert (neck, head) == measure(config(), header, 3).parts[-2:]


def test_the_trained_share_and_the_activations_are_those_of_a_trained_tail(header):
    found = {
        name: measure(config(*more), header, 3, "tail")
        for name, more in {
            "trained": (),
            "frozen": ("backbone.frozen_tail=true",),
            "adapters": ("backbone.adapters=true",),
        }.items()
    }
    share = {name: each.trained_share for name, each in found.items()}
    kept = {name: each.activations for name, each in found.items()}
    assert share["frozen"] < share["adapters"] < share["trained"]
    assert kept["frozen"] < kept["adapters"] and kept["frozen"] < kept["trained"]
    names = [part.name for part in found["adapters"].parts]
    assert names[1:3] == ["tail from c5", "adapters"]
    frozen, adapted = (found[name].parts[1] for name in ("frozen", "adapters"))
    assert (frozen.parameters, frozen.flops) == (adapted.parameters, adapted.flops)
    assert not frozen.trained and not adapted.trained and found["adapters"].parts[2].trained
    assert found["adapters"].parts[2].flops > 0


def fdet(*words):
    return CliRunner().invoke(app, ["model", *map(str, words)])


def test_a_run_is_shown_with_its_tail(tailed, adapted_tail, short_cache):
    plain = fdet(tailed, "--cache", short_cache)
    assert plain.exit_code == 0, plain.output
    rows = {line[:28].strip(): line.split()[-1] for line in plain.stdout.splitlines()[2:6]}
    assert rows == {
        **{"test_efficientnet up to c4": "frozen", "tail from c5": "trained"},
        **{"fpn": "trained", "retinanet": "trained"},
    }
    adapted = fdet(adapted_tail, "--cache", short_cache)
    assert "adapters" in adapted.stdout and "note: what the backbone keeps" not in adapted.stdout
    # The line of the training says the same.
    info = RunInfo.read(tailed)
    trained = measure(info.config, CacheHeader.read(short_cache), 3, "tail")
    total = sum(part.parameters for part in trained.parts)
    above = sum(part.parameters for part in trained.parts[-2:])
    assert info.total_parameters(above, 0) == total


def test_settings_are_shown_with_the_source_that_is_asked_for(short_cache):
    words = ("retinanet-fpn-s", "--cache", short_cache, "--set", "backbone.train_from=c5")
    small = ("--set", "neck.max_level=5", "--set", "neck.channels=8")
    assert "tail from c5" in fdet(*words, *small, "--source", "tail").stdout
    wrong = fdet(*words, "--source", "tial")
    assert wrong.exit_code == 2 and "did you mean 'tail'" in wrong.stderr
    missing = fdet(*words[:3], "--source", "tail")
    assert missing.exit_code == 2 and "backbone.train_from" in missing.stderr
