"""Any number of processes fill one cache, in any order, and it has the bytes of one alone."""

import itertools
import random
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import save_file

from fdet.cache.errors import IncompleteCache, InputError, KeyMismatch, StorageError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines import world as world_file
from fdet.pipeline.machines.world import World, find_world

from ..command_server import Moment
from ..quick import QUICK, command, quick, records, tree

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
SRUN = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "3"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, World(0, 1, 0)),
        (TORCHRUN, World(2, 4, 1)),
        (SRUN, World(5, 8, 3)),
        ({**SRUN, **TORCHRUN}, World(2, 4, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, World(1, 2, 0)),
        ({"RANK": "1"}, World(0, 1, 0)),
        # A batch script that srun did not start is one process, whatever sbatch has set.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, World(0, 1, 0)),
    ],
)
def test_the_launchers_variables_say_which_process_this_is(variables, found):
    assert find_world(None, None, variables) == found


@pytest.mark.parametrize("variables", [{}, TORCHRUN, SRUN, {"RANK": "x", "WORLD_SIZE": "y"}])
def test_options_beat_variables(variables):
    assert find_world(1, 3, variables) == World(1, 3)


@pytest.mark.parametrize(("rank", "size"), [(0, None), (None, 2)])
def test_rank_and_world_belong_together(rank, size):
    with pytest.raises(InputError, match="--rank and --world belong together"):
        find_world(rank, size, TORCHRUN)


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (9, 2), (-1, 2)])
def test_a_rank_beyond_the_world_is_refused(rank, size):
    with pytest.raises(InputError, match=f"expected 0 to 1, got {rank}"):
        find_world(rank, size, {})


@pytest.mark.parametrize("names", world_file._LAUNCHERS, ids=lambda names: names[0])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("one", "2", "0"), "not numbers: {0}=one, {1}=2, {2}=0; give --rank and --world"),
        (("", "2", "0"), "not numbers: {0}=, {1}=2, {2}=0"),
        (("0", "2.0", "0"), "not numbers: {0}=0, {1}=2.0"),
        (("0", "2", "gpu"), "not numbers: {0}=0, {1}=2, {2}=gpu"),
        (("2", "2", "0"), "expected 0 to 1, got 2"),
        (("-1", "2", "0"), "expected 0 to 1, got -1"),
        (("0", "0", "0"), "{1}"),
        (("0", "2", "-1"), "{2}"),
    ],
)
def test_nonsense_in_the_variables_is_refused_and_names_them(names, values, said):
    with pytest.raises(InputError) as caught:
        find_world(None, None, dict(zip(names, values, strict=True)))
    assert said.format(*names) in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_each_piece_has_one_owner(size):
    for number in range(20):
        assert sum(World(rank, size).owns(number) for rank in range(size)) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_in_any_order_the_bytes_are_those_of_one_process(order, dataset, quick_caches, tmp_path):
    out, missing = tmp_path / "c", 4
    for rank in order:
        with pytest.raises((IncompleteCache, InputError)):
            FeatureCache.open(out)
        summary = extract(quick(dataset, out, rank=rank, world=3))
        own = 2 if rank == 0 else 1
        missing -= own
        assert (summary.written, summary.missing) == (own * 6, missing)
        assert summary.samples == 24 - 6 * missing
        assert summary.bytes == sum((out / n).stat().st_size for n in recorded_files(out))
    assert tree(out) == tree(quick_caches["zarr"])


def recorded_files(out: Path) -> list[str]:
    """Level files and tables of the shards that are there."""
    names = []
    for shard in records(out):
        index = shard.rsplit("-", 1)[1]
        names += [f"64x64/{level}/c.{index}.0.0.0" for level in ("c1", "c2")]
        names.append(f"samples/{shard}.npy")
    return names


def test_more_processes_than_shards(dataset, quick_caches, tmp_path, passes):
    ranks = random.Random(1).sample(range(9), 9)
    written = [extract(quick(dataset, tmp_path / "c", rank=r, world=9)).written for r in ranks]
    assert sorted(written) == [0] * 5 + [6] * 4
    assert passes["samples"] == 24
    assert tree(tmp_path / "c") == tree(quick_caches["zarr"])


def test_one_process_alone_finishes_what_several_began(dataset, whole, store, tmp_path, passes):
    extract(quick(dataset, tmp_path / "c", store=store, rank=1, world=2))
    summary = extract(quick(dataset, tmp_path / "c", store=store))
    assert (summary.written, summary.missing) == (12, 0)
    assert passes["samples"] == 24
    assert tree(tmp_path / "c") == tree(whole)


