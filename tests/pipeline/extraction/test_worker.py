"""A worker of another node, here: it makes what one process makes, and refuses a folder of its own."""

import json
import shutil
from dataclasses import replace

import pytest

from fdet.cache.disk.objects import located
from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import FdetError, InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.writer import seal
from fdet.pipeline.extraction import ray_engine
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.preparation import with_data
from fdet.pipeline.extraction.ray_engine import RayEngine, on_ray, role_of, worker_config
from fdet.pipeline.extraction.worker import CREATE, ShardWorker
from fdet.pipeline.machines.queue import WorkQueue
from fdet.pipeline.machines.world import World

from ..machines.fake import FakeCrew
from ..quick import quick, records, tree

ROLE = role_of(World())


@pytest.fixture
def begun(dataset, tmp_path):
    """A worker that has laid the cache down, and the cache."""
    out = tmp_path / "c"
    with only_writer(out, ROLE):
        yield made(quick(dataset, out), CREATE), out


def made(config, *tasks):
    worker = ShardWorker(worker_config(config), ROLE)
    worker.begin()
    if tasks:
        worker.work(list(tasks))
    return worker


def test_two_workers_fill_the_cache_that_one_process_makes(begun, dataset, quick_caches):
    first, out = begun
    second = made(quick(dataset, out))
    found = [*second.work([3, 1]), *first.work([0, 2])]
    assert [number for number, _ in found] == [3, 1, 0, 2]
    assert first.progress() == 12
    header = CacheHeader.read(out)
    for number, (record, taken) in found:
        name = header.layout.shards[number].name
        assert (out / "commits" / f"{name}.json").read_bytes() == record and taken == 0
    seal(out, header)
    (out / f".{ROLE}.scratch").rename(out.parent / "lock")
    assert tree(out) == tree(quick_caches["zarr"])


def test_of_an_older_cache_is_taken_over_what_has_not_changed(begun, dataset, quick_caches):
    _, out = begun
    worker = made(quick(dataset, out, update=quick_caches["zarr"]))
    assert [taken for _, (_, taken) in worker.work([0, 1])] == [3, 3]


def test_asked_to_stop_it_drops_the_shard_in_hand(begun):
    worker, out = begun
    assert len(worker.work([0])) == 1
    worker.stop()
    assert worker.work([1, 2]) == [] and len(records(out)) == 1


def test_a_folder_of_this_node_alone_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="on a file system that all nodes share"):
        made(quick(dataset, tmp_path / "c"), CREATE)
    with pytest.raises(InputError, match="on a file system that all nodes share"):
        made(quick(dataset, tmp_path / "c"), 0)
    assert not (tmp_path / "c").exists()


def test_a_node_with_other_inputs_is_refused(begun, dataset):
    _, out = begun
    with pytest.raises(KeyMismatch, match="threads"):
        made(quick(dataset, out, threads=2), 0)


def test_a_node_that_does_not_see_the_images_is_refused_and_writes_nothing(
    begun, dataset, tmp_path
):
    _, out = begun
    elsewhere = made(replace(quick(dataset, out), images=tmp_path / "not-mounted"))
    with pytest.raises(InputError, match=r"--images .*not-mounted: no such folder"):
        elsewhere.work([0])
    assert not records(out)


def test_an_object_store_is_no_place_for_ray(dataset):
    config = replace(quick(dataset, "c"), out=located("s3://bucket/c"), engine="ray")
    with (
        pytest.raises(InputError, match="--engine ray writes to a folder"),
        on_ray(config, World(), with_data(config)[1]),
    ):
        pass


def test_what_it_warns_of_comes_with_the_header(begun, dataset, tmp_path):
    _, out = begun
    data = json.loads(dataset.read_text())
    data["annotations"][0]["bbox"] = [0, 0, 0, 0]
    other = shutil.copytree(dataset.parent, tmp_path / "d") / dataset.name
    other.write_text(json.dumps(data))
    worker = ShardWorker(worker_config(quick(other, out)), ROLE)
    worker.begin()
    ((piece, said),) = worker.work([CREATE])
    assert piece == CREATE
    assert any("1 box of zero size" in line for line in said) and any(
        "keeps the annot" in line for line in said
    )


def test_workers_are_told_whole_paths_and_the_threads_they_claim(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    config = quick(dataset, (tmp_path / "c").relative_to(tmp_path), weights="w.pth", ray_cpus=3)
    found = worker_config(config)
    assert (found.out, found.weights) == (tmp_path / "c", str(tmp_path / "w.pth"))
    assert (
        found.threads == 1
        and worker_config(quick(dataset, config.out, threads=None, ray_cpus=3)).threads == 3
    )


def engine(out, workers, stop_requests=()):
    return RayEngine(out, WorkQueue(workers, max_tasks=1), stop_requests)


def test_the_engine_tells_of_each_shard_once(whole):
    header = CacheHeader.read(whole)
    workers = FakeCrew(room=2, work=lambda worker, tasks: [(p, (b"", 2)) for p in tasks])
    assert list(engine(whole, workers).write(header, header.layout.shards)) == [2] * 4


def test_a_shard_that_kills_its_workers_ends_the_command_with_its_name(whole, monkeypatch):
    header = CacheHeader.read(whole)
    monkeypatch.setattr(ray_engine, "is_there", lambda path: False)
    workers = FakeCrew(room=1, work=lambda worker, tasks: "out of memory")
    name = header.layout.shards[0].name
    with pytest.raises(FdetError, match=f"shard {name} was tried 4 times; .*: out of memory"):
        list(engine(whole, workers).write(header, header.layout.shards))


def test_records_that_are_not_to_be_seen_here_are_refused(whole, tmp_path, monkeypatch):
    header = CacheHeader.read(whole)
    monkeypatch.setattr(ray_engine, "PATIENCE_SECONDS", 0.0)
    workers = FakeCrew(work=lambda worker, tasks: [(p, (b"", 0)) for p in tasks])
    with pytest.raises(InputError, match="cannot be seen here"):
        list(engine(tmp_path, workers).write(header, header.layout.shards))


def test_who_wishes_to_leave_leaves_once_the_workers_have(whole):
    header = CacheHeader.read(whole)
    workers = FakeCrew(room=2, slow=True, work=lambda worker, tasks: [])
    stop_requests = []
    own = engine(whole, workers, stop_requests)
    own.wait_for_a_worker()
    own.queue.waiting.extend(range(4))
    own.queue.step()
    assert own.queue.in_hand
    stop_requests.append(0.0)
    with pytest.raises(KeyboardInterrupt):
        list(own.write(header, header.layout.shards))
    assert workers.stopped and not own.queue.in_hand


def test_one_process_alone_gives_the_shards_to_ray(dataset, tmp_path):
    config = quick(dataset, tmp_path / "c", engine="ray", rank=1, world=2)
    with pytest.raises(InputError, match=r"rank 1 of 2; .*leave out --rank and --world"):
        extract(config)
    config = quick(dataset, tmp_path / "c", engine="ray", ray_gpus=1.5)
    with (
        pytest.raises(InputError, match="--ray-gpus"),
        on_ray(config, World(), with_data(config)[1]),
    ):
        pass
    assert not (tmp_path / "c").exists()
