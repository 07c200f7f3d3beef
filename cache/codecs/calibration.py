"""The parameters that a codec learns from a part of the data set, and needs to decode its codes.

They are plain numpy files of float32 in the folder of the cache, codec/<level>/<name>.npy, for C channels,
K of them stored:

step, shift       (K,)    of integer codes: value = (code + shift) * step
mean, deviation   (C,)    of principal components:
basis             (C, K)  map = mean + deviation * (basis @ values)
step, bits        (4, K)  of the components of blocks of 2x2 cells (cache/codecs/block_calibration.py)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..disk.files import float_array_head, is_there, read_below
from ..disk.objects import retry_from_objects
from ..errors import CorruptCache
from ..pyramid import LevelSpec, PyramidSpec
from .block_calibration import common_step, in_blocks, quantisers
from .form import StoredForm

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# A channel that hardly varies in the images looked at may vary in others, and then needs codes. So its
# deviation counts as at least this share of the median at its level.
_MIN_SHARE = 0.25
_CODE_RANGE = 2.0**8
MAX_FILE_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class LevelParameters:
    """The arrays of one level by name; empty where the codec has none."""

    arrays: Mapping[str, FloatArray]

    def __getitem__(self, name: str) -> FloatArray:
        return self.arrays[name]


Parameters = Mapping[str, LevelParameters]


def calibrate(
    form: StoredForm, cells: Mapping[str, FloatArray], strides: Sequence[int] | None = None
) -> Parameters:
    """Return parameters by level, from some cells (N, C) of each level's maps.

    For a form in blocks, each four cells are a block, by rows. strides: those of the levels, which say how
    many values each of them has; without them all count as of one stride. Raises ValueError where a level
    has no cells.
    """
    if not all(len(x) for x in cells.values()):
        raise ValueError("no cell to learn from")
    if form.numbers.rate is not None:
        return _learnt_blocks(form.numbers.rate, cells, strides or [1] * len(cells))
    return {level: LevelParameters(_learnt(form, x)) for level, x in cells.items()}


def _learnt(form: StoredForm, cells: FloatArray) -> dict[str, FloatArray]:
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


def _learnt_blocks(
    rate: float, cells: Mapping[str, FloatArray], strides: Sequence[int]
) -> Parameters:
    learnt: dict[str, dict[str, Doubles]] = {}
    coefficients: dict[str, Doubles] = {}
    for level, x in cells.items():
        values = x.astype(np.float64)
        mean, deviation = values.mean(axis=0), _deviations(values)
        values = (values - mean) / deviation
        basis = _principal(values)
        coefficients[level] = in_blocks(values @ basis)
        learnt[level] = {"mean": mean, "deviation": deviation, "basis": basis}
    areas = zip(cells.items(), strides, strict=True)
    shares = {level: x.shape[1] / stride**2 for (level, x), stride in areas}
    step = common_step(rate, coefficients, shares)
    for level, arrays in learnt.items():
        arrays["step"], arrays["bits"] = quantisers(step, coefficients[level])
        arrays["basis"] = arrays["basis"][:, : arrays["step"].shape[1]]
    return {
        level: LevelParameters({name: array.astype(np.float32) for name, array in arrays.items()})
        for level, arrays in learnt.items()
    }


def _deviations(values: Doubles) -> Doubles:
    deviations: Doubles = values.std(axis=0)
    moving = deviations[deviations > 0]
    # The median, not the mean: a few channels of a ViT vary a hundred times as much as all others.
    return deviations.clip(min=_MIN_SHARE * float(np.median(moving)) if len(moving) else 1.0)


def _principal(values: Doubles) -> Doubles:
    """Return the principal directions (C, C), those of the greatest variance first.

    The largest entry of each column is positive.
    """
    _, vectors = np.linalg.eigh(values.T @ values)
    vectors = vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(len(largest))])
    turned: Doubles = vectors * signs
    return turned


def _steps(form: StoredForm, values: Doubles, units: Doubles) -> Doubles:
    """Return the step of each stored channel, wider where the range of codes would be too small.

    Components share one step, so that the loss of each is the same.
    """
    assert form.numbers.step is not None
    steps: Doubles = np.maximum(form.numbers.step * units, 16 * values.std(axis=0) / _CODE_RANGE)
    return steps


def _shifts(form: StoredForm, values: Doubles, steps: Doubles) -> Doubles:
    """Return shifts that are whole numbers, so that zero stays zero.

    The mean gets the code in the middle, unless values would be clipped at one end of the range while
    codes are unused at the other.
    """
    last = form.numbers.codes - 1
    # The middle of 16 codes with the same upper half: most values then differ in the lower half only.
    middle = form.numbers.codes // 2 & ~15 | 8 if form.numbers.nibbles else last // 2
    first = np.rint(values.mean(axis=0) / steps) - middle
    low, high = np.rint(values.min(axis=0) / steps), np.rint(values.max(axis=0) / steps)
    up = np.minimum(high - (first + last), low - first).clip(min=0)
    down = np.minimum(first - low, first + last - high).clip(min=0)
    shifts: Doubles = first + up - down
    return shifts


def parameter_files(parameters: Parameters) -> dict[str, bytes]:
    """Return the parameters as files: their bytes, by path below the folder of a cache or a run."""
    return {
        _file_name(level, name): float_array_head(array.shape) + array.astype("<f4").tobytes()
        for level, arrays in parameters.items()
        for name, array in arrays.arrays.items()
    }


def has_parameter_files(root: Path, names: Iterable[str]) -> bool:
    """Return whether all parameter files exist. names: all files of a cache that are not of its shards."""
    return all(is_there(root / name) for name in names if name.startswith("codec/"))


def calibration_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of `parameter_files`, "" where there are none."""
    if not files:
        return ""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()} {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@retry_from_objects
def read_parameter_files(
    root: Path, form: StoredForm, levels: PyramidSpec, expected: str
) -> dict[str, bytes]:
    """Return the parameter files in a folder. expected: their digest. Raises CorruptCache."""
    files: dict[str, bytes] = {}
    for level in levels.levels:
        for name, shape in _shapes(form, level, _kept_below(root, form, level)):
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
    """Parse the files that `read_parameter_files` returned for a folder. Raises CorruptCache."""
    found = {}
    for level in levels.levels:
        arrays = {}
        steps = len(files[_file_name(level.name, "step")]) if form.blocks else 0
        for name, shape in _shapes(form, level, _kept(form, level, steps)):
            path = _file_name(level.name, name)
            raw, head = files[path], float_array_head(shape)
            array = np.frombuffer(raw, "<f4", offset=len(head)).reshape(shape)
            if not _valid(name, array):
                raise CorruptCache(f"{root / path}: no {name} has such values")
            arrays[name] = array.astype(np.float32)
        found[level.name] = LevelParameters(arrays)
    return found


def _valid(name: str, array: FloatArray) -> bool:
    if name == "bits":
        return bool(np.isin(array, (0, 1, 2, 4, 8)).all())
    return bool(np.isfinite(array).all()) and (
        name not in ("step", "deviation") or float(array.min()) > 0
    )


def _kept_below(root: Path, form: StoredForm, level: LevelSpec) -> int:
    """Return the number of components of a level that the files in a folder keep. Raises CorruptCache."""
    if not form.blocks:
        return form.stored_channels(level.channels)
    steps = read_below(root, _file_name(level.name, "step"), MAX_FILE_BYTES)
    return _kept(form, level, len(steps))


def _kept(form: StoredForm, level: LevelSpec, step_bytes: int) -> int:
    """Return the number of components, 1 to C. step_bytes: the size of its steps' file, for blocks."""
    if not form.blocks:
        return form.stored_channels(level.channels)
    # The head's length is the same for all shapes; any other size is refused when the head is compared.
    kept = (step_bytes - len(float_array_head((4, 1)))) // 16
    return min(max(kept, 1), level.channels)


def _shapes(form: StoredForm, level: LevelSpec, kept: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each array that decoding a level needs. kept: the components."""
    if form.blocks:
        yield from (("step", (4, kept)), ("bits", (4, kept)))
    if form.numbers.step is not None:
        yield from (("step", (kept,)), ("shift", (kept,)))
    if form.components is not None or form.blocks:
        yield from (("mean", (level.channels,)), ("deviation", (level.channels,)))
        yield "basis", (level.channels, kept)


def _file_name(level: str, name: str) -> str:
    return f"codec/{level}/{name}.npy"