@pytest.fixture
def weights(tmp_path):
    """A file: weights drawn from a seed would be drawn by all threads from one generator."""
    state = load_backbone("test_resnet", weights="random")._net.model.state_dict()
    save_file({n: v.clone() for n, v in state.items()}, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_processes_side_by_side_give_the_bytes_of_one(dataset, store, weights, tmp_path):
    extract(quick(dataset, tmp_path / "alone", store=store, weights=weights))

    def one(rank):
        out = tmp_path / "together"
        return extract(quick(dataset, out, store=store, weights=weights, rank=rank, world=4))

    with ThreadPoolExecutor(4) as pool:
        summaries = list(pool.map(one, range(4)))
    assert [s.written for s in summaries] == [6] * 4
    assert any(s.missing == 0 for s in summaries)
    assert tree(tmp_path / "together") == tree(tmp_path / "alone")


class Held:
    """The backbone waits for ever in one thread, until it is let go."""

    def __init__(self, monkeypatch):
        self.arrived, self.free = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        forward = FrozenBackbone.forward

        def held(backbone, canvases, content_hw):
            if threading.current_thread() is self.thread and canvases.any():
                self.arrived.set()
                assert self.free.wait(60)
            return forward(backbone, canvases, content_hw)

        monkeypatch.setattr(FrozenBackbone, "forward", held)

    def start(self, config):
        self.thread = threading.Thread(target=extract, args=[config])
        self.thread.start()
        assert self.arrived.wait(60)


@pytest.fixture
def held(monkeypatch):
    held = Held(monkeypatch)
    yield held
    held.free.set()
    if held.thread is not None:
        held.thread.join(60)


def test_one_rank_runs_once_at_a_time_and_the_slowest_completes_the_cache(
    held, dataset, weights, tmp_path
):
    slow = quick(dataset, tmp_path / "c", weights=weights, rank=0, world=2)
    held.start(slow)
    with pytest.raises(StorageError, match="another fdet process is writing"):
        extract(slow)
    summary = extract(quick(dataset, tmp_path / "c", weights=weights, rank=1, world=2))
    assert (summary.written, summary.missing) == (12, 2)
    assert not (tmp_path / "c" / "manifest.json").exists()
    held.free.set()
    held.thread.join(60)
    extract(quick(dataset, tmp_path / "alone", weights=weights))
    assert tree(tmp_path / "c") == tree(tmp_path / "alone")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"codec": "fp16"}, "codec: fp16 here, fp32 there"),
        ({"size": 96}, "short: 96 here, 64 there"),
        ({"seed": 1}, "seed: 1 here, 0 there"),
        ({"levels": "c2"}, "levels: c2(stride 4"),
        ({"views": "plain"}, "views: "),
        ({"limit": 3}, "planned for another data set"),
        ({"store": "hdf5"}, "zarr cache, this command makes a hdf5 one"),
    ],
)
def test_processes_with_other_inputs_are_refused(change, named, dataset, tmp_path):
    out = tmp_path / "c"
    extract(quick(dataset, out, rank=0, world=2))
    before = tree(out)
    with pytest.raises(KeyMismatch) as caught:
        extract(quick(dataset, out, **{**QUICK, **change}, rank=1, world=2))
    assert named in str(caught.value)
    assert tree(out) == before


def test_two_that_both_begin_a_cache_do_not_take_each_other_for_strangers(
    dataset, quick_caches, tmp_path, monkeypatch
):
    """The other one lays the cache down between our look for a header and our look at the folder."""
    out, listed = tmp_path / "c", Path.iterdir
    begun = threading.Event()

    def late(folder):
        if folder == out and not begun.is_set():
            begun.set()
            extract(quick(dataset, out, rank=1, world=2))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", late)
    assert extract(quick(dataset, out, rank=0, world=2)).missing == 0
    assert begun.is_set()
    assert tree(out) == tree(quick_caches["zarr"])


def test_torchruns_variables_reach_the_extraction(dataset, tmp_path, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    summary = extract(quick(dataset, tmp_path / "c"))
    assert (summary.written, summary.missing) == (12, 2)
    assert records(tmp_path / "c") == ["64x64-1", "64x64-3"]


def test_a_finished_cache_is_nobodys_work(dataset, quick_caches, tmp_path, passes):
    out = shutil.copytree(quick_caches["zarr"], tmp_path / "c")
    for rank in range(3):
        summary = extract(quick(dataset, out, rank=rank, world=3))
        assert (summary.written, summary.missing, summary.samples) == (0, 0, 24)
    assert passes["samples"] == 0
    assert tree(out) == tree(quick_caches["zarr"])


@pytest.mark.slow
def test_a_killed_process_is_replaced_by_its_own_command(commands, dataset, whole, store, tmp_path):
    out = tmp_path / "c"
    ranks = [command(dataset, out, store=store, rank=rank, world=3) for rank in range(3)]
    kills = [Moment("os.link", r"/commits/64x64-3\.json$"), None, None]
    running = [commands.start(words, kill) for words, kill in zip(ranks, kills, strict=True)]
    assert [commands.wait(process) for process in running] == [-signal.SIGKILL, 0, 0]
    assert records(out) == ["64x64-0", "64x64-1", "64x64-2"]
    assert not (out / "manifest.json").exists()
    assert commands.run(ranks[0]) == 0
    assert tree(out) == tree(whole)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", world_file._LAUNCHERS, ids=lambda names: names[0])
def test_launched_side_by_side_processes_fill_one_cache(
    launcher, commands, dataset, quick_caches, tmp_path
):
    values = [(str(rank), "4", str(rank)) for rank in range(4)]
    each = [dict(zip(launcher, v, strict=True)) for v in values]
    running = [commands.start(command(dataset, tmp_path / "c"), **own) for own in each]
    assert [commands.wait(process) for process in running] == [0] * 4
    assert tree(tmp_path / "c") == tree(quick_caches["zarr"])
