"""A tail behind a block of a plain ViT, which takes the cached tokens beside the map."""

import pytest
import torch
from PIL import Image

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.evaluation.detecting import detect, detect_image, load_trained
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.loading import codec_of_run
from fdet.pipeline.sources.data import open_cached
from fdet.pipeline.tools.equivalence.check import check_equivalence
from fdet.pipeline.tools.equivalence.checks import steps_config
from fdet.pipeline.tools.equivalence.options import EquivalenceOptions
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ..backbones.tiny import VIT
from .conftest import FAST
from .runs import assert_same, lines, losses, options, tensors, tiny

CPU = torch.device("cpu")
FROM = ("neck.name=vit-pyramid", "backbone.train_from=block2")
MADE = {"backbone": VIT, "weights": "random", "size": 64}


@pytest.fixture(scope="module")
def vit_cache(dataset, tmp_path_factory):
    """The tokens and the map of one block; read only."""
    out = tmp_path_factory.mktemp("vit") / "c.fdet"
    extract(extraction(dataset, out, taps="1", tokens=True, codec="int8", **MADE))
    return out


@pytest.fixture(scope="module")
def trained(vit_cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    given = options(vit_cache, run, val=vit_cache, source="tail")
    train(tiny("retinanet", *FAST, *FROM), given)
    return run


def test_it_is_evaluated_as_it_was_in_training(trained, vit_cache):
    assert RunInfo.read(trained).tail.names == ("block1", "block3")
    metrics, _ = evaluate_run(trained, vit_cache, EvaluateOptions(device="cpu", threads=1))
    best = max(line["metrics"]["ap"] for line in lines(trained, "eval"))
    assert metrics.ap == pytest.approx(best) and best > 0


def test_it_finds_in_images_what_it_finds_in_the_cache(trained, vit_cache, images):
    """The trunk in the loop gives tokens too, and the map passes through the cache's codec."""
    info = RunInfo.read(trained)
    detector, backbone = load_trained(trained, info, "best", CPU, None)
    data = open_cached([vit_cache], None, CPU)
    image = data.header.layout.image(data.image_ids[0])
    with Image.open(images / image.file_name) as opened:
        codec = codec_of_run(trained, info, CPU)
        found = detect_image(opened.convert("RGB"), info, backbone, detector, codec)
    kept = detect(detector, data.source, [[(image.id, 0)]], shown=False)[image.id]
    assert len(kept.scores) > 0
    assert torch.equal(found.scores, kept.scores) and torch.equal(found.boxes, kept.boxes)


def test_samples_in_memory_have_their_tokens(vit_cache, tmp_path):
    for resident in ("none", "ram"):
        own = options(vit_cache, tmp_path / resident, source="tail", resident=resident)
        train(tiny("retinanet", *FROM), own)
    assert losses(tmp_path / "none") == losses(tmp_path / "ram")
    assert_same(tensors(tmp_path / "none"), tensors(tmp_path / "ram"))


def test_a_codec_is_no_hindrance_to_the_check_of_equivalence(vit_cache, images):
    config = steps_config(
        vit_cache, None, ["neck.channels=8", "neck.min_level=3", "neck.max_level=5", *FROM], "tail"
    )
    given = EquivalenceOptions(images=images, source="tail", samples=2, steps=2)
    found = check_equivalence(vit_cache, config, given)
    assert found.equivalent and found.training.training_distance.exact
    assert [level.name for level in found.levels] == ["block1", "(vector)"]


def test_a_cache_without_tokens_is_refused(vit_cache, dataset, trained, tmp_path):
    plain = tmp_path / "c.fdet"
    extract(extraction(dataset, plain, taps="1", codec="int8", calibration=vit_cache, **MADE))
    config = tiny("retinanet", *FROM)
    said = (
        "passes 5 tokens on beside the map, and .*c.fdet does not keep them; extract it with --tok"
    )
    for cache, val in ((plain, None), (vit_cache, plain)):
        with pytest.raises(ConfigError, match=said):
            train(config, options(cache, tmp_path / "run", val=val, source="tail"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="takes 5 tokens beside the map of block1"):
        evaluate_run(trained, plain, EvaluateOptions(device="cpu", threads=1))
