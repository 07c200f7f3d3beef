"""A limit of memory: the cheapest way that fits is found by trials, said, kept, and true."""

import logging
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import InputError
from fdet.cache.layout import Bucket, ImageEntry, Layout
from fdet.cache.loader import BatchReader
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import resident_bytes
from fdet.cache.sampler import Sampler
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.sources.data import Data, open_cached
from fdet.pipeline.training import memory_limit
from fdet.pipeline.training.memory_limit import SPARE, Fit, choose, find_fit, ways
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import _try, train
from fdet.pipeline.training.trial import _Alone, heaviest, peak_of

from ...conftest import extraction

CPU = torch.device("cpu")
ALONE = Processes(World(0, 1), CPU)
LIMIT = 2**40


def small(*more):
    quick = ("neck.channels=8", "neck.max_level=5", "train.batch_size=4", "train.epochs=1")
    return load_config(head="retinanet", assignments=[*quick, *more])


def way(config):
    return config.train.accumulate, config.train.checkpoint_activations


class Measured:
    """Made-up peaks: a base, and so much an image of a micro-batch, a quarter of it checkpointed."""

    def __init__(self, base=100, image=40):
        self.base, self.image = base, image
        self.asked = []

    def __call__(self, config, allowed):
        self.asked.append((*way(config), allowed))
        size = -(-config.train.batch_size // config.train.accumulate)
        share = 4 if config.train.checkpoint_activations else 1
        peak = self.base + size * self.image // share
        return None if allowed is not None and peak > allowed else peak


def test_the_command_line_refuses_it_in_one_line(exact_cache, tmp_path):
    words = ["train-heads", str(exact_cache), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words, "--memory-limit", "4 apples"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--memory-limit '4 apples': expected bytes, e.g. 4GiB" in result.stderr
    with pytest.raises(InputError, match="--memory-limit: expected bytes, got 0"):
        train(small(), TrainOptions(cache=exact_cache, out=tmp_path / "run", memory_limit=0))


def test_ways_go_from_the_configured_one_to_an_image_at_a_time():
    config = small("train.batch_size=12")
    counts = [1, 2, 4, 8, 12]
    assert [list(map(way, f)) for f in ways(config)] == [
        [(n, False) for n in counts],
        [(n, True) for n in counts],
    ]
    assert [way(w)[0] for w in ways(config, processes=4)[0]] == [1, 2, 3]
    began = small("train.batch_size=4", "train.accumulate=2", "train.checkpoint_activations=true")
    assert [list(map(way, f)) for f in ways(began)] == [[(2, True), (4, True)]]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 64])
def test_the_first_way_that_fits_is_taken_after_few_trials(size):
    families = ways(small(f"train.batch_size={size}"))
    flat = [w for family in families for w in family]
    for allowed in range(105, 3000, 61):
        limit, measured = int(allowed * SPARE) + 1, Measured()
        peaks = [(*way(w), Measured()(w, None)) for w in flat]
        fitting = [one for one in peaks if one[2] <= allowed]
        if not fitting:
            with pytest.raises(InputError, match="activations checkpointed still needs"):
                choose(families, measured, limit)
            assert measured.asked[-1] == (size, True, None)
            continue
        fit = choose(families, measured, limit)
        assert (fit.accumulate, fit.checkpoint_activations, fit.peak) == fitting[0]
        assert fit.peak + fit.room <= limit / SPARE
        assert (*fitting[0][:2], allowed) in measured.asked
        assert len(measured.asked) <= 4 + len(families[0]).bit_length()


def test_what_is_needed_at_least_is_said():
    with pytest.raises(InputError) as caught:
        choose(ways(small()), Measured(base=2**31, image=0), 2**30)
    assert (
        "--memory-limit 1.0 GiB: 4 micro-batches of 1, activations checkpointed still needs 2.1 GiB"
        in (str(caught.value))
    )


def test_the_most_frugal_way_may_be_more_than_there_is():
    with pytest.raises(InputError, match="needs more than this machine has"):
        choose(ways(small()), lambda config, allowed: None, 2**30)


@pytest.fixture
def made_up(monkeypatch):
    """Trials that do not run: a gibibyte, or too much where all four images are worked off at once."""
    asked = []

    def peak(trial, config, options, processes, allowed):
        asked.append(way(config))
        return 2**30 if config.train.accumulate >= 2 else None

    monkeypatch.setattr(memory_limit, "peak_of", peak)
    return asked


def options(cache, out, **more):
    return TrainOptions(cache=cache, out=out, threads=1, memory_limit=LIMIT, **more)


