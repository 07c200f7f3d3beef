"""Pictures of detections, with the ground truth beside them where there is one."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEGIBLE_SIDE = 800
_GOLDEN = 0.61803398875


def draw_boxes(
    image: Image.Image,
    boxes: np.ndarray[tuple[int, int], np.dtype[np.floating]],
    labels: Sequence[int],
    texts: Sequence[str],
) -> Image.Image:
    """An RGB image with boxes (N, 4) xyxy px, a colour a class, a text a box ("" for none).

    Small images are enlarged, so that boxes and texts do not hide what they name.
    """
    factor = max(1, round(LEGIBLE_SIDE / max(image.size)))
    drawn = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    boxes = boxes * factor
    pen = ImageDraw.Draw(drawn)
    width = max(2, round(max(drawn.size) / 400))
    font = ImageFont.load_default(size=max(14, 8 * width))
    for box, label, text in zip(boxes.tolist(), labels, texts, strict=True):
        colour = class_colour(label)
        pen.rectangle(box, outline=colour, width=width)
        if text:
            left, top, right, bottom = pen.textbbox((box[0], box[1]), text, font=font)
            down = min(0, int(box[1]) - (bottom - top) - 2 * width)
            y = box[1] - (bottom - top) - 2 * width - down
            pen.rectangle((left, y, right + 2, y + bottom - top + 4), fill=colour)
            pen.text((left + 1, y - (top - box[1]) + 1), text, fill="black", font=font)
    return drawn


def side_by_side(left: Image.Image, right: Image.Image, titles: tuple[str, str]) -> Image.Image:
    """Two pictures of one size under their titles."""
    font = ImageFont.load_default(size=max(14, left.width // 30))
    head = round(1.8 * font.size) if isinstance(font, ImageFont.FreeTypeFont) else 20
    gap = max(4, left.width // 80)
    sheet = Image.new("RGB", (left.width + gap + right.width, head + left.height), "white")
    pen = ImageDraw.Draw(sheet)
    for picture, x, title in ((left, 0, titles[0]), (right, left.width + gap, titles[1])):
        sheet.paste(picture, (x, head))
        pen.text((x + 4, head * 0.15), title, fill="black", font=font)
    return sheet


def class_colour(label: int) -> tuple[int, int, int]:
    """Bright and far from its neighbours; the first is yellow."""
    red, green, blue = colorsys.hsv_to_rgb((0.15 + label * _GOLDEN) % 1.0, 0.9, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue))
