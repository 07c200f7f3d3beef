"""Several processes are one that works off the same parts one after the other, bit for bit."""

import json
import shutil
import signal
import sys
import time

import pytest
import torch

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.machines import processes as processes_module
from fdet.pipeline.machines.processes import Processes, join_processes, main_address, main_port
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.train import train

from ..quick import damage
from . import together
from .runs import SHARED, TINY, assert_close, assert_same, lines, options, part, tensors, tiny

CPU = torch.device("cpu")
FAST = ("optim.name=sgd", "optim.lr=2.0", "schedule.warmup_steps=0")
# name: head, settings, options. Two processes have 6 and 5 images of a batch of 11.
JOBS = {
    "retinanet": ("retinanet", ["train.batch_size=8", "train.average=0.9"], {}),
    "faster-rcnn": ("faster-rcnn", ["train.batch_size=8", "optim.name=sgd"], {}),
    "odd": ("retinanet", ["train.batch_size=11", "train.precision=fp16"], {}),
    "skipping": ("retinanet", ["train.batch_size=2"], {"on_corrupt": "skip"}),
    "finetune": ("retinanet", ["backbone.train_from=c4"], {"source": "finetune"}),
    "sync-bn": (
        "retinanet",
        ["neck.norm=sync-bn", "train.batch_size=11", "train.epochs=4", *FAST],
        {},
    ),
}
# There a micro-batch is a batch of its own.
ALIKE = [name for name in JOBS if name != "sync-bn"]


def settings(name):
    head, more, _ = JOBS[name]
    return [*SHARED, *TINY[head], "head.score_threshold=0.005", *more]


@pytest.fixture(scope="module")
def damaged(live_cache, tmp_path_factory):
    """Both views of an image are damaged, and it is alone in a batch of two processes once or twice."""
    root = shutil.copytree(live_cache, tmp_path_factory.mktemp("damaged") / "damaged.fdet")
    for view in (0, 1):
        damage(root, 10, view, level=1)
    return root


@pytest.fixture(scope="module")
def paths(live_cache, damaged, images):
    """By job: where its data lie."""
    found = {name: {"cache": live_cache, "val": live_cache} for name in JOBS}
    found["skipping"] = {"cache": damaged, "val": live_cache}
    found["finetune"]["images"] = images
    # An evaluation would give all processes the first one's statistics.
    del found["sync-bn"]["val"]
    return found


@pytest.fixture(scope="module")
def pair(paths, warm, tmp_path_factory):
    """Two processes have trained every job: the folder of the runs, and each one's report."""
    folder = tmp_path_factory.mktemp("pair")
    jobs = {
        name: {
            "head": head,
            "settings": settings(name),
            "options": more,
            "paths": {n: str(p) for n, p in {**paths[name], "out": folder / "runs" / name}.items()},
        }
        for name, (head, _, more) in JOBS.items()
    }
    (folder / "jobs.json").write_text(json.dumps(jobs))
    (folder / "runs").mkdir()
    started = together.start([together.__file__, folder / "jobs.json", folder], python=warm.python)
    for status, errors, _ in together.finish(started):
        assert status == 0, errors
    reports = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return folder / "runs", reports


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_are_two_micro_batches_bit_for_bit(name, pair, paths, tmp_path):
    runs, _ = pair
    head, _, more = JOBS[name]
    config = load_config(head=head, assignments=[*settings(name), "train.accumulate=2"])
    where = dict(paths[name])
    train(config, options(where.pop("cache"), tmp_path / "alone", **where, **more))
    assert_same(tensors(runs / name), tensors(tmp_path / "alone"))
    assert_same(tensors(runs / name, "best"), tensors(tmp_path / "alone", "best"))
    for kind in ("train", "eval"):
        mine, theirs = lines(runs / name, kind), lines(tmp_path / "alone", kind)
        assert [line["step"] for line in mine] == [line["step"] for line in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert one.get("metrics") == other.get("metrics")
            assert one.get("losses", {}) == pytest.approx(other.get("losses", {}), rel=1e-5)
            assert one.get("skipped") == other.get("skipped")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TINY, "sync-bn"])
