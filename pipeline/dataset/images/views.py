"""The geometry, all of which happens before the backbone: the resize rule, views and their placements."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from ....cache.errors import InputError, did_you_mean
from ....cache.placement import Placement

HW = tuple[int, int]
Range = tuple[float, float]
TRANSFORMS = ("plain", "hflip", "vflip", "scale", "crop")


@dataclass(frozen=True, slots=True)
class ResizeRule:
    """A rule from the size of an image to its canvas size and scale.

    It depends on one image alone, so the rule of an extraction also serves a single new image.

    The shorter side becomes `short` px unless the longer one would then exceed `long`, and the aspect ratio
    is kept. square: the canvas is a square whose side is `long` px; `short` is the same, so the longer side
    of the image becomes `long` px. Otherwise the canvas is snapped to quarters of the range, so that there
    are few canvas sizes. divisor: the backbone's coarsest stride, to a multiple of which every canvas side
    is rounded up.
    """

    short: int
    long: int
    square: bool
    divisor: int

    def __post_init__(self) -> None:
        if not 1 <= self.short <= self.long:
            raise InputError(
                f"--short and --long: expected 1 <= short <= long, got {self.short} and {self.long}"
            )

    def factor(self, image_hw: HW) -> float:
        """Return the scale of an image in canvas px per image px."""
        return min(self.short / min(image_hw), self.long / max(image_hw))

    def content_hw(self, image_hw: HW) -> HW:
        factor = self.factor(image_hw)
        rows, columns = (max(1, round(side * factor)) for side in image_hw)
        return (rows, columns)

    def canvas_hw(self, image_hw: HW) -> HW:
        """Return the rule's smallest canvas that holds the content; rotated images get rotated canvases."""
        if self.square:
            side = self._up(self.long, self.divisor)
            return (side, side)
        rows, columns = self.content_hw(image_hw)
        short, long = min(rows, columns), max(rows, columns)
        if short >= self.short:
            canvas = (
                self._up(self.short, self.divisor),
                self._snapped(long, self.short, self.long),
            )
        else:
            canvas = (self._snapped(short, 0, self.short), self._up(self.long, self.divisor))
        return canvas if rows <= columns else (canvas[1], canvas[0])

    def _snapped(self, side: int, low: int, high: int) -> int:
        """Return the smallest of five sizes from `low` to `high` that holds a side."""
        step = self._up(math.ceil((high - low) / 4), self.divisor) or self.divisor
        start = self._up(low, self.divisor)
        steps = max(0, math.ceil((side - start) / step)) if low else math.ceil(side / step)
        return max(self.divisor, min(start + steps * step, self._up(high, self.divisor)))

    @staticmethod
    def _up(side: int, divisor: int) -> int:
        return -(-side // divisor) * divisor


@dataclass(frozen=True, slots=True)
class View:
    """One geometric version of an image.

    flip: whether it is flipped horizontally and vertically. scale: the range of a factor on the plain
    scale, drawn log-uniformly; the canvas stays the same, so above 1 the image is cut at a random position
    and below 1 it is padded. crop: the range of the share of both sides that a random window has; the
    window is then enlarged to the size of the whole image.
    """

    name: str
    flip: tuple[bool, bool] = (False, False)
    scale: Range | None = None
    crop: Range | None = None

    @property
    def random(self) -> bool:
        return self.scale is not None or self.crop is not None


def parse_views(text: str) -> tuple[View, ...]:
    """Parse views such as 'plain,hflip,scale=0.7..1.4+hflipx2'.

    Random views may be repeated with xN, N < 1000. Raises InputError.
    """
    views: list[View] = []
    for item in text.split(","):
        found = re.fullmatch(r"(.+?)(?:x(\d{1,3}))?", item.strip())
        if found is None:
            raise InputError(f"--views {text!r}: an entry is empty")
        view = _parse_view(found[1])
        if found[2] is None:
            views.append(view)
        elif not view.random or int(found[2]) < 1:
            raise InputError(
                f"--views: {item.strip()!r}: xN repeats a random view (scale, crop) N >= 1 times"
            )
        else:
            views += [
                View(f"{view.name}#{n + 1}", view.flip, view.scale, view.crop)
                for n in range(int(found[2]))
            ]
    names = [view.name for view in views]
    if names[0] != "plain":
        raise InputError(
            f"--views: the first must be 'plain' (evaluation uses it), got {names[0]!r}"
        )
    if len(set(names)) != len(names):
        raise InputError(f"--views {text!r}: a view is named twice; repeat random ones with xN")
    return tuple(views)


def view_from_name(name: str) -> View:
    """Return the view that a cache calls `name`."""
    base, _, _ = name.partition("#")
    view = _parse_view(base)
    return View(name, view.flip, view.scale, view.crop)


def _parse_view(text: str) -> View:
    flip_x = flip_y = False
    ranges: dict[str, Range] = {}
    parts = text.split("+")
    for part in parts:
        name, _, value = part.partition("=")
        if part == "hflip":
            flip_x = True
        elif part == "vflip":
            flip_y = True
        elif name in ("scale", "crop"):
            ranges[name] = _parse_range(part, value, highest=1.0 if name == "crop" else 10.0)
        elif text != "plain":
            raise InputError(f"--views: cannot read {part!r}{did_you_mean(name, TRANSFORMS)}")
    if len({part.partition("=")[0] for part in parts}) < len(parts):
        raise InputError(f"--views: {text!r} names a transform twice; expected each once")
    if len(ranges) > 1:
        raise InputError(f"--views: {text!r}: scale and crop exclude each other")
    return View(text, (flip_x, flip_y), ranges.get("scale"), ranges.get("crop"))


def _parse_range(part: str, value: str, highest: float) -> Range:
    low, _, high = value.partition("..")
    try:
        bounds = (float(low), float(high or low))
    except ValueError:
        bounds = (0.0, 0.0)
    if not 0.05 <= bounds[0] <= bounds[1] <= highest:
        raise InputError(f"--views: {part!r}: expected LOW..HIGH within 0.05..{highest:g}")
    return bounds


def place(
    image_hw: HW, rule: ResizeRule, view: View, *, seed: int, image_id: int, view_index: int
) -> Placement:
    """Return where an image lies on its canvas under a view.

    Random views are drawn from (seed, image id, view index).
    """
    rng = np.random.default_rng([seed, image_id, view_index])
    factor, content = rule.factor(image_hw), rule.content_hw(image_hw)
    canvas = rule.canvas_hw(image_hw)
    if view.crop is not None:
        factor /= rng.uniform(*view.crop)
        window = content
    elif view.scale is not None:
        factor *= math.exp(rng.uniform(math.log(view.scale[0]), math.log(view.scale[1])))
        window = canvas
    else:
        window = content
    scaled = (max(1, round(image_hw[0] * factor)), max(1, round(image_hw[1] * factor)))
    shown = (min(scaled[0], window[0]), min(scaled[1], window[1]))
    cut_y, cut_x = (int(rng.integers(s - w + 1)) for s, w in zip(scaled, shown, strict=True))
    return Placement(
        image_hw=image_hw,
        canvas_hw=canvas,
        content_hw=shown,
        scale=(scaled[1] / image_hw[1], scaled[0] / image_hw[0]),
        shift=(
            float(shown[1] + cut_x if view.flip[0] else -cut_x),
            float(shown[0] + cut_y if view.flip[1] else -cut_y),
        ),
        flip=view.flip,
    )
