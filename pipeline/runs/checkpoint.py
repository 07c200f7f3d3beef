"""best.safetensors and last.safetensors: the weights of a run, and all that --resume needs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...cache.errors import ConfigError, CorruptCache, InputError
from ...cache.files import open_below
from ...cache.publish import publish_bytes
from .model import Model
from .settings import from_mapping

_MODEL, _OPTIMISER, _AVERAGE = "model.", "optim.", "average."


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands: steps done in all, and the best AP so far with its epoch.

    to_evaluate: the epoch that ended with this step has still to be evaluated. stale: evaluations
    since the best. loss_scale, scale_age: of fp16's loss scaling, and the steps that it has held.
    """

    step: int = 0
    best_ap: float | None = None
    best_epoch: int = 0
    stale: int = 0
    to_evaluate: bool = False
    finished: bool = False
    loss_scale: float = 0.0
    scale_age: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not 0 <= self.step < 2**53 or not 0 <= (self.best_ap or 0.0) <= 1:
            raise ValueError(f"step {self.step}, best AP {self.best_ap}")
        if not 0 <= self.loss_scale < 2**53 or self.scale_age < 0 or self.stale < 0:
            raise ValueError(f"loss scale {self.loss_scale}, age {self.scale_age}")


def save_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Publish the weights alone; whole or absent."""
    publish_bytes(path, _serialised(tensors, about), existing="replace")


def load_weights(path: Path, model: Model) -> dict[str, Any]:
    """Load what `save_weights` or `save_state` wrote; returns what it says about itself.

    Of a state, the moving average where there is one. Raises InputError, CorruptCache.
    """
    tensors, about = _read(path)
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
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Publish all that --resume needs; whole or absent. average: a moving average of the tensors."""
    tensors = {f"{_MODEL}{name}": v for name, v in model.tensors().items()}
    tensors |= {f"{_AVERAGE}{name}": v for name, v in (average or {}).items()}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMISER}{number}.{name}"] = value
    publish_bytes(path, _serialised(tensors, asdict(position)), existing="replace")


def load_state(
    path: Path, model: Model, optimiser: torch.optim.Optimizer
) -> tuple[Position, dict[str, Tensor]]:
    """Put model and optimiser back to where `save_state` left them; its moving average, or {}.

    Raises InputError, CorruptCache.
    """
    tensors, about = _read(path)
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in _part(tensors, _OPTIMISER).items():
            number, entry = name.split(".", 1)
            state.setdefault(int(number), {})[entry] = value
        _check_state(state, optimiser)
        average = _part(tensors, _AVERAGE)
        if average:
            model.load(average)
        model.load(_part(tensors, _MODEL))
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        return from_mapping(Position, about, "position"), average
    except (RuntimeError, ValueError, TypeError, ConfigError) as error:
        raise CorruptCache(f"{path}: its state does not fit the run's configuration") from error


def read_position(path: Path) -> Position:
    """Where the run stands that `save_state` wrote, without its tensors. Raises InputError, CorruptCache."""
    with _opened(path) as (_, about):
        try:
            return from_mapping(Position, about, "position")
        except (ValueError, TypeError, ConfigError) as error:
            raise CorruptCache(f"{path}: its position is none ({error})") from error


def count_trained(path: Path) -> int:
    """How many values the optimiser moves, by what `save_state` wrote. Raises InputError, CorruptCache."""
    moved = (".exp_avg", ".momentum_buffer")
    with _opened(path) as (file, _):
        names = [n for n in file.keys() if n.startswith(_OPTIMISER) and n.endswith(moved)]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


_STATE: Mapping[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


def _check_state(
    state: Mapping[int, Mapping[str, Tensor]], optimiser: torch.optim.Optimizer
) -> None:
    """Raises ValueError where the next step would fail: torch itself does not look."""
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


def _serialised(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    plain = {name: v.detach().cpu().contiguous() for name, v in tensors.items()}
    return save(plain, {"fdet": json.dumps(dict(about))})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with _opened(path) as (file, about):
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The file, and what it says about itself."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; has the run finished an epoch?")
    os.close(open_below(path.parent, path.name))  # no link, and a regular file
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {}).get("fdet", "{}"))
    except (SafetensorError, ValueError, OSError, RecursionError, MemoryError) as error:
        raise CorruptCache(f"{path}: not a checkpoint that can be read ({error})") from error
