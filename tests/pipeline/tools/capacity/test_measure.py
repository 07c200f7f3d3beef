"""What a detector holds, computes and keeps, against what can be counted by hand."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.cli import app
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.paper import SMALL_DATA
from fdet.pipeline.tools.capacity.measure import measure
from fdet.pipeline.tools.capacity.report import capacity_lines

# Of the cache: stride 8, 16, 32 below a canvas of 128 px.
PLACES = (16 * 16, 8 * 8, 4 * 4)


@pytest.fixture(scope="module")
def header(exact_cache):
    return CacheHeader.read(exact_cache)


def config(*more, head="retinanet"):
    quick = ("neck.channels=16", "neck.max_level=5", "train.batch_size=6")
    plain = ("neck.norm=none", "head.norm=none", "train.precision=fp32")
    return load_config(head=head, assignments=[*quick, *plain, *more])


def test_parameters_and_flops_are_those_of_the_convolutions(header):
    backbone, neck, head = measure(config("head.convs=1"), header, 3).parts
    inputs = header.key.levels.channels
    assert (backbone.name, backbone.trained) == (header.key.backbone, False)
    assert backbone.parameters == header.backbone["parameters"]
    assert neck.parameters == sum(c * 16 + 16 for c in inputs) + 3 * (9 * 16 * 16 + 16)
    each = zip(inputs, PLACES, strict=True)
    assert neck.flops == sum(2 * n * (c * 16 + 9 * 16 * 16) for c, n in each)
    outputs = 9 * 3 + 9 * 4
    assert head.parameters == 9 * 16 * (2 * 16 + outputs) + 2 * 16 + outputs
    assert head.flops == 2 * sum(PLACES) * 9 * 16 * (2 * 16 + outputs)


def test_the_share_is_of_all_parameters(header):
    found = measure(config(), header, 3)
    backbone, *trained = (part.parameters for part in found.parts)
    assert found.trained_share == sum(trained) / (backbone + sum(trained))


def test_adapters_are_a_part_of_their_own_that_is_trained(header):
    """The cache's backbone has three maps; each end of a level has one at least."""
    backbone, adapters, *above = measure(config("backbone.adapters=true"), header, 3).parts
    plain = measure(config(), header, 3).parts
    assert (adapters.name, adapters.trained) == ("adapters", True)
    assert [backbone, *above] == list(plain)
    narrow = config("backbone.adapters=true", "backbone.adapter_reduction=1024")
    fewer = measure(narrow, header, 3).parts[1]
    assert 0 < fewer.parameters < adapters.parameters and 0 < fewer.flops < adapters.flops


def test_the_command_says_what_of_adapters_is_not_counted(exact_cache):
    words = ["model", "retinanet-fpn-s", "--cache", str(exact_cache)]
    plain = CliRunner().invoke(app, words)
    ours = CliRunner().invoke(app, [*words, "--set", "backbone.adapters=true"])
    assert ours.exit_code == 0, ours.output
    said = [line for line in ours.output.splitlines() if line.startswith("adapters")]
    assert len(said) == 1 and said[0].endswith("trained")
    assert "note: what the backbone keeps" in ours.output
    assert "adapters" not in plain.output


@pytest.mark.parametrize("head", ["retinanet", "fcos", "faster-rcnn", "cascade-rcnn"])
def test_activations_grow_with_the_layers_and_shrink_when_recomputed(head, header):
    few = ("head.sampled=64", "head.fc_channels=64") if head.endswith("rcnn") else ()
    recomputed = ("head.convs=6", "train.checkpoint_activations=true")
    plain, deeper, again = (
        measure(config(*few, *more, head=head), header, 3).activations
        for more in (("head.convs=2",), ("head.convs=6",), recomputed)
    )
    assert plain < deeper
    assert again < 0.7 * deeper


def test_a_tower_keeps_its_maps(header):
    """Each convolution of both towers keeps its input, 16 channels of float32 at every place."""
    kept = [measure(config(f"head.convs={n}"), header, 3).activations for n in (1, 5)]
    assert kept[1] - kept[0] == 4 * 2 * sum(PLACES) * 16 * 4


def test_accumulation_works_off_fewer_together(header):
    assert measure(config("train.accumulate=4"), header, 3).together == 2


