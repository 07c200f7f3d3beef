"""Devices, threads and memory."""

import numpy as np
import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.machines.devices import (
    autocast,
    device_memory_mb,
    keep_freed_memory,
    pick_device,
    process_memory_mb,
    use_threads,
)


def test_auto_takes_a_device_that_works():
    torch.zeros(1, device=pick_device("auto"))


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"--device {name}: not usable here"):
        pick_device(name)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(threads):
    with pytest.raises(InputError, match="--threads: expected at least 1"):
        use_threads(threads)


def test_the_peak_rises_with_what_is_held():
    keep_freed_memory()
    before = process_memory_mb()
    held = np.ones(2**27 + int(before) * 2**20, dtype=np.uint8)
    assert process_memory_mb() >= before + 100
    assert held[-1] == 1


def test_a_cpu_has_no_memory_of_its_own():
    assert device_memory_mb(torch.device("cpu")) is None


def test_each_process_of_a_machine_takes_another_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: None)
    for name in ("auto", "cuda"):
        assert [pick_device(name, k).index for k in range(3)] == [0, 1, 0]
    assert pick_device("cuda:1", 0).index == 1


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_products_are_of_the_precision_that_is_asked_for(precision, expected):
    x = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (x @ x).dtype == expected


@pytest.mark.parametrize(
    ("name", "count", "built", "said"),
    [
        ("cuda", 0, "12.8", "torch finds no GPU"),
        ("cuda", 0, None, "this torch was built for processors alone"),
        ("cuda:1", 1, "12.8", "torch finds cuda:0 alone"),
        ("cuda:9", 2, "12.8", "torch finds cuda:0 to cuda:1"),
        ("cuda:0", 1, "12.8", "out of memory"),
        ("mps", 0, None, "out of memory"),
    ],
)
def test_why_a_device_cannot_be_used_has_no_links(name, count, built, said, monkeypatch):
    def refuse(*shape, device):
        raise RuntimeError("out of memory\nsee https://example.org")

    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch, "zeros", refuse)
    with pytest.raises(InputError) as no:
        pick_device(name)
    assert str(no.value) == f"--device {name}: not usable here ({said}); try --device cpu"
