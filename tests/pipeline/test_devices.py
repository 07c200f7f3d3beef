"""Devices, threads and memory."""

import numpy as np
import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.devices import keep_freed_memory, peak_memory_mb, pick_device, use_threads


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
    before = peak_memory_mb(torch.device("cpu"))
    held = np.ones(2**27 + int(before) * 2**20, dtype=np.uint8)
    assert peak_memory_mb(torch.device("cpu")) >= before + 100
    assert held[-1] == 1
