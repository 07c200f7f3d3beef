"""The annotations of a cache as a file: written once, and nothing is overwritten."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import InputError
from fdet.pipeline.cli import app
from fdet.pipeline.tools.upkeep.annotations import write_annotations


@pytest.fixture
def cache(quick_caches, tmp_path):
    return shutil.copytree(quick_caches["zarr"], tmp_path / "a.fdet")


def test_it_is_written_and_may_be_written_again(cache, dataset, tmp_path):
    out = tmp_path / "val.json"
    for _ in range(2):
        done = CliRunner().invoke(app, ["cache", "annotations", str(cache), str(out)])
        assert (done.exit_code, str(out) in done.stdout) == (0, True)
        assert json.loads(out.read_text()) == json.loads(dataset.read_text())


def test_an_unfinished_cache_has_them_too(cache, tmp_path):
    (cache / "manifest.json").unlink()
    assert write_annotations(cache, tmp_path / "val.json") > 0


def test_another_file_is_left_alone(cache, tmp_path):
    out = tmp_path / "val.json"
    out.write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        write_annotations(cache, out)
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match="there is no folder"):
        write_annotations(cache, tmp_path / "none" / "val.json")
