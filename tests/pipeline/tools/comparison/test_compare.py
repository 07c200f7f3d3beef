"""A comparison that really trains: its figures, its interruption, its end."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from fdet.cache.errors import ConfigError, FdetError, IncompleteCache, InputError
from fdet.cache.format.manifest import Manifest
from fdet.cache.reader import FeatureCache
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.comparison import compare as compare_module
from fdet.pipeline.tools.comparison.compare import compare
from fdet.pipeline.tools.comparison.options import CompareOptions
from fdet.pipeline.tools.comparison.runs import RunEnded

from ...command_server import Moment
from ...quick import quick, tree
from ..reporting.made_up import write_run

CONFIG = """
[neck]
channels = 16
min_level = 1
max_level = 3
[train]
epochs = 2
batch_size = 4
"""


@pytest.fixture(scope="session")
def options(dataset, quick_caches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "c.toml").write_text(CONFIG)
    return CompareOptions(
        config=folder / "c.toml",
        cache=quick_caches["zarr"],
        val=quick_caches["hdf5"],
        out=folder / "out",
        sources=["cached", "online"],
        seeds=[0, 1],
        images=dataset.parent / "images",
        device="cpu",
        threads=1,
        extraction_seconds=4.0,
    )


class Launcher:
    """Runs the commands and notes them. kill: run -> the moment at which it is killed."""

    def __init__(self, commands, **kill):
        self.commands, self.kill, self.words = commands, kill, []

    def __call__(self, words):
        self.words.append(words)
        name = words[words.index("--out") + 1].rsplit("/", 1)[1]
        return self.commands.run(words, self.kill.get(name.replace("-", "_")))

    @property
    def runs(self):
        return [words[words.index("--out") + 1].rsplit("/", 1)[1] for words in self.words]


@pytest.fixture(scope="session")
def torn(options, commands):
    """A comparison whose second run was killed as it wrote its second checkpoint."""
    launch = Launcher(commands, online_0=Moment("os.rename", r"\.last\.safetensors\.scratch$", 2))
    with pytest.raises(FdetError, match="online-0 was ended by signal 9"):
        compare(options, launch)
    assert launch.runs == ["cached-0", "online-0"]
    return options, tree(options.out)


@pytest.fixture(scope="session")
def finished(torn, commands):
    """The same command again."""
    options, before = torn
    kept = (options.out / "cached-0" / "last.safetensors").stat()
    launch = Launcher(commands)
    report = compare(options, launch)
    assert (options.out / "cached-0" / "last.safetensors").stat() == kept
    return options, before, launch, report


def lines(options, run):
    text = (options.out / run / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_torn_run_goes_on_and_a_finished_one_is_left_alone(finished):
    options, before, launch, _ = finished
    assert launch.runs == ["online-0", "cached-1", "online-1"]
    assert ["--resume" in words for words in launch.words] == [True, False, False]
    after = tree(options.out)
    mine = {name for name in before if name.startswith("cached-0/")}
    assert len(mine) > 5
    assert [name for name in mine if before[name] != after[name]] == []
    assert [line["step"] for line in lines(options, "online-0")] == [3, 3, 6, 6]


def test_after_each_run_there_is_a_report_of_those_that_are_finished(torn, finished):
    _, before = torn
    assert b"Not finished: 1 of 4 runs." in before["compare.md"]
    assert list(json.loads(before["compare.json"])["sources"]) == ["cached"]
    assert b"Not finished" not in tree(finished[0].out)["compare.md"]


def test_the_figures_are_those_of_the_metrics_recomputed(finished):
    options, *_ = finished
    data = json.loads((options.out / "compare.json").read_text())
    rows = (options.out / "compare.md").read_text().splitlines()[2:4]
    for source, row in zip(("cached", "online"), rows, strict=True):
        logs = [lines(options, f"{source}-{seed}") for seed in (0, 1)]
        train = [[line for line in log if line["kind"] == "train"] for log in logs]
        aps = [[n["metrics"]["ap"] for n in log if n["kind"] == "eval"] for log in logs]
        seconds = [sum(line["seconds"] for line in part) for part in train]
        mean, extraction = sum(seconds) / 2, 4.0 if source == "cached" else 0.0
        own = data["sources"][source]
        assert own["seconds"] == pytest.approx(mean)
        for shared in (1, 3, 10):
            assert own["total_seconds"][str(shared)] == pytest.approx(mean + extraction / shared)
        assert own["best_ap"]["mean"] == pytest.approx(sum(map(max, aps)) / 2)
        assert own["last_ap"]["mean"] == pytest.approx(sum(ap[-1] for ap in aps) / 2)
        # 2 epochs of 12 images; the rate is rounded.
        assert own["images_per_second"] == pytest.approx(24 / mean, rel=1e-3)
        peak = max(line["process_memory_mb"] for part in train for line in part)
        assert (own["process_mb"], own["device_mb"]) == (peak, None)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == source
        assert cells[3] == f"{mean:.1f} s"
        assert cells[8:10] == [f"{peak} MiB", "—"]


def test_disk_is_that_of_the_caches_that_are_read(finished):
    options, _, _, report = finished
    train, val = (
        Manifest.read(path, FeatureCache.open(path).header).stored_bytes
        for path in (options.cache, options.val)
    )
    assert [source.disk_bytes for source in report.sources] == [train + val, val]


def test_the_run_directories_are_runs(finished):
    options, *_ = finished
    for name in ("cached-0", "cached-1", "online-0", "online-1"):
        assert (options.out / name / "best.safetensors").exists()
    assert (options.out / "compare.png").stat().st_size > 10_000


def refuse(words):
    raise AssertionError("nothing is to be trained")


def test_the_same_command_once_more_trains_nothing_and_reports_the_same(finished):
    options, _, _, report = finished
    assert compare(options, refuse) == report


def test_more_seeds_are_more_runs_of_the_same_comparison(finished):
    options, *_ = finished
    asked = []
    with pytest.raises(RunEnded):
        compare(replace(options, seeds=[0, 1, 7]), lambda words: asked.append(words) or 130)
    assert asked[0][asked[0].index("--out") + 1].endswith("cached-7")


def test_another_configuration_in_the_same_folder_is_refused(finished):
    options, *_ = finished
    said = r"cached-0: the configuration has changed: optim.lr was 0.002, is 0.01; choose another"
    with pytest.raises(ConfigError, match=said):
        compare(replace(options, assignments=["optim.lr=0.01"]), refuse)


def test_another_number_of_threads_in_the_same_folder_is_refused(finished):
    options, *_ = finished
    with pytest.raises(InputError, match="was begun with 1, now it is 2"):
        compare(replace(options, threads=2), refuse)


def test_other_caches_in_the_same_folder_are_refused(finished, exact_cache):
    options, *_ = finished
    with pytest.raises(InputError, match="cached-0 has other training data than this command"):
        compare(replace(options, cache=exact_cache), refuse)
    with pytest.raises(InputError, match="cached-0 has other validation data than this command"):
        compare(replace(options, val=options.cache), refuse)


def test_a_cache_that_is_not_finished_is_refused(options, tmp_path):
    half = tmp_path / "half.fdet"
    half.mkdir()
    (half / "fdet.json").write_bytes((options.cache / "fdet.json").read_bytes())
    with pytest.raises(
        IncompleteCache, match=r"--cache .*half.fdet: its extraction has not finished"
    ):
        compare(replace(options, cache=half, out=tmp_path / "out"), refuse)


def command(python, options, out, epochs, **more):
    words = {
        **{"cache": options.cache, "val": options.val, "images": options.images, "out": out},
        **{"sources": "scratch,finetune,cached", "device": "cpu", "threads": 1},
        **{"extraction-seconds": 4, "set": f"train.epochs={epochs}", **more},
    }
    pairs = [f"--{name}={value}" for name, value in words.items()]
    return [str(python), "-m", "fdet", "compare", str(options.config), *pairs]


@pytest.mark.slow
def test_ctrl_c_ends_run_and_comparison_and_the_same_command_goes_on(options, warm, tmp_path):
    words = command(warm.python, options, tmp_path / "out", 8, sources="scratch,cached")
    state = tmp_path / "out" / "scratch-0" / "last.safetensors"
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not state.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    said, told = process.communicate()
    assert (process.returncode, said) == (130, "")
    assert "fdet: interrupted; what was finished is kept" in told
    assert told.endswith("the same `fdet compare` command goes on with this run and the others\n")
    assert told.count("interrupted") == 1
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "run 1 of 2: scratch-0 goes on" in again.stderr
    assert again.stdout.startswith("| source ")
    assert (tmp_path / "out" / "compare.md").read_text() in again.stdout
    steps = [line["step"] for line in lines(replace(options, out=tmp_path / "out"), "scratch-0")]
    assert steps[-1] == 24
    assert steps == sorted(steps)


@pytest.mark.slow
def test_what_a_run_refuses_comes_through_as_its_one_line(options, warm, tmp_path):
    words = command(
        warm.python, options, tmp_path / "out", 1, sources="cached", set="neck.min_level=0"
    )
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (refusal,) = [line for line in done.stderr.splitlines() if line.startswith("fdet: ")]
    assert "min_level" in refusal


@pytest.mark.slow
def test_a_cache_of_codes_is_compared_with_what_its_extraction_costs(
    options, dataset, commands, tmp_path
):
    coded = tmp_path / "int5.fdet"
    extract(quick(dataset, coded, codec="int5"))
    measured = {"sources": ["cached", "online"], "seeds": [0], "extraction_seconds": None}
    own = replace(options, cache=coded, val=coded, out=tmp_path / "out", **measured)
    launch = Launcher(commands)
    compare(own, launch)
    assert launch.runs == ["cached-0", "online-0"]
    data = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert all(own["best_ap"]["mean"] is not None for own in data["sources"].values())
    assert json.loads((tmp_path / "out" / "extraction.json").read_text())["measured"] == 12
    for name in ("cached-0", "online-0"):
        kept = {
            n.removeprefix(name + "/")
            for n in tree(tmp_path / "out")
            if n.startswith(f"{name}/codec/")
        }
        assert kept == {n for n in tree(coded) if n.startswith("codec/")}


def test_what_another_comparison_left_before_this_one_held_the_folder_is_seen(
    options, tmp_path, monkeypatch
):
    """It ended between this one's look at the folder and its lock."""
    original = compare_module.only_writer

    def late(out):
        write_run(out / "cached-0")
        return original(out)

    monkeypatch.setattr(compare_module, "only_writer", late)
    with pytest.raises(ConfigError, match="the configuration has changed"):
        compare(replace(options, out=tmp_path / "out"), lambda words: pytest.fail("it trains"))
