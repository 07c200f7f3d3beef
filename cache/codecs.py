"""A codec turns float maps into stored arrays and back: numbers here, bytes in the store.

Both directions run on the device where the map lies, so that a batch crosses the bus in its stored
form. A codec never stores what it cannot give back: NaN, infinity and overflow are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import FeatureError, InputError, did_you_mean


@dataclass(frozen=True, slots=True)
class FloatCodec:
    """Stores each value as one floating-point number.

    dtype: numpy's name of the stored type. relative_error: the largest |decoded - x| / |x| of a
    value in the type's normal range (below it, the absolute error is tiny instead).
    """

    name: str
    dtype: str
    relative_error: float

    def encode(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) float -> (B, C, H, W) stored type.

        Raises FeatureError for the first sample with a value that cannot be stored.
        """
        stored = maps.to(self._torch_dtype)
        finite = torch.isfinite(stored).flatten(1).all(dim=1)
        if not bool(finite.all()):
            index = int((~finite).nonzero()[0])
            raise FeatureError(self._reason(maps[index]), index)
        return stored

    def decode(self, stored: Tensor) -> Tensor:
        """(B, C, H, W) stored type -> (B, C, H, W) float32."""
        return stored.to(torch.float32)

    def bound(self, maps: Tensor) -> Tensor:
        """The largest |decoded - x| of each value x of some maps, in their shape."""
        return self.relative_error * maps.abs().clamp(min=torch.finfo(self._torch_dtype).tiny)

    @property
    def _torch_dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float16": torch.float16}[self.dtype]

    def _reason(self, sample: Tensor) -> str:
        unusable = int((~torch.isfinite(sample)).sum())
        if unusable:
            return f"{unusable} values are NaN or infinite; check the image and the weights"
        return (
            f"|value| reaches {float(sample.abs().max()):.4g}, codec {self.name} ends at "
            f"{torch.finfo(self._torch_dtype).max:.4g}; use --codec fp32"
        )


CODECS: Mapping[str, FloatCodec] = {
    "fp32": FloatCodec("fp32", "float32", 0.0),
    "fp16": FloatCodec("fp16", "float16", 2.0**-11),
}


def get_codec(name: str) -> FloatCodec:
    """The codec of that name; raises InputError with the nearest one."""
    if name not in CODECS:
        raise InputError(f"unknown codec {name!r}{did_you_mean(name, CODECS)}")
    return CODECS[name]
