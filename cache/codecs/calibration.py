"""What a codec learns from a part of the data set, and everything that decoding needs besides the codes.

Plain numpy files beside the maps, codec/<level>/<name>.npy, of float32, C channels and K stored ones:

step, shift       (K,)    of integer codes: value = (code + shift) * step
mean, deviation   (C,)    of principal components:
basis             (C, K)  map = mean + deviation * (basis @ values)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..disk.files import float_array_head, is_there, read_below
from ..disk.objects import again_from_objects
from ..errors import CorruptCache
from ..pyramid import LevelSpec, PyramidSpec
from .form import StoredForm

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# A channel that hardly moved in the images looked at may do so in others, and must then find codes: it
# counts as one that has this share of what is usual at its level.
_LEAST_DEVIATION = 0.25
_CODE_RANGE = 2.0**8
MAX_FILE_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class LevelParameters:
    """Arrays by name, of one level; none where the codec has none."""

    arrays: Mapping[str, FloatArray]

    def __getitem__(self, name: str) -> FloatArray:
        return self.arrays[name]


Parameters = Mapping[str, LevelParameters]


def calibrate(form: StoredForm, cells: Mapping[str, FloatArray]) -> Parameters:
    """By level, from some cells (N, C) of its maps. Raises ValueError where there are none."""
    return {level: LevelParameters(_learnt(form, x)) for level, x in cells.items()}


def _learnt(form: StoredForm, cells: FloatArray) -> dict[str, FloatArray]:
    if not len(cells):
        raise ValueError("no cell to learn from")
    if not form.calibrated:
        return {}
    values = cells.astype(np.float64)
    mean, deviation = values.mean(axis=0), _deviations(values)
    arrays: dict[str, Doubles] = {}
    units = deviation
    if form.components is not None:
        values = (values - mean) / deviation
        basis = _principal(values)[:, : form.stored_channels(len(mean))]
        arrays |= {"mean": mean, "deviation": deviation, "basis": basis}
        values, units = values @ basis, np.ones(basis.shape[1])
    if form.numbers.step is not None:
        arrays["step"] = _steps(form, values, units)
        arrays["shift"] = _shifts(form, values, arrays["step"])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _deviations(values: Doubles) -> Doubles:
    deviations: Doubles = values.std(axis=0)
    moving = deviations[deviations > 0]
    # The median: a few channels of a ViT move a hundred times as much as all others.
    return deviations.clip(min=_LEAST_DEVIATION * float(np.median(moving)) if len(moving) else 1.0)


def _principal(values: Doubles) -> Doubles:
    """(C, C): the directions of the greatest variance first; each column's largest entry is positive."""
    _, vectors = np.linalg.eigh(values.T @ values)
    vectors = vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(len(largest))])
    turned: Doubles = vectors * signs
    return turned


def _steps(form: StoredForm, values: Doubles, units: Doubles) -> Doubles:
    """One for all components: what is lost of each is then the same. Wider where a byte has too few codes."""
    assert form.numbers.step is not None
    steps: Doubles = np.maximum(form.numbers.step * units, 16 * values.std(axis=0) / _CODE_RANGE)
    return steps


def _shifts(form: StoredForm, values: Doubles, steps: Doubles) -> Doubles:
    """Whole numbers, so that zero stays zero. The mean gets the code in the middle, unless values would
    leave the codes on one side while there is room on the other.
    """
    last = form.numbers.codes - 1
    # The middle of a run of 16 codes: most values then differ in the lower halves alone.
    middle = form.numbers.codes // 2 & ~15 | 8 if form.numbers.nibbles else last // 2
    first = np.rint(values.mean(axis=0) / steps) - middle
    low, high = np.rint(values.min(axis=0) / steps), np.rint(values.max(axis=0) / steps)
    up = np.minimum(high - (first + last), low - first).clip(min=0)
    down = np.minimum(first - low, first + last - high).clip(min=0)
    shifts: Doubles = first + up - down
    return shifts


def parameter_files(parameters: Parameters) -> dict[str, bytes]:
    """Their bytes, by path below the folder of a cache or a run."""
    return {
        _file_name(level, name): float_array_head(array.shape) + array.astype("<f4").tobytes()
        for level, arrays in parameters.items()
        for name, array in arrays.arrays.items()
    }


def has_parameter_files(root: Path, names: Iterable[str]) -> bool:
    """Whether all of them are there; names: of all that lies beside a cache's shards."""
    return all(is_there(root / name) for name in names if name.startswith("codec/"))


def calibration_digest(files: Mapping[str, bytes]) -> str:
    """Of `parameter_files`; "" of none."""
    if not files:
        return ""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()} {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@again_from_objects
def read_parameter_files(
    root: Path, form: StoredForm, levels: PyramidSpec, expected: str
) -> dict[str, bytes]:
    """As they lie in a folder; expected: their digest. Raises CorruptCache."""
    files = {}
    for level in levels.levels:
        for name, shape in _shapes(form, level):
            path, prefix = _file_name(level.name, name), float_array_head(shape)
            size = len(prefix) + 4 * math.prod(shape)
            if size > MAX_FILE_BYTES:
                raise CorruptCache(f"{root / path}: no codec has an array of shape {shape}")
            raw = read_below(root, path, size)
            if not raw.startswith(prefix) or len(raw) != size:
                raise CorruptCache(f"{root / path}: expected float32 of shape {shape}")
            files[path] = raw
    if calibration_digest(files) != expected:
        raise CorruptCache(f"{root / 'codec'}: its files are not those that the key names")
    return files


def parameters_of(
    root: Path, files: Mapping[str, bytes], form: StoredForm, levels: PyramidSpec
) -> Parameters:
    """From what `read_parameter_files` gave of that folder; raises CorruptCache."""
    found = {}
    for level in levels.levels:
        arrays = {}
        for name, shape in _shapes(form, level):
            path = _file_name(level.name, name)
            raw, head = files[path], float_array_head(shape)
            array = np.frombuffer(raw, "<f4", offset=len(head)).reshape(shape)
            if not np.isfinite(array).all() or (name in ("step", "deviation") and array.min() <= 0):
                raise CorruptCache(f"{root / path}: no {name} has such values")
            arrays[name] = array.astype(np.float32)
        found[level.name] = LevelParameters(arrays)
    return found


def _shapes(form: StoredForm, level: LevelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The arrays that decoding a level needs, and their shapes."""
    kept = form.stored_channels(level.channels)
    if form.numbers.step is not None:
        yield from (("step", (kept,)), ("shift", (kept,)))
    if form.components is not None:
        yield from (("mean", (level.channels,)), ("deviation", (level.channels,)))
        yield "basis", (level.channels, kept)


def _file_name(level: str, name: str) -> str:
    return f"codec/{level}/{name}.npy"
