"""A run goes on with the threads of torch that it was begun with."""

import logging
from dataclasses import replace

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs.info import PROCESSES, THREADS, RunInfo
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.threads import check_threads, take_threads, threads_now
from fdet.pipeline.training.train import train

from .runs import assert_same, content, make_format_8, options, rewrite, tensors, tiny

CPU = Processes(World(), torch.device("cpu"))
CUDA = Processes(World(), torch.device("cuda"))


class Torn(Exception):
    pass


@pytest.fixture(autouse=True)
def threads_of_the_process():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def torn(config, started, monkeypatch):
    """A run that ended in its second epoch."""
    original = Stepper.step

    def tearing(stepper, batches, size, number, total):
        if number == 4:
            raise Torn
        return original(stepper, batches, size, number, total)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", tearing)
        with pytest.raises(Torn):
            train(config, started)


@pytest.fixture
def begun(live_cache, tmp_path, monkeypatch):
    """With two threads; and then the process has another number."""
    started = options(live_cache, tmp_path / "run", threads=2)
    torn(tiny(), started, monkeypatch)
    assert RunInfo.read(started.out).threads == 2
    torch.set_num_threads(3)
    return replace(started, threads=None, resume=True)


def test_resumed_without_a_number_it_takes_the_runs(begun, live_cache, tmp_path):
    train(tiny(), begun)
    assert torch.get_num_threads() == 2
    whole = options(live_cache, tmp_path / "whole", threads=2)
    train(tiny(), whole)
    assert_same(tensors(begun.out), tensors(whole.out))


def test_another_number_is_refused_and_changes_nothing(begun):
    before = (begun.out / "last.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"--threads: .*run was begun with 2, now there are 1"):
        train(tiny(), replace(begun, threads=1))
    assert (begun.out / "last.safetensors").read_bytes() == before
    train(tiny(), replace(begun, threads=2))


def test_a_run_that_does_not_say_is_warned_of(begun, caplog):
    make_format_8(begun.out)
    with caplog.at_level(logging.WARNING, "fdet"):
        train(tiny(), replace(begun, threads=1))
    (told,) = [message for message in caplog.messages if "threads" in message]
    assert "did not note with how many threads; it goes on with 1" in told


def test_on_an_accelerator_they_are_of_no_part(begun):
    assert threads_now(CUDA)[THREADS] == "none"
    check_threads(replace(begun, threads=1), CUDA)
    data = content(begun.out)
    data["data"][THREADS] = "none"
    rewrite(begun.out, data)
    take_threads(begun, CPU)
    check_threads(begun, CPU)
    assert (RunInfo.read(begun.out).threads, torch.get_num_threads()) == (None, 3)


def test_all_processes_take_the_first_ones():
    class Shared(Processes):
        def of_first(self, value):
            return 2

    take_threads(options("cache", "out", threads=None), Shared(World(1, 2), torch.device("cpu")))
    assert torch.get_num_threads() == 2


def test_another_number_of_processes_is_told_of(begun, caplog):
    """Not refused: a cluster may have fewer nodes the next day."""
    assert RunInfo.read(begun.out).data[PROCESSES] == "1"
    torch.set_num_threads(2)
    with caplog.at_level(logging.WARNING, "fdet"):
        check_threads(begun, CPU)
        assert not caplog.messages
        check_threads(begun, Processes(World(1, 3), torch.device("cpu")))
        assert not caplog.messages, "the first one speaks"
        check_threads(begun, Processes(World(0, 3), torch.device("cpu")))
    (told,) = caplog.messages
    assert "was begun with processes: 1, now: 3;" in told
