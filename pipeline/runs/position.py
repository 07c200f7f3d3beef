"""What a checkpoint says of itself: its position and what it belongs to, read without torch.

It stands in one sealed object in the file's metadata: `about` (a position, or an epoch), `run` (the digest of
the run.json that the file belongs to), `shapes` (the sha256 of its tensors' names and shapes) and `values`
(the sha256 of their names, types, shapes and bytes). The seal, the run and the shapes are checked whenever a
file is opened.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ...cache.disk.files import open_below
from ...cache.errors import ConfigError, CorruptCache, InputError
from ...cache.format.sealed import SEAL, digest, parse_sealed
from .info import RunInfo
from .settings import from_mapping

BEST, LAST = "best.safetensors", "last.safetensors"
# The beginning of the names of the optimiser's tensors.
OPTIMISER = "optim."
# The entry of the file's metadata that holds the description.
ENTRY = "fdet"


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


def read_position(path: Path, info: RunInfo) -> Position:
    """Read the position of the run of `info` from a file of `save_state`.

    The tensors are neither read nor checked. Raises InputError, CorruptCache.
    """
    with opened(path, info) as (_, description):
        try:
            return position_of(description.about, info)
        except (ValueError, TypeError, ConfigError) as error:
            raise CorruptCache(f"{path}: its position is invalid ({error})") from error


def position_of(about: Any, info: RunInfo) -> Position:
    """Return the position that a checkpoint of the run of `info` states. Raises ValueError, ConfigError.

    Where the run was extended since, it is not at its end any more, and evaluations without a better AP are
    counted anew.
    """
    position = from_mapping(Position, about, "position")
    if info.extensions and position.step <= info.extensions[-1].step:
        return replace(position, finished=False, stale=0)
    return position


def count_trained(path: Path, info: RunInfo) -> int:
    """Count the values that the optimiser updates, in a file of `save_state`; errors as `read_position`."""
    moved = (".exp_avg", ".momentum_buffer")
    with opened(path, info) as (file, _):
        shapes = _shapes(file)
    names = [n for n in shapes if n.startswith(OPTIMISER) and n.endswith(moved)]
    return sum(math.prod(shapes[name]) for name in names)


@dataclass(frozen=True, slots=True)
class Description:
    """A file's description of itself.

    values: the sha256 of its tensors, None where an older fdet wrote the file.
    """

    about: Any
    values: str | None


def check_there(path: Path) -> None:
    """Raise InputError where a run has no such checkpoint."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_why_absent(path)}")


@contextmanager
def opened(
    path: Path, info: RunInfo, framework: Literal["numpy", "pt"] = "numpy"
) -> Iterator[tuple[Any, Description]]:
    """Yield the open file and its description, which is checked. Raises InputError, CorruptCache.

    framework: that of the tensors which the file returns; "pt" imports torch.
    """
    check_there(path)
    os.close(open_below(path.parent, path.name))  # This refuses links and irregular files.
    try:
        with safe_open(path, framework=framework) as file:
            yield file, _read_description(path, file, info)
    except (SafetensorError, ValueError, OSError, RecursionError, MemoryError) as error:
        raise CorruptCache(f"{path}: not a checkpoint that can be read ({error})") from error


def _read_description(path: Path, file: Any, info: RunInfo) -> Description:
    """Read and check a file's description of itself. Raises CorruptCache, ValueError."""
    text = (file.metadata() or {}).get(ENTRY, "{}")
    fields = json.loads(text)
    if not isinstance(fields, dict) or SEAL not in fields:
        if not info.sealed:
            return Description(fields, None)
        raise CorruptCache(
            f"{path}: it carries no checksum, and every checkpoint of a run of format {info.format} has one; "
            f"{remedy(path)}"
        )
    try:
        fields = parse_sealed(text.encode(), path)
    except CorruptCache as error:
        raise CorruptCache(f"{error}; {remedy(path)}") from error
    if fields.get("run") != info.digest:
        raise CorruptCache(
            f"{path}: it belongs to another run: expected one whose run.json has sha256 {info.digest:.12}, "
            f"got {fields.get('run')!s:.12}; {remedy(path)}"
        )
    if fields.get("shapes") != digest(_shapes(file)):
        raise CorruptCache(
            f"{path}: names and shapes of its tensors are not those that were written; {remedy(path)}"
        )
    return Description(fields.get("about"), str(fields.get("values")))


def remedy(path: Path) -> str:
    """Say what to do about a file that cannot be used, with the run's other checkpoint where it has one."""
    if path.name == BEST and path.with_name(LAST).is_file():
        return (
            "put a copy of it back, or evaluate and predict with the weights that training ended with: "
            "--checkpoint last"
        )
    if path.name == LAST and path.with_name(BEST).is_file():
        return (
            "put a copy of it back, or begin a new --out with the run's best weights: --start "
            f"{path.parent}"
        )
    return "put a copy of it back, or train once more"


def _why_absent(path: Path) -> str:
    if path.name == BEST and path.with_name(LAST).is_file():
        return "--checkpoint last takes the weights that training has reached"
    if path.name == LAST and path.with_name(BEST).is_file():
        return "--checkpoint best takes the weights of the best evaluation"
    return "has the run finished an epoch?"


def _shapes(file: Any) -> dict[str, list[int]]:
    return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
