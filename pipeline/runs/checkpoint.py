"""The checkpoints best.safetensors and last.safetensors: the weights of a run, and all that --resume needs.

A checkpoint describes itself in one sealed object in its metadata: `about` (a position, or an epoch), `run`
(the digest of the run.json that it belongs to), `shapes` (the sha256 of its tensors' names and shapes) and
`values` (the sha256 of their names, types, shapes and bytes). The seal, the run and the shapes are checked
whenever a file is opened, and the values whenever its tensors are loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
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

from ...cache.disk.files import open_below
from ...cache.disk.publish import publish_bytes
from ...cache.errors import ConfigError, CorruptCache, InputError
from ...cache.format.sealed import SEAL, canonical_json, digest, parse_sealed, sealed_json
from .info import RunInfo
from .model import Model
from .settings import from_mapping

log = logging.getLogger(__name__)

BEST, LAST = "best.safetensors", "last.safetensors"
_MODEL, _OPTIMISER, _AVERAGE = "model.", "optim.", "average."
# The entry of the file's metadata that holds the description.
_ENTRY = "fdet"


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a training run: the steps done in all, and the best AP so far with its epoch.

    stale: the number of evaluations since the best one. to_evaluate: whether the epoch that ended with this
    step has still to be evaluated. finished: whether training came to its end. loss_scale: the loss scale
    of fp16. scale_age: the number of steps since it last changed.
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
        """Check the values. Raises ValueError."""
        if not 0 <= self.step < 2**53 or not 0 <= (self.best_ap or 0.0) <= 1:
            raise ValueError(f"step {self.step}, best AP {self.best_ap}")
        if not 0 <= self.loss_scale < 2**53 or self.scale_age < 0 or self.stale < 0:
            raise ValueError(f"loss scale {self.loss_scale}, age {self.scale_age}")


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
                tensors[f"{_OPTIMISER}{number}.{name}"] = value
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


def read_position(path: Path, info: RunInfo) -> Position:
    """Read the position of the run of `info` from a file of `save_state`.

    The tensors are neither read nor checked. Raises InputError, CorruptCache.
    """
    with _opened(path, info) as (_, description):
        try:
            return from_mapping(Position, description.about, "position")
        except (ValueError, TypeError, ConfigError) as error:
            raise CorruptCache(f"{path}: its position is invalid ({error})") from error


def count_trained(path: Path, info: RunInfo) -> int:
    """Count the values that the optimiser updates, in a file of `save_state`; errors as `read_position`."""
    moved = (".exp_avg", ".momentum_buffer")
    with _opened(path, info) as (file, _):
        shapes = _shapes(file)
    names = [n for n in shapes if n.startswith(_OPTIMISER) and n.endswith(moved)]
    return sum(math.prod(shapes[name]) for name in names)


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
    return save(plain, {_ENTRY: sealed_json(fields).decode()})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        found.update(canonical_json([name, str(value.dtype), list(value.shape)]))
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _shapes(file: Any) -> dict[str, list[int]]:
    return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _read(path: Path, info: RunInfo) -> tuple[dict[str, Tensor], Any]:
    with _opened(path, info) as (file, description):
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
            f"{description.values:.12}, got {found:.12}; {_remedy(path)}"
        )
    return tensors, description.about


@dataclass(frozen=True, slots=True)
class _Description:
    """A file's description of itself.

    values: the sha256 of its tensors, None where an older fdet wrote the file.
    """

    about: Any
    values: str | None


@contextmanager
def _opened(path: Path, info: RunInfo) -> Iterator[tuple[Any, _Description]]:
    """Yield the open file and its description, which is checked."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_why_absent(path)}")
    os.close(open_below(path.parent, path.name))  # This refuses links and irregular files.
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _read_description(path, file, info)
    except (SafetensorError, ValueError, OSError, RecursionError, MemoryError) as error:
        raise CorruptCache(f"{path}: not a checkpoint that can be read ({error})") from error


def _read_description(path: Path, file: Any, info: RunInfo) -> _Description:
    """Read and check a file's description of itself. Raises CorruptCache, ValueError."""
    text = (file.metadata() or {}).get(_ENTRY, "{}")
    fields = json.loads(text)
    if not isinstance(fields, dict) or SEAL not in fields:
        if not info.sealed:
            return _Description(fields, None)
        raise CorruptCache(
            f"{path}: it carries no checksum, and every checkpoint of a run of format {info.format} has one; "
            f"{_remedy(path)}"
        )
    try:
        fields = parse_sealed(text.encode(), path)
    except CorruptCache as error:
        raise CorruptCache(f"{error}; {_remedy(path)}") from error
    if fields.get("run") != info.digest:
        raise CorruptCache(
            f"{path}: it belongs to another run: expected one whose run.json has sha256 {info.digest:.12}, "
            f"got {fields.get('run')!s:.12}; {_remedy(path)}"
        )
    if fields.get("shapes") != digest(_shapes(file)):
        raise CorruptCache(
            f"{path}: names and shapes of its tensors are not those that were written; {_remedy(path)}"
        )
    return _Description(fields.get("about"), str(fields.get("values")))


def _remedy(path: Path) -> str:
    """Say what to do about a file that cannot be used."""
    if path.name == BEST:
        return (
            "put a copy of it back, or use the weights that training ended with: --checkpoint last"
        )
    return (
        "put a copy of it back, or begin a new --out with the run's best weights: --start "
        f"{path.parent}"
    )


def _why_absent(path: Path) -> str:
    if path.name == BEST and path.with_name(LAST).is_file():
        return "--checkpoint last takes the weights that training has reached"
    return "has the run finished an epoch?"