def test_two_processes_are_one_large_batch_but_for_rounding(name, pair, paths, tmp_path):
    """Plain descent with a small rate: its weights differ as much as the gradients do."""
    runs, _ = pair
    config = load_config(head=JOBS[name][0], assignments=settings(name))
    where = dict(paths[name])
    train(config, options(where.pop("cache"), tmp_path / "alone", **where))
    mine, theirs = (part(tensors(run), "model.") for run in (runs / name, tmp_path / "alone"))
    assert_close(mine, theirs, 5e-3)
    first = [lines(run, "train")[0]["losses"] for run in (runs / name, tmp_path / "alone")]
    assert first[0] == pytest.approx(first[1], rel=1e-3)


@pytest.mark.slow
def test_sync_bn_takes_the_statistics_of_all_processes_images(pair, paths, tmp_path):
    """As of one large batch, above; each process's own would be others by far."""
    runs, _ = pair
    config = load_config(head="retinanet", assignments=[*settings("sync-bn"), "train.accumulate=2"])
    where = dict(paths["sync-bn"])
    train(config, options(where.pop("cache"), tmp_path / "alone", **where))
    mine, theirs = (part(tensors(run), "model.") for run in (runs / "sync-bn", tmp_path / "alone"))
    moved = [name for name in mine if name.endswith("running_var")]
    assert len(moved) > 5 and not any((mine[name] == 1).any() for name in moved)
    weights = ["neck.fpn.inner_blocks.0.0.weight", "neck.fpn.layer_blocks.0.0.weight"]
    for name in [*moved, *weights]:
        with pytest.raises(AssertionError):
            assert_close({name: mine[name]}, {name: theirs[name]}, 5e-3)
    # Four epochs of twelve images.
    counts = {int(v) for name, v in mine.items() if name.endswith("num_batches_tracked")}
    assert counts == {4}


@pytest.mark.slow
def test_all_know_weights_and_metrics_and_the_first_alone_writes_and_tells(pair):
    runs, (first, second) = pair
    assert first.pop("written") and second.pop("written") == []
    assert any(first[name]["metrics"]["ar100"] for name in ALIKE)
    assert len({first[name]["weights"] for name in JOBS}) == len(JOBS)
    assert first["skipping"]["skipped"] in (1, 2)
    for name in JOBS:
        logged = len(lines(runs / name, "train")) + len(lines(runs / name, "eval"))
        assert (first[name].pop("events"), second[name].pop("events")) == (logged, 0)
    assert first == second


def command(cache, out, *more):
    words = [word for setting in [*SHARED, *TINY["retinanet"]] for word in ("--set", setting)]
    words += ["--head", "retinanet"]
    fixed = ["-m", "fdet", "train-heads", cache, "--out", out, "--device", "cpu", "--threads", 1]
    return [*fixed, *words, *more]


@pytest.mark.slow
def test_a_wish_of_one_is_everyones_and_they_resume_to_the_same_weights(live_cache, warm, tmp_path):
    longer = ("--set", "train.epochs=20")
    words = command(live_cache, tmp_path / "torn", *longer)
    started = together.start(words, python=warm.python)
    deadline = time.monotonic() + 120
    while not (tmp_path / "torn" / "last.safetensors").exists():
        assert all(process.poll() is None for process in started)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started[1].send_signal(signal.SIGTERM)
    assert [status for status, _, _ in together.finish(started)] == [130, 130]
    torn = lines(tmp_path / "torn", "train")[-1]["step"]
    assert torn < 60
    resumed = together.finish(together.start([*words, "--resume"], python=warm.python))
    assert [status for status, _, _ in resumed] == [0, 0], resumed
    assert [bool(said.strip()) for _, _, said in resumed] == [True, False], "the first one speaks"
    config = tiny("retinanet", "train.epochs=20", "train.accumulate=2")
    train(config, options(live_cache, tmp_path / "alone"))
    assert_same(tensors(tmp_path / "torn"), tensors(tmp_path / "alone"))


