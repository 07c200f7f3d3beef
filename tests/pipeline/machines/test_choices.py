"""Devices, precisions and engines by name: what torch accepts is accepted, and what nobody has is not."""

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.extraction import engines
from fdet.pipeline.machines.choices import (
    DEVICES,
    ENGINES,
    PRECISIONS,
    check_device,
    check_engine,
    check_precision,
    check_threads,
)


@pytest.mark.parametrize(
    "name", ["auto", "cpu", "cpu:0", "cuda", "cuda:1", "cuda:12", "mps", "xpu:0"]
)
def test_a_device_that_may_be_there_passes(name):
    check_device(name)


@pytest.mark.parametrize("name", [name for name in DEVICES if name not in ("auto", "npu")])
def test_torch_knows_the_devices(name):
    assert torch.device(name).type == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cdua", "did you mean 'cuda'"),
        ("CUDA", "did you mean 'cuda'"),
        ("", "known: auto, cpu, cuda"),
        ("cuda:", "expected auto, cpu, cuda or cuda:1"),
        ("cuda:one", "expected auto, cpu, cuda or cuda:1"),
        ("cuda:1:2", "expected auto, cpu, cuda or cuda:1"),
        ("auto:0", "expected auto, cpu, cuda or cuda:1"),
        ("cuda:-1", "expected auto, cpu, cuda or cuda:1"),
    ],
)
def test_a_device_that_cannot_be_is_refused(name, said):
    with pytest.raises(InputError, match=f"--device {name}: not usable here; {said}"):
        check_device(name)


def test_precisions_engines_and_threads():
    for name in PRECISIONS:
        check_precision(name)
    for name in ENGINES:
        check_engine(name)
    check_threads(None)
    check_threads(1)
    with pytest.raises(InputError, match="--precision 'fp61'; did you mean 'fp16'"):
        check_precision("fp61")
    with pytest.raises(InputError, match="--engine 'rai'; did you mean 'ray'"):
        check_engine("rai")
    with pytest.raises(InputError, match="--threads: expected at least 1, got 0"):
        check_threads(0)


def test_the_engines_are_those_that_extract_has():
    assert tuple(engines.ENGINES) == ENGINES
