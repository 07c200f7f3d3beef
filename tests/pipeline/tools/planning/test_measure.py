"""fdet plan on a small data set, held against what an extraction then really takes."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.cache.errors import FeatureError, InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import Manifest
from fdet.cache.pyramid import FeaturePyramid
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.planning import trial as trial_file
from fdet.pipeline.tools.planning.codec_trial import forms, try_codecs
from fdet.pipeline.tools.planning.measure import make_plan
from fdet.pipeline.tools.planning.options import PlanOptions
from fdet.pipeline.tools.planning.report import plan_lines

from ....generated import make_dataset
from ...quick import command, quick

# Two canvases: 96x96, and 48x96 of the images that are twice as wide as high.
ASPECT = {"size": None, "short": 96, "long": 96, "levels": "c2,c3"}
CODECS = [form.name for form in forms(parse_form("fp32+pca8"))]


def options(dataset, out, **changes):
    mine = {"write_trial": 4 * 2**20, **{k: changes.pop(k) for k in list(changes) if k in OWN}}
    return PlanOptions(extraction=quick(dataset, out, **{**ASPECT, **changes}), **mine)


OWN = ("budget", "epochs", "trial_images", "write_trial")


@pytest.fixture(scope="module")
def planned(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("planned") / "new" / "c.fdet"
    plan = make_plan(options(dataset, out, codec="fp32+pca8"))
    assert not out.parent.exists(), "nothing is left behind"
    assert list(out.parent.parent.iterdir()) == []
    return plan


def test_it_counts_what_an_extraction_would_hold(planned):
    contents = planned.contents
    assert (contents.images, contents.views, contents.samples) == (12, 2, 24)
    assert planned.canvases == {"48x96": 4, "96x96": 8}
    assert [shape[1:] for shape in planned.levels.values()] == [(24, 24), (12, 12)]
    assert planned.tried == 12
    assert [codec.codec for codec in planned.codecs] == CODECS
    assert planned.chosen.codec == "fp32+pca8"


def test_every_codec_is_planned():
    assert {name for name in CODECS if "+" not in name} == set(NUMBERS)
    assert {"int5+pca", "fp32+pca8"} <= set(CODECS)
    assert [form.name for form in forms(parse_form("int5"))] == CODECS[:-1]


@pytest.mark.parametrize(
    ("codec", "store"),
    [*((name, "zarr") for name in CODECS), ("fp16", "hdf5"), ("int4+pca", "hdf5")],
)
def test_planned_bytes_are_those_of_an_extraction(codec, store, planned, dataset, tmp_path):
    out = tmp_path / "c.fdet"
    extract(quick(dataset, out, **ASPECT, codec=codec, store=store))
    stored = Manifest.read(out, CacheHeader.read(out)).stored_bytes
    found = next(plan for plan in planned.codecs if plan.codec == codec)
    # HDF5's own structures weigh some kB a shard, which only tiny shards feel.
    assert found.bytes == pytest.approx(stored, rel=0.05 if store == "zarr" else 0.2)


def test_a_part_of_the_images_tells_nearly_as_much(planned, dataset, tmp_path):
    few = make_plan(options(dataset, tmp_path / "c", trial_images=4))
    assert few.tried == 4
    for part, whole in zip(few.codecs, planned.codecs[:-1], strict=True):
        assert part.bytes == pytest.approx(whole.bytes, rel=0.15), part.codec


def test_json_has_every_figure(dataset, tmp_path):
    extra = ["--write-trial=4MB", "--json", "--budget=1MB", "--epochs=1000000"]
    words = ["plan", *command(dataset, tmp_path / "c.fdet")[1:], *extra]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code, result.stderr) == (0, "")
    data = json.loads(result.stdout)
    assert (data["samples"], data["budget"], data["epochs"]) == (24, 10**6, 10**6)
    assert data["asked"] == "fp32"
    for codec in data["codecs"]:
        assert codec["extraction_seconds"] == max(codec["compute_seconds"], codec["write_seconds"])
        assert codec["views"] == int(1e6 / codec["sample_bytes"] / 12)
    assert data["disk"]["sustained"] > 0 and data["machine"]["forward"] > 0
    assert any(sentence.startswith("Caching ") for sentence in data["sentences"])
    assert list(tmp_path.iterdir()) == []


def test_the_report_has_a_row_a_codec_and_the_sentences(planned):
    lines = list(plan_lines(planned))
    assert lines[0] == "12 images x 2 views = 24 samples"
    assert lines[1] == "canvases  96x96 (8 images), 48x96 (4 images)"
    rows = [line.split()[0] for line in lines if line.split()[:1]]
    assert {*CODECS[:-1], "fp32+pca8*"} <= set(rows)
    assert lines[-len(planned.sentences) :] == planned.sentences
    never = replace(planned, codecs=tuple(replace(codec, epochs=None) for codec in planned.codecs))
    said = list(plan_lines(never))
    assert any(line.startswith("Caching does not pay: ") for line in said)
    assert not any("runs share the cache" in line for line in said)


def test_what_lies_at_out_is_said_and_left_alone(dataset, quick_caches, tmp_path):
    whole = quick_caches["zarr"]
    before = sorted(whole.rglob("*"))
    plan = make_plan(options(dataset, whole))
    assert f"There is a cache at {whole} already; this plan is of a new one." in plan.notes
    assert sorted(whole.rglob("*")) == before
    (tmp_path / "a.txt").touch()
    plan = make_plan(options(dataset, tmp_path))
    assert f"{tmp_path} is not empty and holds no cache: fdet extract will refuse it." in plan.notes


def test_a_disk_in_memory_that_slows_down_and_a_large_budget_are_said(planned):
    from fdet.pipeline.tools.planning.report import disk_notes

    slow = replace(planned.disk, first=1e9, sustained=1.5e7, in_memory=True, file_system="tmpfs")
    memory, slower = disk_notes(slow)
    assert "lies in memory (tmpfs): its rates are not those of a disk" in memory
    assert slower.startswith("Writing slowed down from 1000 to 15 MB/s within 0.0")
    assert not list(disk_notes(replace(slow, first=1.6e7, in_memory=False)))


def test_the_budget_may_be_more_than_there_is(dataset, tmp_path):
    plan = make_plan(options(dataset, tmp_path / "c", budget=10**18, trial_images=2))
    assert any(note.startswith("The budget is more than the ") for note in plan.notes)


def test_images_that_cannot_be_read_are_left_out_of_the_trial(tmp_path):
    data = make_dataset(tmp_path / "d", images=3)
    for name in ("10.png", "sub/17.png"):
        (tmp_path / "d" / "images" / name).write_bytes(b"no image")
    plan = make_plan(options(data, tmp_path / "c"))
    assert plan.tried == 1
    (note,) = [note for note in plan.notes if "could not be read" in note]
    assert note.startswith("2 images of the trial could not be read, e.g. ")
    (tmp_path / "d" / "images" / "24.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 3 images could be read in the trial: not an"):
        make_plan(options(data, tmp_path / "c"))


def test_a_trial_that_takes_long_ends_early(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_file, "SECONDS", 0.0)
    assert make_plan(options(dataset, tmp_path / "c")).tried == trial_file.LEAST


def test_what_a_codec_cannot_store_is_said_and_refused_where_it_was_asked_for(planned):
    """Values beyond fp16, which ends at 65504."""
    from fdet.cache.placement import Placement
    from fdet.cache.pyramid import LevelSpec, PyramidSpec

    spec = PyramidSpec((LevelSpec("c1", 8, 4),))
    maps = torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 1e5
    maps[0, 0, 0, 0] = 1e5
    placement = Placement((32, 32), (32, 32), (32, 32), (1.0, 1.0), (0.0, 0.0), (False, False))
    sample = trial_file.Passed(placement, FeaturePyramid(spec, (maps,), (32, 32)), 1.0, 1.0)
    found, refused = try_codecs([sample], parse_form("fp32"), None, torch.device("cpu"))
    assert list(refused) == ["fp16"] and "codec fp16 ends at 6.55e+04" in refused["fp16"]
    assert len(found) == len(CODECS) - 2
    with pytest.raises(FeatureError, match="codec fp16 ends at"):
        try_codecs([sample], parse_form("fp16"), None, torch.device("cpu"))


def test_another_caches_codec_is_taken_as_an_extraction_would(dataset, tmp_path):
    extract(quick(dataset, tmp_path / "older", **ASPECT, codec="int4", limit=6))
    plan = make_plan(options(dataset, tmp_path / "c", codec="int4", calibration=tmp_path / "older"))
    own = make_plan(options(dataset, tmp_path / "c", codec="int4"))
    assert plan.chosen.bytes != own.chosen.bytes
    assert plan.chosen.bytes == pytest.approx(own.chosen.bytes, rel=0.2)
    with pytest.raises(KeyMismatch, match=r"--calibration .*its codec is of other features"):
        make_plan(options(dataset, tmp_path / "c", codec="int5", calibration=tmp_path / "older"))


def test_an_update_is_checked_and_its_savings_are_not_counted(dataset, quick_caches, tmp_path):
    older = quick_caches["zarr"]
    with pytest.raises(KeyMismatch, match=r"--update .*made from other inputs"):
        make_plan(options(dataset, tmp_path / "c", update=older))
    square = {"size": 64, "short": None, "long": None, "levels": "c1,c2", "update": older}
    plan = make_plan(options(dataset, tmp_path / "c", **square))
    assert f"What {older} saves is not counted." in plan.notes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget=many"], "--budget 'many': expected bytes, e.g. 4GiB"),
        (["--write-trial=0"], "--write-trial '0': expected bytes"),
        (["--epochs=0"], "--epochs: expected at least 1, got 0"),
        (["--trial-images=0"], "--trial-images: expected at least 1, got 0"),
        (["--codec=fp61"], "unknown codec 'fp61'; did you mean 'fp16'?"),
        (["--short=64"], "give either --size N (square) or --short N"),
        (["--long=64"], "--long is the limit of --short"),
        (["--images=TMP/no"], "no such folder"),
        (["--out=TMP/file/c"], "TMP/file is a file; expected a folder"),
        (["--rank=0"], "--rank and --world belong together"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(words, said, dataset, tmp_path):
    (tmp_path / "file").touch()
    base = ["plan", *command(dataset, tmp_path / "c")[1:], "--write-trial=2MB", *words]
    line = [str(word).replace("TMP", str(tmp_path)) for word in base]
    result = CliRunner().invoke(app, line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fdet: ") and result.stderr.count("\n") == 1
    assert said.replace("TMP", str(tmp_path)) in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_it_takes_every_option_of_an_extraction():
    shown = [
        CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300"}).stdout
        for name in ("extract", "plan")
    ]
    options_of = [{w for w in text.split() if w.startswith("--")} for text in shown]
    assert options_of[1] - options_of[0] == {
        "--budget",
        "--epochs",
        "--trial-images",
        "--write-trial",
        "--json",
        "--nodes",
        "--train-from",
    }
    assert options_of[0] <= options_of[1]