@pytest.mark.slow
def test_what_the_first_one_refuses_ends_all_in_a_line(live_cache, warm, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    started = together.start(command(live_cache, tmp_path / "out"), python=warm.python)
    for status, errors, _ in together.finish(started):
        assert status == 2
        assert "the folder is not empty" in errors.strip().splitlines()[-1]


ALONE = Processes(World(), CPU)


def test_alone_nothing_is_shared_and_nothing_changes():
    x = torch.tensor([1.0, 2.0])
    assert ALONE.sum_(x) is x
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.gather("a") == ["a"] and ALONE.of_first("a") == "a"
    ALONE.share_first([x])
    assert x.tolist() == [1.0, 2.0]


def test_a_parameter_without_a_part_in_the_loss_has_a_gradient_of_zero():
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    used.sum().backward()
    ALONE.sum_gradients([used, unused])
    assert used.grad.tolist() == [1.0, 1.0] and unused.grad.tolist() == [0.0, 0.0]


def test_what_the_first_one_refuses_is_raised():
    def refusing():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        ALONE.by_first(refusing)


def test_a_bug_of_the_first_one_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        ALONE.by_first(lambda: 1 / 0)


def test_without_a_launcher_one_trains_alone():
    alone = join_processes("cpu", {})
    assert (alone.world, alone.on_machine, alone.group) == (World(), 1, None)
    assert alone.first


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, 4),
        ({"LOCAL_WORLD_SIZE": "2"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "4"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, 2),
        # The allocation may hold more tasks than the step.
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_NTASKS_PER_NODE": "8"}, 1),
    ],
)
def test_the_launcher_says_how_many_share_a_machine(more, expected):
    assert processes_module._on_machine(World(1, 4, 1), more) == expected


@pytest.mark.parametrize(
    "more",
    [{"LOCAL_WORLD_SIZE": "3"}, {"SLURM_STEP_TASKS_PER_NODE": "3,1"}, {"LOCAL_WORLD_SIZE": "0"}],
)
def test_machines_with_different_numbers_of_processes_are_refused(more):
    with pytest.raises(InputError, match=r"4 processes, .* on a machine: expected the same number"):
        processes_module._on_machine(World(1, 4, 1), more)


SUMMING = """import atexit
import torch
atexit.register(lambda: print(torch.distributed.is_initialized()))
from fdet.pipeline.machines.processes import join_processes
processes = join_processes("cpu")
print(int(processes.sum_(torch.tensor(10 ** processes.world.rank))), processes.first)
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", together.LAUNCHERS)
def test_processes_find_each_other_and_start_no_others(launcher, warm, tmp_path):
    (tmp_path / "summing.py").write_text(SUMMING)
    # torchrun's are new interpreters, as users have them.
    python = sys.executable if launcher == "torchrun" else warm.python
    found = together.finish(together.start([tmp_path / "summing.py"], 3, launcher, python))
    assert [status for status, _, _ in found] == [0, 0, 0], found[0][1]
    assert [out.split()[-3:] for _, _, out in found] == [
        ["111", "True", "False"],
        ["111", "False", "False"],
        ["111", "False", "False"],
    ]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("far", "far"),
        ("near,far[1-2]", "near"),
        ("node[07-09],x2", "node07"),
        ("node[3,7-9]-ib,x2", "node3-ib"),
    ],
)
def test_the_first_node_of_a_step_is_where_they_meet(nodes, first):
    assert main_address({"SLURM_STEP_NODELIST": nodes}) == first


def test_the_launcher_says_where_they_meet():
    assert main_address({}) == "127.0.0.1"
    named = {"MASTER_ADDR": "there", "MASTER_PORT": "77", "SLURM_STEP_NODELIST": "elsewhere"}
    assert (main_address(named), main_port(named)) == ("there", 77)
    ports = {main_port({"SLURM_JOB_ID": job, "SLURM_STEP_ID": "1"}) for job in ("8", "9")}
    assert len(ports) == 2 and all(15_000 <= port < 30_000 for port in ports)


@pytest.mark.parametrize(("device", "devices"), [("cuda:0", 4), ("cuda:1", 2)])
def test_each_process_needs_a_device_of_its_own(device, devices, monkeypatch):
    taken = torch.device(device)
    monkeypatch.setattr(processes_module, "pick_device", lambda name, local_rank: taken)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(InputError, match=f"and 4 devices, got {devices}"):
        join_processes(device, TORCHRUN)


def test_a_batch_of_fewer_images_than_processes_is_refused(live_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"4 images cannot be shared by 4 .* expected at least 8"):
        train(tiny("retinanet", "train.accumulate=2"), options(live_cache, tmp_path / "run"))
