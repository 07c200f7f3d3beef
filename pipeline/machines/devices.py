"""The device of a run, the number of its threads, and the handling of its memory."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache.errors import InputError
from ...heads.checks import Auto
from .choices import Precision, check_device, check_threads

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that a name means; 'auto' is cuda where there is one, else cpu. Raises InputError.

    local_rank: the number of this process on this machine; 'auto' and 'cuda' give each process another
    accelerator.
    """
    check_device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cuda" and count:
        name = f"cuda:{local_rank % count}"
    if name == "cpu":
        keep_freed_memory()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        why = _why_unusable(name, count, error)
        raise InputError(f"--device {name}: not usable here ({why}); try --device cpu") from error
    return device


def _why_unusable(name: str, count: int, error: Exception) -> str:
    """Return why a device cannot be used, without the links in torch's texts. count: of accelerators."""
    kind, _, number = name.partition(":")
    if kind == "cuda" and not count:
        built = torch.version.cuda or torch.version.hip
        return "torch finds no GPU" if built else "this torch was built for processors alone"
    if kind == "cuda" and int(number or 0) >= count:
        return (
            f"torch finds cuda:0 to cuda:{count - 1}" if count > 1 else "torch finds cuda:0 alone"
        )
    return (str(error).splitlines() or [type(error).__name__])[0]


def use_threads(threads: int | None) -> None:
    """Set the number of torch's threads on a CPU; None leaves it to torch. Raises InputError."""
    check_threads(threads)
    if threads is not None:
        torch.set_num_threads(threads)


def environment(device: torch.device) -> dict[str, Any]:
    """Return what affects the last bits of a feature on this machine, as a cache's key names it."""
    on_cpu = device.type == "cpu"
    return {
        "threads": torch.get_num_threads() if on_cpu else 0,
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(device),
        **{name: version(name) for name in ("torch", "torchvision", "timm", "pillow", "numpy")},
    }


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to where it can be copied to a device from while the host goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def native_precision(device: torch.device) -> Precision:
    """Return bf16 where the processor or the accelerator has instructions for it, else fp32.

    Other devices emulate bf16, and are slower with it than with fp32.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        native = bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: Precision | Auto) -> torch.autocast:
    """Return a context that computes matrix products in a precision; "auto": that native to the device."""
    half = _HALVES.get(native_precision(device) if precision == "auto" else precision)
    return torch.autocast(device.type, dtype=half, enabled=half is not None)


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks; by default it returns each to the kernel at once.

    A forward pass frees and allocates hundreds of megabytes, and the kernel zeroes every page anew:
    EfficientNet-Lite0 at 640 px took 0.35 s by default and 0.18 s with the blocks kept (one thread).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        # Older releases accept no more than 32 MiB.
        if mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25):
            mallopt(trim_threshold, 2**31 - 1)


def device_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory of the device so far in MiB, or None on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return None


def cap_device_memory(device: torch.device, most: int) -> None:
    """Limit this process to `most` bytes of an accelerator; beyond that torch raises OutOfMemoryError."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)


def process_memory_mb() -> float:
    """Return the peak memory of this process so far in MiB."""
    # getrusage would include the peak of the process that started this one.
    return _status_mb("VmHWM")


def memory_now_mb() -> float:
    """Return the current memory of this process in MiB, or its peak on systems that report only that."""
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = re.findall(rf"{name}:\s+(\d+) kB", status.read_text())
        return int(line) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
