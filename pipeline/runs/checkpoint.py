"""The checkpoints best.safetensors and last.safetensors: the weights of a run, and all that --resume needs.

A checkpoint describes itself (position.py); the sha256 of its tensors is checked whenever they are loaded.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ...cache.disk.publish import publish_bytes
from ...cache.errors import ConfigError, CorruptCache
from ...cache.format.sealed import canonical_json, digest, sealed_json
from .info import RunInfo
from .model import Model
from .position import ENTRY, OPTIMISER, Position, opened, position_of, remedy

log = logging.getLogger(__name__)

_MODEL, _AVERAGE = "model.", "average."


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], run: str
) -> None:
    """Publish only the weights, whole or not at all. run: the digest of the run that they belong to."""
    publish_bytes(path, _serialised(tensors, about, run), existing="replace")


def load_weights(path: Path, model: Model, info: RunInfo) -> dict[str, Any]:
    """Load what `save_weights` or `save_state` wrote for the run of `info`, and return the file's `about`.

    Of a state, the moving average is loaded where there is one. Raises InputError, CorruptCache.
    """
    tensors, found = _read(path, info)
    about: dict[str, Any] = found
    if any(name.startswith(_MODEL) for name in tensors):
        tensors = _part(tensors, _AVERAGE) or _part(tensors, _MODEL)
    try:
        model.load(tensors)
    except (RuntimeError, ValueError) as error:
        raise CorruptCache(f"{path}: its weights do not fit the run's configuration") from error
    return about


def save_state(
    path: Path,
    model: Model,
    optimiser: torch.optim.Optimizer,
    position: Position,
    run: str,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Publish all that --resume needs, whole or not at all.

    run: the digest of the run that the state belongs to. average: a moving average of the tensors.
    """
    tensors = {f"{_MODEL}{name}": v for name, v in model.tensors().items()}
    tensors |= {f"{_AVERAGE}{name}": v for name, v in (average or {}).items()}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMISER}{number}.{name}"] = value
    publish_bytes(path, _serialised(tensors, asdict(position), run), existing="replace")


def load_state(
    path: Path, model: Model, optimiser: torch.optim.Optimizer, info: RunInfo
) -> tuple[Position, dict[str, Tensor]]:
    """Restore the model and the optimiser from a file of `save_state`.

    Returns the position and the moving average, {} for none. Raises InputError, CorruptCache.
    """
    tensors, about = _read(path, info)
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in _part(tensors, OPTIMISER).items():
            number, entry = name.split(".", 1)
            state.setdefault(int(number), {})[entry] = value
        _check_state(state, optimiser)
        average = _part(tensors, _AVERAGE)
        if average:
            model.load(average)
        model.load(_part(tensors, _MODEL))
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        return position_of(about, info), average
    except (RuntimeError, ValueError, TypeError, ConfigError) as error:
        raise CorruptCache(f"{path}: its state does not fit the run's configuration") from error


_STATE: Mapping[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


def _check_state(
    state: Mapping[int, Mapping[str, Tensor]], optimiser: torch.optim.Optimizer
) -> None:
    """Raise ValueError where the next step would fail, since torch itself does not check the state."""
    params = [p for group in optimiser.param_groups for p in group["params"]]
    for number, values in state.items():
        if not 0 <= number < len(params) or set(values) != _STATE[type(optimiser)]:
            raise ValueError(f"optimiser state {number}: {sorted(values)}")
        for name, value in values.items():
            shape = torch.Size() if name == "step" else params[number].shape
            if value.shape != shape or value.dtype != torch.float32:
                raise ValueError(f"optimiser state {number}.{name}: {value.dtype} {value.shape}")
            if name == "step" and not 0 <= float(value) < 2**53:
                raise ValueError(f"optimiser state {number}: step {float(value)}")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _serialised(tensors: Mapping[str, Tensor], about: Mapping[str, Any], run: str) -> bytes:
    plain = {name: v.detach().cpu().contiguous() for name, v in tensors.items()}
    shapes = {name: list(v.shape) for name, v in plain.items()}
    fields = {"about": dict(about), "run": run, "shapes": digest(shapes), "values": _digest(plain)}
    # There is only one entry, since safetensors writes several in any order.
    return save(plain, {ENTRY: sealed_json(fields).decode()})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        found.update(canonical_json([name, str(value.dtype), list(value.shape)]))
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, info: RunInfo) -> tuple[dict[str, Tensor], Any]:
    with opened(path, info, "pt") as (file, description):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if description.values is None:
        log.warning(
            "%s was made by an older fdet (its run has format %d): its weights carry no checksum, so it "
            "cannot be verified that they are as they were written",
            path,
            info.format,
        )
    elif (found := _digest(tensors)) != description.values:
        raise CorruptCache(
            f"{path}: its tensors are not those that were written: expected sha256 "
            f"{description.values:.12}, got {found:.12}; {remedy(path)}"
        )
    return tensors, description.about
