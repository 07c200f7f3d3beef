"""The key of a cache: every input that changes a feature, and which must agree for which operation.

Two caches whose keys agree hold the same features for the same image. To go on with an extraction
(resume), every field must agree. To take features over into another cache (reuse), all fields but the
versions of the container's libraries must agree. To pair a training cache with a validation cache, or a
trained head with new images, only the fields that change what a head sees of the plain view must agree;
different library versions are reported as a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from .pyramid import PyramidSpec, VectorSpec

Operation = Literal["resume", "reuse", "pair"]
PAIRS: Mapping[str, bool] = {"pairs": True}
VERSION: Mapping[str, bool] = {"version": True}
CONTAINER: Mapping[str, bool] = {"container": True}
# The fewest and the most bits that deep pixels may have.
MIN_BITS, MAX_BITS = 8, 31


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs between two keys. fatal: whether the operation must not go on."""

    field: str
    mine: Any
    theirs: Any
    fatal: bool

    def __str__(self) -> str:
        return f"{self.field}: {self.mine} here, {self.theirs} there"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """The inputs of an extraction.

    short, long, square, divisor: the resize rule, in px. calibration: the digest of what the codec
    learnt, "" where it learns nothing. converted: the codecs that the values went through before this one.
    batch_size: the number of images in one backbone pass, which never spans two shards. threads: the
    number of torch's threads on a CPU, 0 on an accelerator. Both change the last bits of a feature.
    image_vector: the vector of each image as a whole, where the cache keeps one. bits: how many bits deep
    pixels have, which were read as 0 to 2^bits - 1; 0 stands for 16, and for floating-point pixels of 0 to 1.
    """

    backbone: str = field(metadata=PAIRS)
    weights_sha256: str = field(metadata=PAIRS)
    weights_origin: str
    mean: tuple[float, ...] = field(metadata=PAIRS)
    std: tuple[float, ...] = field(metadata=PAIRS)
    short: int = field(metadata=PAIRS)
    long: int = field(metadata=PAIRS)
    square: bool = field(metadata=PAIRS)
    divisor: int = field(metadata=PAIRS)
    interpolation: str = field(metadata=PAIRS)
    bits: int = field(default=0, metadata=PAIRS)
    levels: PyramidSpec = field(metadata=PAIRS)
    precision: str = field(metadata=PAIRS)
    image_vector: VectorSpec | None = None
    codec: str
    calibration: str = ""
    converted: tuple[str, ...] = ()
    views: tuple[str, ...]
    seed: int
    batch_size: int
    threads: int
    device: str
    torch: str = field(metadata=VERSION)
    torchvision: str = field(metadata=VERSION)
    timm: str = field(metadata=VERSION)
    pillow: str = field(metadata=VERSION)
    numpy: str = field(metadata=VERSION)
    zstandard: str = field(default="", metadata=CONTAINER)
    zarr: str = field(default="", metadata=CONTAINER)
    h5py: str = field(default="", metadata=CONTAINER)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not _FITS[str(f.type)](value):
                raise ValueError(f"key: {f.name}: expected {f.type}, got {value!r}")
        if self.divisor < 1:
            raise ValueError(f"key: divisor: expected at least 1, got {self.divisor}")
        # One meaning has one key: 16 bits are written as 0.
        if self.bits and (self.bits == 16 or not MIN_BITS <= self.bits <= MAX_BITS):
            raise ValueError(f"key: bits: expected 0 or {MIN_BITS} to {MAX_BITS}, got {self.bits}")

    def explain(self, other: CacheKey, operation: Operation) -> list[Difference]:
        """Return the differences that matter for the operation; library versions never prevent pairing."""
        differences = []
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            fatal = {
                "resume": True,
                "reuse": not f.metadata.get("container"),
                "pair": bool(f.metadata.get("pairs")),
            }[operation]
            matters = fatal or (operation == "pair" and f.metadata.get("version"))
            if matters and mine != theirs:
                mine, theirs = _described(f.name, mine), _described(f.name, theirs)
                differences.append(Difference(f.name, mine, theirs, fatal))
        return differences

    def in_container(self, versions: Mapping[str, str]) -> CacheKey:
        """Return the key of the same features, written by libraries of these versions and no others."""
        return replace(self, **{**_NO_CONTAINER, **versions})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        data = {**asdict(self), "levels": self.levels.to_json()}
        for name in ("image_vector", "bits"):
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CacheKey:
        values: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in data.items()
        }
        values["levels"] = PyramidSpec.from_json(data["levels"])
        if "image_vector" in data:
            values["image_vector"] = VectorSpec(**data["image_vector"])
        return cls(**values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= 1000


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "int": _is_count,
    "bool": lambda value: isinstance(value, bool),
    "tuple[float, ...]": lambda value: isinstance(value, tuple) and all(map(_is_number, value)),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(map(_is_text, value)),
    "PyramidSpec": lambda value: isinstance(value, PyramidSpec),
    "VectorSpec | None": lambda value: value is None or isinstance(value, VectorSpec),
}


def _described(name: str, value: Any) -> Any:
    if name == "bits":
        return value or 16
    if isinstance(value, PyramidSpec):
        return " ".join(f"{v.name}(stride {v.stride}, {v.channels} ch)" for v in value.levels)
    return str(value) if isinstance(value, VectorSpec) else value


_NO_CONTAINER = {f.name: "" for f in fields(CacheKey) if f.metadata.get("container")}
