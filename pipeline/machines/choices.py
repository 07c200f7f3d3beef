"""The devices, precisions, threads and engines that a command may name, checked without torch."""

from __future__ import annotations

import re
from typing import Literal, get_args

from ...cache.errors import InputError, did_you_mean

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
# The kinds of devices that torch computes on; all but auto may be followed by a number.
DEVICES = ("auto", "cpu", "cuda", "hpu", "mps", "mtia", "npu", "xla", "xpu")

# What runs the work: this machine, or the nodes of a Ray cluster.
ENGINES = ("local", "ray")


def check_engine(name: str) -> None:
    """Raise InputError for an engine that does not exist."""
    if name not in ENGINES:
        raise InputError(f"--engine {name!r}{did_you_mean(name, ENGINES)}")


def check_device(name: str) -> None:
    """Raise InputError for a name that no device has; whether it can be used, only torch knows."""
    kind, colon, number = name.partition(":")
    if kind not in DEVICES:
        raise InputError(f"--device {name}: not usable here{did_you_mean(kind, DEVICES)}")
    if colon and (kind == "auto" or not re.fullmatch("[0-9]{1,3}", number)):
        raise InputError(f"--device {name}: not usable here; expected auto, cpu, cuda or cuda:1")


def check_threads(threads: int | None) -> None:
    """Raise InputError unless the number of threads is positive, or None for torch's choice."""
    if threads is not None and threads < 1:
        raise InputError(f"--threads: expected at least 1, got {threads}")


def check_precision(name: str) -> None:
    """Raise InputError for a precision that does not exist."""
    if name not in PRECISIONS:
        raise InputError(f"--precision {name!r}{did_you_mean(name, PRECISIONS)}")