def test_the_choice_is_the_runs_own_and_said(made_up, exact_cache, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fdet")
    train(small(), options(exact_cache, tmp_path / "run"))
    assert made_up == [(1, False), (4, False), (2, False)]
    info = RunInfo.read(tmp_path / "run")
    assert info.config == small("train.accumulate=2").adopting(info.config)
    said = "2 micro-batches of 2, activations not checkpointed, samples resident; a trial step took 1.0"
    assert f"memory limit 1024.0 GiB: {said} GiB" in caplog.messages


def test_resume_takes_the_choice_without_a_trial(made_up, exact_cache, tmp_path):
    command = options(exact_cache, tmp_path / "run")
    train(small(), command)
    made_up.clear()
    assert train(small(), replace(command, resume=True)).steps == 3
    assert made_up == []
    with pytest.raises(InputError, match="trained on something else: memory limit"):
        train(small(), replace(command, resume=True, memory_limit=2**39))


def test_resume_of_a_run_without_a_limit_is_refused(exact_cache, tmp_path):
    command = options(exact_cache, tmp_path / "run")
    train(small(), replace(command, memory_limit=None))
    with pytest.raises(InputError, match="was started without --memory-limit"):
        train(small(), replace(command, resume=True))


@pytest.mark.parametrize(("beside", "resident"), [(0, True), (-1, False)])
def test_samples_stay_in_memory_only_if_they_fit_beside(beside, resident, exact_cache):
    needed = resident_bytes(FeatureCache.open(exact_cache).header)
    fit = Fit(1, False, limit=int((1000 + needed + beside + 1) * SPARE), peak=1000)
    data = open_cached(
        [exact_cache], None, CPU, resident="auto", room=min(fit.room, needed + beside)
    )
    assert fit.room in (needed + beside, needed + beside + 1)
    assert data.resident == resident


def test_the_heaviest_samples_are_of_the_largest_batch_and_have_most_objects(dataset, tmp_path):
    """Every third image is 2:1: with a batch of 8 the larger canvas counts, with the more objects."""
    extract(extraction(dataset, tmp_path / "c.fdet", size=None, short=64, long=128, codec="fp16"))
    data = open_cached([tmp_path / "c.fdet"], None, CPU)
    heavy = heaviest(data, Sampler(data.header.layout, data.image_ids, 3, 0, 1), batches=1)
    boxes = {i: len(data.annotations.of_image(i).labels) for i in data.image_ids}
    layout = data.header.layout
    areas = {
        i: layout.buckets[layout.bucket_of(i)].canvas_hw[0]
        * layout.buckets[layout.bucket_of(i)].canvas_hw[1]
        for i in data.image_ids
    }
    largest = [i for i in data.image_ids if areas[i] == max(areas.values())]
    assert len(set(areas.values())) == 2
    assert {areas[i] for i in heavy.image_ids} == {max(areas.values())}
    assert sorted(boxes[i] for i in heavy.image_ids) == sorted(boxes[i] for i in largest)[-3:]


def drawn_up(*buckets):
    """(rows, columns, images) of each."""
    ids, parts = count(), []
    for rows, columns, images in buckets:
        entries = tuple(ImageEntry(next(ids), "x.png", (rows, columns)) for _ in range(images))
        parts.append(Bucket((rows, columns), images, entries))
    layout = Layout(("plain",), tuple(parts))
    objects = SimpleNamespace(of_image=lambda image_id: SimpleNamespace(labels=[]))
    ids = tuple(image.id for image in layout.images)
    return Data("made up", SimpleNamespace(layout=layout), objects, ids, None, "")


@pytest.mark.parametrize(("parts", "larger"), [(1, False), (2, False), (8, True)])
def test_the_part_that_is_worked_off_at_once_counts(parts, larger):
    """Of 4 images of the larger canvas a batch of 8 has less; one at a time they need more."""
    data = drawn_up((800, 800, 100), (800, 1344, 4))
    sampler = Sampler(data.header.layout, data.image_ids, 8, 0, epochs=1)
    heavy = heaviest(data, sampler, batches=1, parts=parts)
    assert all(image_id >= 100 for image_id in heavy.image_ids) == larger


@pytest.mark.parametrize(("size", "accumulate"), [(4, 1), (5, 1), (6, 2), (7, 3)])
def test_a_trial_evaluates_what_one_process_of_two_does(size, accumulate, exact_cache, tmp_path):
    settings = (f"train.batch_size={size}", f"train.accumulate={accumulate}")
    pair = Processes(World(0, 2), CPU, on_machine=2, group=_Alone())
    assert _try(small(*settings), options(exact_cache, tmp_path, val=exact_cache), pair) == 0


def test_that_nothing_fits_is_told_to_all(exact_cache, tmp_path, monkeypatch):
    """The others would wait for the first one's choice for ever."""
    told = []

    class Recording:
        def shared(self, value, rank):
            told.append(value)
            return value

    pair = Processes(World(0, 2), CPU, on_machine=2, group=Recording())
    monkeypatch.setattr(memory_limit, "peak_of", lambda *arguments: None)
    with pytest.raises(InputError, match="still needs more than this machine has"):
        find_fit(small(), options(exact_cache, tmp_path / "run"), pair, _try)
    assert [type(value) for value in told] == [InputError]


def test_a_trial_that_is_refused_says_why(forked, tmp_path):
    command = options(tmp_path / "nowhere.fdet", tmp_path / "run")
    with pytest.raises(InputError, match=r"nowhere\.fdet is not a cache"):
        peak_of(_try, small(), command, ALONE, None)


def test_a_trial_with_a_bug_keeps_its_traceback(forked, tmp_path):
    with pytest.raises(TypeError) as caught:
        peak_of(print, small(), options(tmp_path, tmp_path / "run"), ALONE, None)
    assert "in _tell" in caught.value.__notes__[0]


def test_a_trial_that_takes_too_much_is_broken_off(forked, exact_cache, tmp_path):
    assert peak_of(_try, small(), options(exact_cache, tmp_path / "run"), ALONE, 2**20) is None


@pytest.mark.parametrize("source", ["cached", "online", "finetune"])
def test_a_trial_of_every_kind_of_source_with_as_many_processes(
    source, forked, dataset, exact_cache, tmp_path
):
    """A backbone in the loop takes memory too, and more if it is trained; here of half the images.

    `scratch` is `finetune` with other weights.
    """
    live = {} if source == "cached" else {"source": source, "images": dataset.parent / "images"}
    command = options(exact_cache, tmp_path / "run", val=exact_cache, **live)
    pair = Processes(World(0, 2), CPU, on_machine=2)
    peak = peak_of(_try, small(), command, pair, None)
    assert peak is not None
    assert peak > 2**27
    assert not (tmp_path / "run").exists()


def test_samples_that_were_asked_for_count(exact_cache, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("fdet.pipeline.training.train.Loop.run", lambda loop: told.append(loop))
    command = options(exact_cache, tmp_path / "run")
    needed = resident_bytes(FeatureCache.open(exact_cache).header)
    assert needed > 0
    assert _try(small(), replace(command, resident="ram"), ALONE) == needed
    assert _try(small(), replace(command, resident="none"), ALONE) == 0
    assert _try(small(), command, ALONE) == 0
    assert not any(loop.data.resident for loop in told)


@pytest.mark.slow
def test_a_run_stays_below_its_limit(dataset, tmp_path):
    """Between what one image takes and what eight take; the run has a process of its own, as users do."""
    cache, run = tmp_path / "large.fdet", tmp_path / "run"
    extract(extraction(dataset, cache, size=512, codec="fp16"))
    settings = ("neck.channels=32", "train.batch_size=8", "train.epochs=3")
    config = load_config(head="retinanet", assignments=settings)
    command = TrainOptions(cache=cache, val=cache, out=run, threads=1)
    least = peak_of(_try, ways(config)[0][-1], command, ALONE, None)
    limit = int(least * SPARE) + 50 * 2**20
    words = [a for setting in settings for a in ("--set", setting)]
    words += ["--head", "retinanet", "--val", str(cache), "--threads", "1"]
    words += ["--memory-limit", f"{limit}B"]
    program = [sys.executable, "-m", "fdet", "train-heads", str(cache), "--out", str(run), *words]
    said = subprocess.run(program, check=True, capture_output=True, text=True).stderr
    chosen = RunInfo.read(run).config.train
    assert 1 < chosen.accumulate < 8 and not chosen.checkpoint_activations
    assert f"{chosen.accumulate} micro-batches of" in said
    logged = [line for line in metrics_log.read(run) if line["kind"] == "train"]
    assert max(line["process_memory_mb"] for line in logged) * 2**20 < limit
    again = replace(command, memory_limit=limit, resume=True)
    assert train(config, again).steps == logged[-1]["step"]


class Counting(BatchReader):
    """Weak references to what was read; `most` were alive at once."""

    def watch(self, seen, most):
        object.__setattr__(self, "seen", seen)
        object.__setattr__(self, "most", most)
        return self

    def read(self, samples):
        batch = super().read(samples)
        self.seen.append(weakref.ref(batch.maps[0]))
        self.most.append(alive(self.seen))
        return batch


def alive(references):
    return sum(r() is not None for r in tuple(references))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_no_more_batches_are_alive_than_the_bound_says(workers, prefetch, exact_cache):
    """prefetch that wait, one in use, one that takes its place: however slow the step is."""
    data = open_cached([exact_cache], None, CPU, workers=workers, prefetch=prefetch)
    seen, most = [], []
    data.source.reader = Counting(data.source.reader.cache).watch(seen, most)
    order = Sampler(data.header.layout, data.image_ids, 1, 0, 1).batches(0)
    for number, batch in enumerate(data.batches(order, CPU, 0.3)):
        loaded, deadline = min(len(order), number + 1 + prefetch), time.monotonic() + 60
        while len(most) < loaded and time.monotonic() < deadline:
            time.sleep(0.001)
        batch.pyramid()
        assert len(most) == loaded
        assert alive(seen) == min(prefetch + 1, len(order) - number)
    assert max(most) <= prefetch + 2
