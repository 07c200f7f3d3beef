"""The codec, which turns float maps into stored arrays and back; the store turns those into bytes.

Both directions run on the device where the map lies, so that a batch crosses the bus in its stored
form. A codec never stores what it cannot give back: NaN, infinity and overflow are refused. The range of
integer codes covers the usual values of a data set; values beyond it are clipped to the first or last code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import FeatureError, InputError
from ..format.chunks import Array
from ..key import CacheKey
from ..pyramid import FeaturePyramid, PyramidSpec
from ..wording import counted
from .block_calibration import HALF
from .blocks import Blocks
from .calibration import LevelParameters, Parameters, parameters_of, read_parameter_files
from .form import NUMBERS, Numbers, StoredForm, get_form, parse_form

_FLOATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# What one sum and one product in float32 may add to an error, as a share of the value.
_ROUNDING = 2.0**-22


@dataclass(frozen=True)
class LevelCodec:
    """The codec of the maps of one level.

    arrays: the parameters of cache/codecs/calibration.py, on one device.
    """

    name: str
    numbers: Numbers
    arrays: dict[str, Tensor]

    def encode(self, maps: Tensor) -> Tensor:
        """Encode float maps (B, C, H, W) as (B, *stored shape) of the stored type.

        Raises FeatureError for the first sample with a value that cannot be stored.
        """
        maps = maps.to(torch.float32)
        _check_finite(maps, maps, self.numbers.name)
        values = self._projected(maps)
        if self.numbers.step is None and self._blocks is None:
            return self._rounded(values)
        _check_finite(values, values, self.numbers.name)
        if self._blocks is not None:
            return self._blocks.encode(values, maps.shape[1])
        codes = self._codes(values).clamp(0, self.numbers.codes - 1).to(torch.uint8)
        return _packed(codes) if self.numbers.nibbles else codes

    def decode(self, stored: Tensor, columns: int) -> Tensor:
        """Decode (B, *stored shape) of the stored type to float32 maps (B, C, H, W). columns: W."""
        if self._blocks is not None:
            channels = len(self.arrays["basis"])
            return self._restored(self._blocks.decode(stored, channels, columns))
        if self.numbers.step is None:
            bits = stored.view(torch.bfloat16) if self.numbers.name == "bf16" else stored
            values = bits.to(torch.float32)
        else:
            codes = _unpacked(stored, columns) if self.numbers.nibbles else stored
            values = (codes.to(torch.float32) + self._along("shift")) * self._along("step")
        return self._restored(values)

    def passed(self, maps: Tensor) -> Tensor:
        """Return decode(encode(maps)) for finite maps (B, C, H, W), up to the last bits.

        The operations do not depend on the number of samples or on the values, so a graph can hold them.
        """
        values = maps.to(torch.float32)
        if "basis" in self.arrays:
            flat = self.arrays["basis"].T @ self._normal(values).flatten(2)
            values = flat.reshape(*flat.shape[:2], *maps.shape[2:])
        if self._blocks is not None:
            values = self._blocks.rounded(values)
        elif self.numbers.step is None:
            values = values.to(_FLOATS[self.numbers.name]).to(torch.float32)
        else:
            codes = self._codes(values).clamp(0, self.numbers.codes - 1)
            values = (codes + self._along("shift")) * self._along("step")
        if "basis" not in self.arrays:
            return values
        restored = (self.arrays["basis"] @ values.flatten(2)).reshape(maps.shape)
        return self._along("mean") + self._along("deviation") * restored

    def count_clipped(self, stored: Tensor, columns: int) -> Tensor:
        """Count the numbers of each stored map (B, *stored shape) with the first or the last code: (B,).

        They include every number that was clipped, and the numbers to which these codes belong. The count
        is 0 for a floating-point type.
        """
        if self._blocks is not None:
            return self._blocks.count_clipped(stored)
        if self.numbers.step is None:
            return torch.zeros(len(stored), dtype=torch.int64, device=stored.device)
        codes = _unpacked(stored, columns) if self.numbers.nibbles else stored
        return ((codes == 0) | (codes == self.numbers.codes - 1)).flatten(1).sum(dim=1)

    def bound(self, maps: Tensor) -> Tensor:
        """Return an upper bound of |decoded - x| for each value x of some maps, in their shape, float64."""
        exact = LevelCodec(self.name, self.numbers, {k: v.double() for k, v in self.arrays.items()})
        maps = maps.double()
        values = exact._projected(maps)
        lost = exact._error(values)
        if "basis" not in self.arrays:
            return lost
        basis, rounding = exact.arrays["basis"], _ROUNDING * maps.shape[1]
        # The rounding errors of large terms remain in a sum where the terms cancel each other.
        terms = _times(basis.T.abs(), exact._normal(maps).abs())
        spread = (exact.arrays["deviation"][:, None] * basis).abs()
        gone = (exact._restored(values) - maps).abs()
        near = rounding * (maps.abs() + exact._along("mean").abs())
        return gone + _times(spread, lost + rounding * terms) + near

    def _error(self, values: Tensor) -> Tensor:
        """Return the largest possible error of each stored number."""
        if self._blocks is not None:
            return self._blocks.error(values, len(self.arrays["basis"]))
        if self.numbers.step is None:
            kind = torch.finfo(_FLOATS[self.numbers.name])
            relative = 0.0 if self.numbers.name == "fp32" else kind.eps / 2
            return relative * values.abs().clamp(min=kind.tiny)
        codes = self._codes(values)
        beyond = (codes - codes.clamp(0, self.numbers.codes - 1)).abs()
        return (beyond + 0.5) * self._along("step") + _ROUNDING * values.abs()

    def _codes(self, values: Tensor) -> Tensor:
        """Return the codes as whole numbers that are not yet clipped to the range."""
        return torch.round(values / self._along("step")) - self._along("shift")

    def _along(self, name: str) -> Tensor:
        """Return a parameter as (K, 1, 1), to be broadcast with (B, K, H, W)."""
        return self.arrays[name][:, None, None]

    @property
    def _blocks(self) -> Blocks | None:
        if self.numbers.rate is None:
            return None
        return Blocks(self.arrays["step"], self.arrays["bits"])

    def _projected(self, maps: Tensor) -> Tensor:
        """Return the numbers to store of each cell, (B, K, H, W), before they are rounded."""
        if "basis" not in self.arrays:
            return maps
        return _times(self.arrays["basis"].T, self._normal(maps))

    def _normal(self, maps: Tensor) -> Tensor:
        return (maps - self._along("mean")) / self._along("deviation")

    def _restored(self, values: Tensor) -> Tensor:
        """Return the maps (B, C, H, W) of stored numbers."""
        if "basis" not in self.arrays:
            return values
        return self._along("mean") + self._along("deviation") * _times(self.arrays["basis"], values)

    def _rounded(self, values: Tensor) -> Tensor:
        stored = values.to(_FLOATS[self.numbers.name])
        _check_finite(stored, values, self.numbers.name)
        return stored.view(torch.int16) if self.numbers.name == "bf16" else stored


@dataclass(frozen=True)
class Codec:
    """The codec of the pyramids of one cache: one LevelCodec per level."""

    form: StoredForm
    spec: PyramidSpec
    levels: tuple[LevelCodec, ...]

    @property
    def name(self) -> str:
        return self.form.name

    def encode(self, pyramid: FeaturePyramid) -> tuple[Tensor, ...]:
        """Encode each level as (B, *stored shape). Raises FeatureError, which names the level."""
        return tuple(
            _named(level, maps) for level, maps in zip(self.levels, pyramid.maps, strict=True)
        )

    def decode(self, stored: Sequence[Tensor], canvas_hw: tuple[int, int]) -> FeaturePyramid:
        """Decode stored maps to a pyramid in float32."""
        widths = [level.shape(canvas_hw)[2] for level in self.spec.levels]
        maps = zip(self.levels, stored, widths, strict=True)
        decoded = tuple(level.decode(x, columns) for level, x, columns in maps)
        return FeaturePyramid(self.spec, decoded, canvas_hw)

    def passed(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """Return a pyramid as it comes back from the stored form, as `LevelCodec.passed` does.

        Its vector, which every codec keeps as it is, goes with it.
        """
        levels = zip(self.levels, pyramid.maps, strict=True)
        maps = tuple(level.passed(x) for level, x in levels)
        return FeaturePyramid(self.spec, maps, pyramid.canvas_hw, pyramid.vector)

    def decode_sample(
        self, maps: Sequence[Array], canvas_hw: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], ...]:
        """Decode the stored maps of one sample to float32 maps, (C, H, W) each, on the CPU."""
        stored = [torch.from_numpy(x[None].copy()) for x in maps]
        return tuple(x[0].numpy() for x in self.decode(stored, canvas_hw).maps)

    def count_clipped(self, stored: Sequence[Tensor], canvas_hw: tuple[int, int]) -> Tensor:
        """Return the counts of LevelCodec.count_clipped for each map: (levels, B)."""
        widths = [level.shape(canvas_hw)[2] for level in self.spec.levels]
        maps = zip(self.levels, stored, widths, strict=True)
        return torch.stack([level.count_clipped(x, columns) for level, x, columns in maps])

    @property
    def promise(self) -> str:
        """How near a decoded value is to the original, in words."""
        numbers, components = self.form.numbers, self.form.components
        if self.form.blocks:
            return f"{self.name} keeps a coefficient within {HALF:g} of its step, where it varies enough"
        what = "a value" if components is None else "a principal component"
        if numbers.step is not None:
            kept = f"{what} within {numbers.step / 2:g} of a channel's standard deviations"
        elif numbers.name == "fp32":
            kept = "every bit" if components is None else f"every bit of {what}"
        else:
            kept = f"{what} within {torch.finfo(_FLOATS[numbers.name]).eps / 2:.2g} of itself"
        return f"{self.name} keeps {kept}" + (f", of the first {components}" if components else "")


def make_codec(
    form: StoredForm,
    spec: PyramidSpec,
    parameters: Parameters,
    device: torch.device | str = "cpu",
) -> Codec:
    """Make the codec of a form. parameters: those of each level, which only a calibrated form needs."""
    levels = tuple(
        LevelCodec(name, form.numbers, _tensors(parameters.get(name), device))
        for name in spec.names
    )
    return Codec(form, spec, levels)


def plain_codec(name: str, spec: PyramidSpec) -> Codec:
    """Return the codec of this name. Raises InputError where it is unknown or needs calibration."""
    form = get_form(name)
    if form.calibrated:
        raise InputError(f"codec {name}: it needs the calibration of a cache")
    return make_codec(form, spec, {})


def codec_of(root: Path, key: CacheKey, device: torch.device | str = "cpu") -> Codec:
    """Return the codec of the cache or run in a folder. Raises CorruptCache."""
    form = parse_form(key.codec)
    parameters = parameters_of(root, codec_files(root, key), form, key.levels)
    return make_codec(form, key.levels, parameters, device)


def codec_files(root: Path, key: CacheKey) -> dict[str, bytes]:
    """Return the files in a folder that the codec of its cache or run needs. Raises CorruptCache."""
    return read_parameter_files(root, parse_form(key.codec), key.levels, key.calibration)


def _tensors(parameters: LevelParameters | None, device: torch.device | str) -> dict[str, Tensor]:
    if parameters is None:
        return {}
    return {name: torch.from_numpy(x).to(device) for name, x in parameters.arrays.items()}


def _named(level: LevelCodec, maps: Tensor) -> Tensor:
    try:
        return level.encode(maps)
    except FeatureError as error:
        raise FeatureError(f"level {level.name}: {error}", error.index) from error


def _times(matrix: Tensor, values: Tensor) -> Tensor:
    """Multiply (N, K) by (B, K, H, W) to (B, N, H, W), in full precision even under autocast.

    The samples are multiplied one by one and contiguously, so that no bit depends on the batch or on its
    layout in memory.
    """
    with torch.autocast(values.device.type, enabled=False):
        flat = [matrix @ x for x in values.contiguous().flatten(2)]
    if not flat:
        return values.new_zeros((0, len(matrix), *values.shape[2:]))
    return torch.stack(flat).reshape(len(values), len(matrix), *values.shape[2:])


def _packed(codes: Tensor) -> Tensor:
    """Pack bytes (B, K, H, W) as (B, 2K, H, ceil(W / 2)): first the lower halves, then the upper ones."""
    codes = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2))
    halves = torch.cat([codes & 15, codes >> 4], dim=1)
    return halves[..., 0::2] | (halves[..., 1::2] << 4)


def _unpacked(stored: Tensor, columns: int) -> Tensor:
    """Invert `_packed`, for W columns."""
    low, high = stored.chunk(2, dim=1)
    even, odd = (low & 15) | (high << 4), (low >> 4) | (high & 240)
    return torch.stack([even, odd], dim=-1).flatten(-2)[..., :columns]


def _check_finite(stored: Tensor, maps: Tensor, codec: str) -> None:
    finite = torch.isfinite(stored).flatten(1).all(dim=1)
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise FeatureError(_reason(maps[index], codec), index)


def _reason(sample: Tensor, codec: str) -> str:
    unusable = int((~torch.isfinite(sample)).sum())
    if unusable:
        values = counted(unusable, "value is", "values are")
        return f"{values} NaN or infinite; check the image and the weights"
    return (
        f"|value| reaches {float(sample.abs().max()):.4g}, codec {codec} ends at "
        f"{torch.finfo(_FLOATS[codec]).max:.4g}; use --codec {_wider(codec)}"
    )


def _wider(codec: str) -> str:
    return "bf16 or fp32" if codec == "fp16" else next(iter(NUMBERS))
