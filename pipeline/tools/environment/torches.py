"""What torch is and computes on here, and the weights of backbones that need no download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from ...backbones.weights import PACKAGES
from ...machines.devices import native_precision, pick_device
from .facts import Accelerator, FoundWeights, Problem, Torch

_DRIVER = Path("/proc/driver/nvidia/version")
_SUFFIXES = {".pth", ".pt", ".safetensors"}


def torch_facts(name: str) -> Torch:
    """Return what torch is, and what a device name means to it. Raises InputError for one it cannot use."""
    device = pick_device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    built = torch.version.cuda or torch.version.hip
    return Torch(
        torch.__version__,
        f"{'CUDA' if torch.version.cuda else 'ROCm'} {built}" if built else "cpu",
        torch.get_num_threads(),
        str(device),
        native_precision(device),
        tuple(_accelerator(number) for number in range(count)),
    )


def _accelerator(number: int) -> Accelerator:
    found = torch.cuda.get_device_properties(number)
    return Accelerator(found.name, found.total_memory, f"{found.major}.{found.minor}")


def problems_of(facts: Torch, driver: Path = _DRIVER) -> Iterator[Problem]:
    """Yield a warning where the machine has a driver for an accelerator that torch does not use."""
    if facts.accelerators or not driver.exists():
        return
    if facts.built_for == "cpu":
        what = "install a torch that was built for CUDA (https://pytorch.org/get-started/locally)"
    else:
        what = "compare `nvidia-smi` with the version of CUDA that torch was built for"
    yield Problem("warning", f"there is a driver of NVIDIA, but torch finds no GPU: {what}")


def weights_found() -> tuple[FoundWeights, ...]:
    """Return the weights on this machine: of installed packages, and what was downloaded before."""
    packages = [
        FoundWeights(name, package.distribution)
        for name, package in PACKAGES.items()
        if find_spec(package.module) is not None
    ]
    return (*packages, *_of_hugging_face(), *_of_torch())


def _of_hugging_face() -> list[FoundWeights]:
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    names = sorted(p.name.removeprefix("models--timm--") for p in hub.glob("models--timm--*"))
    return [FoundWeights(name, "Hugging Face's cache") for name in names]


def _of_torch() -> list[FoundWeights]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = sorted(p.name for p in folder.glob("*") if p.suffix in _SUFFIXES)
    return [FoundWeights(name, "torch's cache") for name in files]
