"""A weights file, read by what is in it and not by its name, without executing anything.

Files are safetensors, or read by torch's loader restricted to tensors.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache.errors import InputError
from .weights_option import check_file
from .weights_problems import archive_problem, beginning, problem_of

StateDict = dict[str, Tensor]
# The entries of a checkpoint that are its state dict, one within the other.
_USUAL = ("state_dict", "model")
# How deep state dicts lie in a checkpoint.
_MAX_DEPTH = 4


def read_tensors(path: Path) -> StateDict:
    """Read the usual state dict of a file. Raises InputError."""
    return next(iter(read_sets(path).values()))


def read_sets(path: Path) -> dict[str, StateDict]:
    """Read every state dict in a file, by where it is, e.g. "" or "state_dict" or "teacher.backbone".

    The usual one comes first: the whole file, or its entry state_dict or model. Raises InputError.
    """
    check_file(str(path))
    loaded = _loaded(path)
    usual, values = _usual(path, loaded)
    sets = {usual: _plain(path, _tensors(values))}
    for where, others in _dicts(loaded):
        if others is not values and (tensors := _tensors(others)):
            sets[where] = {name: v for name, v in tensors.items() if _is_plain(v)}
    return sets


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 of names, types, shapes and values; it does not depend on the file format."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _loaded(path: Path) -> Any:
    """Return what a file holds, as its own format has it. Raises InputError."""
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        if problem := archive_problem(path):
            raise _unreadable(path, problem)
        # Given a path, torch would go by its suffix.
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # A damaged file makes both loaders fail in many ways.
        raise _unreadable(path, _problem(path) or reason(error)) from error


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is of safetensors: by its header, or by its name where it is nothing else."""
    head = beginning(path)
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= header <= path.stat().st_size - 8:
        return True
    of_torch = head.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    return path.suffix == ".safetensors" and not of_torch


def _problem(path: Path) -> str | None:
    try:
        return problem_of(path)
    except (
        Exception
    ):  # The loader's own words are left for a file that is damaged in a way of its own.
        return None


def _unreadable(path: Path, problem: str) -> InputError:
    return InputError(
        f"--weights {path}: cannot be read safely, expected tensors only (.safetensors, or a .pth state "
        f"dict): {problem}"
    )


def reason(error: Exception) -> str:
    """Return the reason that an error of a library gives, in one line of whole words."""
    text = str(error)
    found = re.search(r"WeightsUnpickler error: *(\S[^\n]*)", text)
    line = found[1] if found else (text.strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 160 else f"{line[:160].rpartition(' ')[0] or line[:160]} ..."


def _usual(path: Path, loaded: Any) -> tuple[str, Mapping[Any, Any]]:
    """Return a checkpoint's state dict and where it is: at its top, or in the usual entries of it."""
    names = []
    for name in _USUAL:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
            names.append(name)
    if not isinstance(loaded, dict) or not loaded:
        raise InputError(f"--weights {path}: expected a state dict, got {type(loaded).__name__}")
    return ".".join(names), loaded


def _dicts(loaded: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the dictionaries within each other, each of them once, with the names that lead to them."""
    known: set[int] = set()
    waiting = [("", loaded, 0)]
    while waiting:
        where, values, depth = waiting.pop(0)
        if id(values) in known:
            continue
        known.add(id(values))
        yield where, values
        if depth < _MAX_DEPTH:
            waiting += [
                (f"{where}.{name}" if where else str(name), inner, depth + 1)
                for name, inner in values.items()
                if isinstance(inner, dict)
            ]


def _tensors(values: Mapping[Any, Any]) -> StateDict:
    return {str(name): v for name, v in values.items() if isinstance(v, Tensor)}


def _plain(path: Path, tensors: StateDict) -> StateDict:
    for name, v in tensors.items():
        if not _is_plain(v):
            raise InputError(f"--weights {path}: {name!r}: expected a plain tensor of real numbers")
    return tensors


def _is_plain(v: Tensor) -> bool:
    strange = v.is_nested or v.layout != torch.strided or v.is_meta or v.is_quantized
    return not strange and not v.is_complex()
