"""The feature pyramid (maps of one canvas at several strides) and the levels that it consists of.

Shape legend of the whole project: B images, l level (0 finest), C channels, H W rows and columns,
N objects of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# The prefix of a second backbone's level names in a pyramid that also holds those of the first.
SECOND = "b."
# The kind of the vector that holds, level after level, the tokens that a ViT has before those of the cells.
PREFIX_TOKENS = "prefix-tokens"


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """One level of a pyramid: its name, its stride in canvas pixels and its number of channels."""

    name: str
    stride: int
    channels: int

    def __post_init__(self) -> None:
        plain = isinstance(self.name, str) and self.name.isprintable() and len(self.name) <= 100
        if not plain or not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"level name: expected a plain file name, got {self.name!r}")
        if not all(type(v) is int and 1 <= v < 2**31 for v in (self.stride, self.channels)):
            raise ValueError(
                f"level {self.name}: stride and channels must be positive, "
                f"got {self.stride} and {self.channels}"
            )

    def shape(self, canvas_hw: tuple[int, int]) -> tuple[int, int, int]:
        """Return the shape (C, H_l, W_l) of this level's map for a canvas of (H, W) pixels."""
        return (self.channels, -(-canvas_hw[0] // self.stride), -(-canvas_hw[1] // self.stride))


@dataclass(frozen=True, slots=True)
class PyramidSpec:
    """The levels of a pyramid, finest first.

    Strides never decrease from one level to the next; the taps of a plain ViT share one stride.
    """

    levels: tuple[LevelSpec, ...]

    def __post_init__(self) -> None:
        strides, names = self.strides, self.names
        if not self.levels:
            raise ValueError("a pyramid needs at least one level")
        if list(strides) != sorted(strides):
            raise ValueError(f"strides must not fall from level to level, got {strides}")
        if len(set(names)) != len(names):
            raise ValueError(f"level names must differ, got {names}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(level.name for level in self.levels)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(level.stride for level in self.levels)

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(level.channels for level in self.levels)

    def only(self, names: Sequence[str]) -> PyramidSpec:
        """Return the levels with these names, finest first. Raises ValueError for an unknown name."""
        if unknown := set(names) - set(self.names):
            raise ValueError(f"no level {min(unknown)!r} among {', '.join(self.names)}")
        return PyramidSpec(tuple(level for level in self.levels if level.name in names))

    def joined_with(self, second: PyramidSpec) -> PyramidSpec:
        """Return these levels and those of a second backbone, sorted by stride.

        At equal strides the levels of the second backbone come last. Raises ValueError where a name of
        the first begins with the prefix of the second.
        """
        if odd := [name for name in self.names if name.startswith(SECOND)]:
            raise ValueError(f"level {odd[0]}: no level of a first backbone begins with {SECOND}")
        others = tuple(replace(level, name=f"{SECOND}{level.name}") for level in second.levels)
        levels = sorted((*self.levels, *others), key=lambda level: level.stride)
        return PyramidSpec(tuple(levels))

    def parted(self) -> tuple[tuple[LevelSpec, ...], tuple[LevelSpec, ...]]:
        """Return the levels of the first backbone and those of the second, if there is one."""
        second = tuple(level for level in self.levels if level.name.startswith(SECOND))
        return tuple(level for level in self.levels if level not in second), second

    def to_json(self) -> list[dict[str, Any]]:
        return [{"name": v.name, "stride": v.stride, "channels": v.channels} for v in self.levels]

    @classmethod
    def from_json(cls, levels: Sequence[Mapping[str, Any]]) -> PyramidSpec:
        return cls(tuple(LevelSpec(v["name"], v["stride"], v["channels"]) for v in levels))


@dataclass(frozen=True, slots=True)
class FeaturePyramid:
    """The feature maps of B images: maps[l] is (B, C_l, H_l, W_l).

    canvas_hw: the size of the canvases in pixels, which are padded at the right and the bottom.
    vector: a (B, C) vector for each image as a whole, where the backbone was asked for it: of the kind that
    the cache's `VectorSpec` names.
    """

    spec: PyramidSpec
    maps: tuple[Tensor, ...]
    canvas_hw: tuple[int, int]
    vector: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.spec.levels):
            raise ValueError(
                f"expected a map of each level, {len(self.spec.levels)}, got {len(self.maps)}"
            )
        for level, x in zip(self.spec.levels, self.maps, strict=True):
            expected = (self.maps[0].shape[0], *level.shape(self.canvas_hw))
            if tuple(x.shape) != expected:
                raise ValueError(f"level {level.name}: expected {expected}, got {tuple(x.shape)}")

    def only(self, names: Sequence[str]) -> FeaturePyramid:
        """Return the levels with these names. Raises ValueError for an unknown name."""
        if tuple(names) == self.spec.names:
            return self
        spec = self.spec.only(names)
        maps = tuple(self.maps[self.spec.names.index(name)] for name in spec.names)
        return FeaturePyramid(spec, maps, self.canvas_hw)

    def joined_with(self, second: FeaturePyramid) -> FeaturePyramid:
        """Return the maps of both pyramids, which are of the same canvases."""
        spec = self.spec.joined_with(second.spec)
        maps = dict(zip(self.spec.names, self.maps, strict=True))
        for name, x in zip(second.spec.names, second.maps, strict=True):
            maps[f"{SECOND}{name}"] = x
        return FeaturePyramid(spec, tuple(maps[name] for name in spec.names), self.canvas_hw)

    def __len__(self) -> int:
        """Return the number of images, B."""
        return int(self.maps[0].shape[0])


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """The vector of an image as a whole.

    kind: the way in which the backbone makes it, or PREFIX_TOKENS: of each level the P tokens before those of
    the cells, such as the class token, (P, C) each. channels: its length.
    """

    kind: str
    channels: int

    def __post_init__(self) -> None:
        plain = isinstance(self.kind, str) and self.kind.isprintable() and len(self.kind) <= 100
        if not plain or not self.kind:
            raise ValueError(f"image vector: expected the name of a kind, got {self.kind!r}")
        if type(self.channels) is not int or not 1 <= self.channels < 2**31:
            raise ValueError(f"image vector: channels must be positive, got {self.channels!r}")

    def __str__(self) -> str:
        return f"{self.kind}({self.channels} ch)"

    @property
    def of_tokens(self) -> bool:
        """Return whether it holds the tokens that a ViT has in addition to its maps."""
        return self.kind == PREFIX_TOKENS

    @property
    def nbytes(self) -> int:
        """The size of one vector in bytes."""
        return 4 * self.channels
