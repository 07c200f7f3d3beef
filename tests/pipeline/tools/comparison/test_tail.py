"""A tail in a comparison: it reads the cache, and begins at the level that the settings name."""

import json

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import Manifest
from fdet.pipeline.cli import app
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.comparison.checks import check_comparison
from fdet.pipeline.tools.comparison.compare import _disk_bytes, compare
from fdet.pipeline.tools.comparison.options import USUAL, CompareOptions
from fdet.pipeline.tools.comparison.runs import command, planned

CONFIG = """
[neck]
channels = 8
max_level = 5
[head]
convs = 1
[train]
epochs = 1
batch_size = 4
[backbone]
train_from = "c5"
"""


@pytest.fixture
def options(live_cache, images, tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)

    def made(*sources, **more):
        return CompareOptions(
            **{
                **{"config": tmp_path / "c.toml", "cache": live_cache, "val": live_cache},
                **{"out": tmp_path / "out", "sources": sources, "images": images},
                **{"device": "cpu", "threads": 1, "extraction_seconds": 4.0, **more},
            }
        )

    return made


def here(words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return 0


def test_it_is_compared_with_a_backbone_trained_from_the_same_level(options, live_cache):
    given = options("tail", "finetune")
    report = compare(given, here)
    for name in ("tail", "finetune"):
        info = RunInfo.read(given.out / f"{name}-0")
        assert (info.source, info.config.backbone.train_from) == (name, "c5")
    found = json.loads((given.out / "compare.json").read_text())
    tail, finetune = (found["sources"][name] for name in ("tail", "finetune"))
    assert tail["total_seconds"]["1"] == pytest.approx(tail["seconds"] + 4.0)
    assert finetune["total_seconds"]["1"] == pytest.approx(finetune["seconds"])
    stored = Manifest.read(live_cache, CacheHeader.read(live_cache)).stored_bytes
    assert (tail["disk_bytes"], finetune["disk_bytes"]) == (stored, 0)
    assert report.extraction.seconds == 4.0
    assert {finding.source for finding in report.findings} == {"tail"}
    assert "**Where tail " in (given.out / "compare.md").read_text()


def test_its_command_has_no_images_but_the_weights_of_the_backbone(options, tmp_path):
    given = options("tail", weights=str(tmp_path / "w.pth"))
    words = list(command(planned(given)[0], given))
    assert "--images" not in words
    assert words[words.index("--source") + 1] == "tail"
    assert words[words.index("--weights") + 1].endswith("w.pth")


def test_adapters_in_a_tail_read_the_cache(options):
    adapted = {"assignments": ("backbone.adapters=true",)}
    check_comparison(options("tail", "online", **adapted))
    assert _disk_bytes("tail", options("tail", **adapted)) > 0
    assert _disk_bytes("online", options("online", **adapted)) == 0


def test_it_is_trained_where_it_is_named_and_needs_its_level(options):
    assert "tail" not in USUAL
    with pytest.raises(ConfigError, match="needs the level that the tail begins with"):
        check_comparison(options("tail", assignments=("backbone.train_from=",)))
