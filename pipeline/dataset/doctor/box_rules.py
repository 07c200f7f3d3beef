"""Rules on boxes: another format, beyond the image, tiny, twice, of no area, long and thin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..coco.box_checks import beyond_image, box_remarks
from ..coco.ids import whole_number
from ..coco.reading import decoded
from ..data_set import unread_remarks
from .finding import Finding, Severity, found
from .subject import Mask, Split, Subject

# A side below this many px, or below this share of the image's side, is taken for a slip of the hand.
TINY_PX, TINY_SHARE = 1.0, 0.001
# Half a cell of the finest usual map, whose stride is 8: canvas px.
SMALL_CANVAS_PX = 4.0
# The share of small objects from which on they are worth a warning.
_MANY_SMALL = 0.05
MAX_ASPECT = 20.0
# Boxes of one class whose corners differ by no more than this are one object, px.
SAME_PX = 0.5


def other_format(subject: Subject) -> Finding | None:
    """Find splits whose boxes seem to be written as corners or as fractions."""
    odd = [split for split in subject.splits if split.misread]
    return found(
        Severity.error,
        [subject.label(split, f"they seem to be {split.misread}") for split in odd],
        subject.box_count,
        "boxes are not x, y, width, height in px",
        "convert them, or insist on the right --format",
        count=sum(len(split.boxes) for split in odd),
    )


def beyond(subject: Subject) -> Finding | None:
    """Find boxes that reach beyond their image."""
    count, examples = subject.boxes_where(lambda split: beyond_image(split.boxes, split.hw))
    return found(
        Severity.warning,
        examples,
        subject.box_count,
        "boxes reach beyond their image",
        "training cuts them at its border; where there are many, they may belong to other images",
        count=count,
    )


def left_out(subject: Subject) -> Finding | None:
    """Find boxes that show nothing: of no area, or outside their image."""
    dropped = Counter[str]()
    for split in subject.splits:
        dropped.update(split.annotations.dropped)
    reasons = [f"{count} {why}" for why, count in dropped.items()]
    count = dropped.total()
    examples = [
        subject.label(split, text)
        for split in subject.splits
        if split.annotations.dropped
        for text in _useless(split)
    ]
    return found(
        Severity.warning,
        examples,
        subject.box_count + count,
        f"boxes are left out: {', '.join(reasons)}",
        "correct or delete them",
        count=count,
    )


def _useless(split: Split) -> Iterator[str]:
    """Describe the boxes of the COCO form that are of no area or outside their image."""
    coco = decoded(split.data.raw, split.data.source)
    named = {
        _key(e.get("id")): image for e, image in zip(coco["images"], split.images, strict=True)
    }
    for entry in coco.get("annotations") or ():
        image, box = named.get(_key(entry.get("image_id"))), entry.get("bbox")
        if image is None or not box:
            continue
        (x, y, w, h), (rows, columns) = box, image.hw
        if w <= 0 or h <= 0 or x >= columns or y >= rows or x + w <= 0 or y + h <= 0:
            yield f"{image.file_name}: [{x:.5g}, {y:.5g}, {w:.5g}, {h:.5g}]"


def _key(value: Any) -> str:
    number = whole_number(value)
    return str(value if number is None else number)


def tiny(subject: Subject) -> Finding | None:
    """Find boxes that are too small to show anything."""
    count, examples = subject.boxes_where(_tiny)
    return found(
        Severity.warning,
        examples,
        subject.box_count,
        f"boxes have a side below {TINY_PX:g} px or {TINY_SHARE * 100:g} % of their image's",
        "delete them if they are slips of the hand",
        count=count,
    )


def _tiny(split: Split) -> Mask:
    sides = split.boxes[:, 2:] - split.boxes[:, :2]
    limits = np.maximum(TINY_PX, TINY_SHARE * split.hw[:, ::-1])
    return np.asarray((sides - limits).min(1) < 0)


def small_on_canvas(subject: Subject) -> Finding | None:
    """Find boxes that become too small for the maps at the size that was given."""
    rule = subject.resize
    if rule is None:
        return None

    def small(split: Split) -> Mask:
        factor = np.array([rule.factor(image.hw) for image in split.images])[split.owners]
        sides = (split.boxes[:, 2:] - split.boxes[:, :2]) * factor[:, None]
        return np.asarray(sides.min(1) < SMALL_CANVAS_PX)

    count, examples = subject.boxes_where(small)
    size = f"--size {rule.long}" if rule.square else f"--short {rule.short} --long {rule.long}"
    return found(
        Severity.warning if count > _MANY_SMALL * subject.box_count else Severity.note,
        examples,
        subject.box_count,
        f"boxes have a side below {SMALL_CANVAS_PX:g} px at {size}",
        "larger images, or tiles of them, would show these objects",
        count=count,
    )


def thin(subject: Subject) -> Finding | None:
    """Find boxes that are far longer than wide."""

    def long(split: Split) -> Mask:
        sides = split.boxes[:, 2:] - split.boxes[:, :2]
        return np.asarray(sides.max(1) > MAX_ASPECT * sides.min(1))

    count, examples = subject.boxes_where(long)
    return found(
        Severity.note,
        examples,
        subject.box_count,
        f"boxes are more than {MAX_ASPECT:g} times as long as wide",
        "look whether they are right; few anchors and cells fit such objects",
        count=count,
    )


def repeated(subject: Subject) -> Finding | None:
    """Find boxes that occur twice: of one image and class, and at one place."""
    count, examples = subject.boxes_where(_repeated)
    return found(
        Severity.warning,
        examples,
        subject.box_count,
        f"boxes repeat one of the same image and class within {SAME_PX:g} px",
        "delete them: a detector finds each object once, and the second counts as missed",
        count=count,
    )


def _repeated(split: Split) -> Mask:
    """Return which boxes repeat an earlier one; they are compared along their left sides."""
    packed, boxes = split.annotations.packed, split.boxes
    order = np.lexsort((boxes[:, 0], packed.labels, packed.crowd, split.owners))
    groups = np.stack([split.owners, packed.crowd, packed.labels])[:, order]
    rows = boxes[order]
    repeats = np.zeros(len(rows), dtype=np.bool_)
    first, distance = np.arange(len(rows)), 0
    while len(first):
        distance += 1
        first = first[first + distance < len(rows)]
        second = first + distance
        near = (groups[:, first] == groups[:, second]).all(0)
        near &= rows[second, 0] - rows[first, 0] <= SAME_PX
        first, second = first[near], second[near]
        same = (np.abs(rows[first] - rows[second]) <= SAME_PX).all(1)
        # The one that comes later in the file repeats the other.
        repeats[np.where(order[first] > order[second], first, second)[same]] = True
    mask = np.zeros(len(rows), dtype=np.bool_)
    mask[order] = repeats
    return mask


def remarks(subject: Subject) -> Finding | None:
    """Collect what was assumed when the annotations were read."""
    said = [
        subject.label(split, remark) for split in subject.splits for remark in _assumptions(split)
    ]
    return found(
        Severity.note,
        said,
        None,
        f"{'thing was' if len(said) == 1 else 'things were'} assumed when the annotations were read",
        "see whether they are right",
    )


def _assumptions(split: Split) -> Sequence[str]:
    """Return the remarks that no other rule repeats."""
    others = [*box_remarks(split.boxes, split.hw), *unread_remarks(split.data.unread)]
    return [remark for remark in split.annotations.remarks if remark not in others]