def test_a_small_share_is_noted_with_the_papers_reason(header):
    weak, strong = (measure(config(f"neck.channels={n}"), header, 3) for n in (16, 512))
    assert weak.trained_share < 0.4 < strong.trained_share
    assert any("2204.00484" in line for line in capacity_lines(weak))
    assert not any("2204.00484" in line for line in capacity_lines(strong))


def fdet(*words):
    return CliRunner().invoke(app, ["model", *map(str, words)])


def test_presets_files_and_runs_are_shown(exact_cache, tmp_path):
    (tmp_path / "own.toml").write_text("[neck]\nchannels = 32\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(config("neck.channels=24").to_toml())
    for what in ("retinanet-fpn-s", tmp_path / "own.toml", run):
        result = fdet(what, "--cache", exact_cache)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "canvas 128x128 px" in result.stdout and "trained share: " in result.stdout


@pytest.mark.parametrize("source", ["cached", "finetune"])
def test_a_run_that_trained_its_backbone_is_told_apart(source, exact_cache, header, tmp_path):
    (tmp_path / "config.toml").write_text(config().to_toml())
    info = RunInfo(header.key, (2,), ("disc",), config(), 9, {"source": source}, ("r",))
    (tmp_path / "run.json").write_bytes(info.to_bytes())
    result = fdet(tmp_path, "--cache", exact_cache)
    assert result.exit_code == 0
    assert ("--source finetune the backbone is trained too" in result.stdout) == (
        source == "finetune"
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_half_precision_a_tower_keeps_half_and_no_weights(precision, header):
    """Each of four convolutions of 64 channels, in both towers, would be kept as 2 bytes a weight."""
    more = ("neck.channels=64", f"train.precision={precision}")
    kept = [measure(config(f"head.convs={n}", *more), header, 3).activations for n in (1, 5)]
    assert kept[1] - kept[0] == 4 * 2 * sum(PLACES) * 64 * 2


def test_masks_are_counted_with_the_head(exact_cache):
    plain, asked, told = (
        fdet("faster-fpn-s", "--cache", exact_cache, *more)
        for more in ((), ("--masks",), ("--set", "head.masks=true"))
    )
    assert plain.exit_code == asked.exit_code == 0
    assert asked.stdout == told.stdout != plain.stdout


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("retinanet-fpn-xl", "no such file or preset"),
        ("FOLDER", "a folder, but no run"),
        ("faster-fpn", "neck fpn needs level c2"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(what, said, exact_cache, tmp_path):
    result = fdet(what.replace("FOLDER", str(tmp_path)), "--cache", exact_cache)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_the_note_on_a_small_trained_share_tells_what_is_known_of_small_data(exact_cache):
    """The figures are those of the pages that it names."""
    words = ["model", "retinanet-fpn-s", "--cache", str(exact_cache)]
    shown = CliRunner().invoke(app, words).output
    assert "note: less than 40% is trained. On COCO" in shown
    assert (
        "With 205 images (BCCD, one seed each) the share did not decide: -1.1 with 28%, " in shown
    )
    docs = Path(__file__).parents[4] / "docs"
    claim, detectors = ((docs / name).read_text() for name in ("claim.md", "detectors.md"))
    for point in SMALL_DATA:
        row = next(line for line in claim.splitlines() if line.startswith(f"| {point.name} |"))
        assert f"| {point.share:.0%} |" in row and f"| {point.gain:+.1f} |" in row
    for name, share, ap in (("retinanet-fpn-s", 11, 47.4), ("cascade-nas-fpn-s", 53, 48.1)):
        assert re.search(rf"\| `{name}` \| {ap} .*\| {share} % \|", detectors)
        assert f"{ap} with {share}%" in shown


def test_nothing_is_noted_of_a_large_share(exact_cache):
    words = ["model", "cascade-nas-fpn-s", "--cache", str(exact_cache)]
    assert "note:" not in CliRunner().invoke(app, words).output


def test_a_refiner_is_a_part_for_which_the_others_are_frozen(header):
    plain = measure(config(), header, 3)
    found = measure(config("head.refine=2"), header, 3)
    assert [part.trained for part in found.parts] == [False, False, False, True]
    same = [(p.name, p.parameters) for p in plain.parts]
    assert [(p.name, p.parameters) for p in found.parts[:-1]] == same
    assert found.parts[1].flops == plain.parts[1].flops
    refiner = found.parts[-1]
    assert refiner.name == "refiner" and refiner.parameters > 0 and refiner.flops > 0
    assert found.activations > 0
    assert not any(line.startswith("note") for line in capacity_lines(found))
