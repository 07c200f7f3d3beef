"""`fdet extract` killed at chosen moments: the same command ends with the bytes of an undisturbed run."""

import signal

import pytest

from fdet.cache.errors import IncompleteCache, InputError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.extraction.extract import extract

from ..command_server import Moment
from ..quick import command, quick, records, tree

# What is written under a scratch name stands under its own when the scratch name is removed.
MOMENTS = {
    "before the header": (Moment("os.link", r"/fdet\.json$"), 0),
    "the header stands": (Moment("os.remove", r"/\.fdet\.json\.scratch$"), 0),
    "the annotations stand": (Moment("os.remove", r"/\.annotations\.json\.zst\.scratch$"), 0),
    "a scratch file of a shard": (Moment("os.link", r"/(c\.0\.0\.0\.0|0\.h5)$"), 0),
    "the first file of a shard": (Moment("os.remove", r"(c\.0\.0\.0\.0|0\.h5)\.scratch$"), 0),
    "before the table of the first shard": (Moment("os.link", r"/samples/64x64-0\.npy$"), 0),
    "before the first record": (Moment("os.link", r"/commits/64x64-0\.json$"), 0),
    "the first record stands": (Moment("os.remove", r"/commits/\..*\.scratch$"), 1),
    "the table of the third shard": (Moment("os.remove", r"/\.64x64-2\.npy\.scratch$"), 2),
    "the third record stands": (Moment("os.remove", r"/commits/\..*\.scratch$", 3), 3),
    "the last record stands": (Moment("os.remove", r"/commits/\..*\.scratch$", 4), 4),
    "before the manifest": (Moment("os.link", r"/manifest\.json$"), 4),
    "the manifest stands": (Moment("os.remove", r"/\.manifest\.json\.scratch$"), 4),
    "all is done": (Moment("os.remove", r"/\.rank-0-of-1\.scratch$"), 4),
}
OF_ZARR = {
    "the group's zarr.json stands": (Moment("os.remove", r"c/\.zarr\.json\.scratch$"), 0),
    "the last zarr.json stands": (Moment("os.remove", r"c2/\.zarr\.json\.scratch$"), 0),
    "one of two levels": (Moment("os.link", r"/c\.0\.0\.0\.0$", 2), 0),
    "one of two levels of the last shard": (Moment("os.link", r"/c\.3\.0\.0\.0$", 2), 3),
}


def check(moment, finished, store, commands, dataset, whole, out, passes):
    words = command(dataset, out, store=store)
    assert commands.run(words, moment) == -signal.SIGKILL
    assert len(records(out)) == finished
    if (out / "manifest.json").exists():
        assert len(FeatureCache.open(out)) == 12
    else:
        with pytest.raises((IncompleteCache, InputError)):
            FeatureCache.open(out)
    summary = extract(quick(dataset, out, store=store))
    assert summary.written == passes["samples"] == 24 - 6 * finished
    assert tree(out) == tree(whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_was_finished_stays_and_the_rest_is_done_again(
    moment, store, commands, dataset, whole, tmp_path, passes
):
    check(*MOMENTS[moment], store, commands, dataset, whole, tmp_path / "c", passes)


@pytest.mark.slow
@pytest.mark.parametrize("moment", OF_ZARR)
def test_a_shard_of_several_files_is_there_with_its_record_alone(
    moment, commands, dataset, quick_caches, tmp_path, passes
):
    out = tmp_path / "c"
    check(*OF_ZARR[moment], "zarr", commands, dataset, quick_caches["zarr"], out, passes)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_all_the_same(store, commands, dataset, whole, tmp_path):
    words = command(dataset, tmp_path / "c", store=store)
    for finished in range(4):
        # Each run finishes one shard, and is killed when all of the next but its record is there.
        moment = Moment("os.link", r"/commits/.*\.json$", 1 if finished == 0 else 2)
        assert commands.run(words, moment) == -signal.SIGKILL
        assert len(records(tmp_path / "c")) == finished
    assert commands.run(words) == 0
    assert tree(tmp_path / "c") == tree(whole)


@pytest.mark.slow
def test_killed_while_it_decodes_in_other_processes(store, commands, dataset, whole, tmp_path):
    words = command(dataset, tmp_path / "c", store=store, workers=2)
    assert commands.run(words, Moment("os.link", r"/commits/64x64-1\.json$")) == -signal.SIGKILL
    assert records(tmp_path / "c") == ["64x64-0"]
    assert commands.run(words) == 0
    assert tree(tmp_path / "c") == tree(whole)
