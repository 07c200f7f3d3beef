"""What `fdet cache info` shows: the facts of a cache, and the classes and boxes of its annotations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....cache.errors import FdetError
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.header import CacheHeader
from ....cache.info import described, facts_of
from ....cache.wording import listed
from ...dataset.coco.reading import parse_annotations
from ...dataset.tiles import photographs_in

# The maximum number of classes that are named in a line.
NAMED = 10


def cache_facts(root: Path) -> dict[str, Any]:
    """Return the facts of a cache as values for JSON. Raises InputError, CorruptCache.

    Where its annotations cannot be read, "annotations" says why, and classes and boxes are None.
    """
    facts: dict[str, Any] = {
        **facts_of(root),
        "annotations": "",
        "classes": None,
        "boxes": None,
        "crowds": None,
    }
    try:
        return facts | _annotated(root)
    except FdetError as error:
        return facts | {"annotations": str(error)}


def fact_lines(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `cache_facts` in words, by name, in the order in which to display them."""
    if facts["classes"] is None:
        contents = {"classes": f"not known: {facts['annotations']}"}
    else:
        names = [each["name"] for each in facts["classes"]]
        crowds = f", {facts['crowds']} of them crowds" if facts["crowds"] else ""
        contents = {
            "classes": f"{len(names)}: {listed(names, NAMED)}",
            "boxes": f"{facts['boxes']}{crowds}",
        }
    found: dict[str, Any] = {}
    for name, value in described(facts).items():
        found[name] = value
        if name == "images":
            found |= contents
    return found


def aligned(lines: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    """Yield lines with a name and a value; a value too long for so many columns goes on below itself."""
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        text = f"{name:<{width}}{value}"
        if columns is None or len(text) <= columns:
            yield text
        else:
            yield from textwrap.wrap(
                text,
                max(columns, 2 * width),
                subsequent_indent=" " * width,
                break_long_words=False,
                break_on_hyphens=False,
            )


def _annotated(root: Path) -> dict[str, Any]:
    """Return the classes, and the boxes of the images that the cache holds."""
    header = CacheHeader.read(root)
    annotations = parse_annotations(read_annotations(root, header), f"{root}'s annotations")
    held = photographs_in(annotations, header.layout.images)
    own = [annotations.of_image(image.id) for image in held]
    classes = zip(annotations.class_ids, annotations.class_names, strict=True)
    return {
        "classes": [{"id": number, "name": name} for number, name in classes],
        "boxes": sum(map(len, own)),
        "crowds": int(sum(boxes.crowd.sum() for boxes in own)),
    }
