"""What cannot be compared is one line and exit 2, before anything is trained."""

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.cli import app
from fdet.pipeline.tools.comparison.options import CompareOptions, parsed_seeds

BAD = {
    "unknown source": (["--sources", "cached,onlin"], "--sources 'onlin'; did you mean 'online'?"),
    "no source": (["--sources", ","], "--sources: expected at least one"),
    "a source twice": (["--sources", "cached,cached"], "--sources: one stands there twice"),
    "no seed": (["--seeds", ""], "--seeds: expected at least one"),
    "a seed that is none": (
        ["--seeds", "0,one"],
        "--seeds: expected numbers such as 0,1,2, got 'on",
    ),
    "a negative seed": (["--seeds=-1"], "--seeds: expected numbers such as 0,1,2, got '-1'"),
    "a large seed": (["--seeds", "4294967296"], "got '4294967296'"),
    "a seed twice": (["--seeds", "1,1"], "--seeds: one stands there twice"),
    "a seed of its own": (
        ["--set", "train.seed=3"],
        "the seeds of a comparison are given by --seeds",
    ),
    "no training cache": (["--cache", "TMP/no"], "TMP/no is not a cache: it has no fdet.json"),
    "no validation cache": (["--val", "TMP/no"], "TMP/no is not a cache: it has no fdet.json"),
    "no such images": (["--images", "TMP/no"], "--images TMP/no: no such folder"),
    "no such validation images": (
        ["--val-images", "TMP/no"],
        "--val-images TMP/no: no such folder",
    ),
    "other images": (["--images", "TMP/empty"], "12 of 12 images are missing below TMP/empty"),
    "a negative extraction": (
        ["--extraction-seconds=-1"],
        "--extraction-seconds: expected at least",
    ),
    "no number of seconds": (
        ["--extraction-seconds=nan"],
        "--extraction-seconds: expected at least",
    ),
    "no such setting": (["--set", "optim.lrr=1"], "did you mean 'optim.lr'?"),
    "adapters beside the cache": (
        ["--sources", "online,cached", "--set", "backbone.adapters=true"],
        "--adapters (backbone.adapters) act inside the backbone, and cached maps do not pass",
    ),
    "no such file of settings": (["TMP/no.toml"], "no.toml: No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_two(case, dataset, quick_caches, tmp_path):
    words, said = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "c.toml").write_text("")
    words = [word.replace("TMP", str(tmp_path)) for word in words]
    config = [] if words[0].endswith(".toml") else [str(tmp_path / "c.toml")]
    caches = ["--cache", str(quick_caches["zarr"]), "--val", str(quick_caches["hdf5"])]
    others = ["--images", str(dataset.parent / "images"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["compare", *config, *caches, *others, *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1
    assert said.replace("TMP", str(tmp_path)) in result.stderr
    assert not any((tmp_path / "out").glob("*"))


def options(tmp_path, **more):
    (tmp_path / "c.toml").write_text("[train]\nseed = 9\n[backbone]\ntrain_from = 'c3'\n")
    paths = {name: tmp_path / name for name in ("cache", "val", "out")}
    return CompareOptions(config=tmp_path / "c.toml", **{**paths, **more})


def test_images_are_needed_by_what_decodes_them_and_by_the_extraction(tmp_path):
    with pytest.raises(InputError, match="--sources online needs --images DIR"):
        options(tmp_path, sources=["cached", "online"]).check()
    with pytest.raises(InputError, match="give --images DIR, or --extraction-seconds S"):
        options(tmp_path, sources=["cached"]).check()
    options(tmp_path, sources=["cached"], extraction_seconds=3.0).check()
    options(tmp_path, images=tmp_path).check()


def test_the_seed_of_a_run_is_the_one_of_the_comparison(tmp_path):
    assert options(tmp_path).config_of("cached", 4).train.seed == 4
    with pytest.raises(ConfigError):
        options(tmp_path, assignments=["train.seed = 3"]).config_of("cached", 4)


def test_all_sources_have_the_same_settings_but_scratch_trains_all_of_the_backbone(tmp_path):
    own = options(tmp_path, assignments=["optim.lr=0.01"])
    cached, online, finetune, scratch = (
        own.config_of(source, 1) for source in ("cached", "online", "finetune", "scratch")
    )
    assert cached == online == finetune
    assert (cached.optim.lr, cached.backbone.train_from) == (0.01, "c3")
    assert scratch.backbone.train_from == ""
    assert {**scratch.to_mapping(), "backbone": 0} == {**cached.to_mapping(), "backbone": 0}


def test_seeds_are_numbers_between_commas():
    assert parsed_seeds("0, 7,4294967295") == (0, 7, 4294967295)
    assert parsed_seeds(" ") == ()
