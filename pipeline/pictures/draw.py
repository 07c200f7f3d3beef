"""The drawing of boxes, masks and titles into pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...heads.masks import paste_masks
from ...heads.types import Detections
from .text import line_of

Boxes = npt.NDArray[np.floating]
# The share of the class's colour in the fill of a mask.
OPACITY = 0.4
_GOLDEN = 0.61803398875


def draw_boxes(
    picture: Image.Image, boxes: Boxes, labels: Sequence[int], texts: Sequence[str]
) -> None:
    """Draw boxes (N, 4) xyxy px into an RGB picture, with a colour per class.

    texts: a text per box, "" for none. Texts are drawn last, so that no box runs through a text.
    """
    pen = ImageDraw.Draw(picture)
    for box, label in zip(boxes.tolist(), labels, strict=True):
        pen.rectangle(box, outline=class_colour(label), width=_pen_width(picture))
    for box, label, text in zip(boxes.tolist(), labels, texts, strict=True):
        if text:
            _write(picture, pen, box, text, class_colour(label))


def _write(
    picture: Image.Image,
    pen: ImageDraw.ImageDraw,
    box: Sequence[float],
    text: str,
    colour: tuple[int, int, int],
) -> None:
    """Write a text above its box, or at the nearest position within the picture."""
    width = _pen_width(picture)
    line = line_of(text, max(14, 8 * width))
    left, top, right, bottom = line.box(pen)
    x = max(0, min(box[0], picture.width - (right - left) - 3))
    y = max(0, min(box[1], picture.height) - (bottom - top) - 2 * width)
    pen.rectangle((x, y, x + right - left + 2, y + bottom - top + 4), fill=colour)
    line.write(pen, x + 1 - left, y + 2 - top)


def draw_masks(
    picture: Image.Image, boxes: Boxes, labels: Sequence[int], masks: Iterable[Tensor]
) -> None:
    """Draw a translucent fill and the outline of each object into an RGB picture.

    boxes: (N, 4) xyxy px. masks: a grid (S, S) over each box, as `Detections` has them.
    """
    for box, label, mask in zip(boxes, labels, masks, strict=True):
        area = _around(box, picture.size)
        if area[2] > area[0] and area[3] > area[1]:
            pixels = np.array(picture.crop(area))
            _tint(pixels, _pasted(mask, box, area), class_colour(label), _pen_width(picture))
            picture.paste(Image.fromarray(pixels), area[:2])


def _around(box: Boxes, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the area of the pixels that a box touches and those next to them, within the picture."""
    low, high = np.floor(box[:2]) - 1, np.ceil(box[2:]) + 1
    left, top = (int(v) for v in low.clip(0, size))
    right, bottom = (int(v) for v in high.clip(0, size))
    return (left, top, right, bottom)


def _pasted(mask: Tensor, box: Boxes, area: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixels of an area of the picture a mask over a box covers, (H, W)."""
    moved = torch.from_numpy(box - np.tile(area[:2], 2))[None].float()
    one = Detections(moved, torch.ones(1), torch.zeros(1, dtype=torch.int64), mask[None])
    pasted: npt.NDArray[np.bool_] = paste_masks(one, (area[3] - area[1], area[2] - area[0])).numpy()
    covered: npt.NDArray[np.bool_] = pasted[0]
    return covered


def _tint(
    pixels: npt.NDArray[np.uint8],
    covered: npt.NDArray[np.bool_],
    colour: tuple[int, int, int],
    edge: int,
) -> None:
    """Blend a colour into the covered pixels of (H, W, 3); those at their edge get the pure colour."""
    inner = covered
    for _ in range(edge):
        padded = np.pad(inner, 1)
        enclosed = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        inner = inner & enclosed
    blended = (1 - OPACITY) * pixels[inner] + OPACITY * np.array(colour)
    pixels[inner] = blended.round().astype(np.uint8)
    pixels[covered & ~inner] = colour


def under_titles(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Put pictures of one size next to each other, each under its title."""
    first = panels[0][1]
    lines = [line_of(title, max(14, first.width // 30)) for title, _ in panels]
    head = round(1.8 * lines[0].size)
    gap = max(4, first.width // 80)
    width = max(first.width, *(round(line.length) + 8 for line in lines))
    sheet = Image.new("RGB", (len(panels) * (width + gap) - gap, head + first.height), "white")
    pen = ImageDraw.Draw(sheet)
    for k, (line, (_, picture)) in enumerate(zip(lines, panels, strict=True)):
        x = k * (width + gap)
        sheet.paste(picture, (x, head))
        line.write(pen, x + 4, round(head * 0.7))
    return sheet


def class_colour(label: int) -> tuple[int, int, int]:
    """Return the bright colour of a class, far from those of its neighbours; the first is yellow."""
    red, green, blue = colorsys.hsv_to_rgb((0.15 + label * _GOLDEN) % 1.0, 0.9, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue))


def _pen_width(picture: Image.Image) -> int:
    return max(2, round(max(picture.size) / 400))
