"""The report of a plan, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ....cache.wording import counted
from ...machines.disk import Disk
from ...machines.duration import shown_time
from .plan import (
    RUNS,
    CodecPlan,
    Contents,
    Machine,
    nodes_sentence,
    room_sentence,
    shown_epochs,
    verdict,
)

# Writing has slowed down where its last rate is less than this share of its first.
_SLOWER = 0.7
_HEAD = (
    "codec",
    "bits",
    "MB/sample",
    "GB",
    "fits",
    "views",
    "extraction",
    "limit",
    "epoch",
    "pays after",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, with all figures that it was made from.

    canvases: the numbers of images, by canvas. levels: the shapes (C, H, W) by name, for the canvas of most
    images. tried: the number of images of the trial. codecs: the plan of each codec, from the finest to the
    coarsest. asked: the name of the codec that was asked for. notes: what else a reader has to know.
    """

    contents: Contents
    canvases: dict[str, int]
    levels: dict[str, tuple[int, int, int]]
    tried: int
    machine: Machine
    disk: Disk
    budget: int | None
    epochs: int
    asked: str
    online_epoch: float
    codecs: tuple[CodecPlan, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> CodecPlan:
        return next(codec for codec in self.codecs if codec.codec == self.asked)

    @property
    def sentences(self) -> list[str]:
        """The sentences on whether the cache pays and whether it fits, and the notes."""
        room = room_sentence(self.chosen, self.codecs, self.disk.free)
        nodes = nodes_sentence(self.chosen, self.machine.nodes)
        said = [verdict(self.chosen, self.online_epoch, self.epochs), nodes, room, *self.notes]
        return [sentence for sentence in said if sentence]

    def to_json(self) -> dict[str, Any]:
        """Return every figure, in seconds, bytes, or bytes per second."""
        data = asdict(self)
        for codec, values in zip(self.codecs, data["codecs"], strict=True):
            values["extraction_seconds"] = codec.extraction_seconds
        del data["notes"]
        return {**data, "samples": self.contents.samples, "sentences": self.sentences}


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of the report."""
    contents, disk = plan.contents, plan.disk
    images, views = counted(contents.images, "image"), counted(contents.views, "view")
    yield f"{images} x {views} = {counted(contents.samples, 'sample')}"
    yield f"canvases  {_shown_canvases(plan.canvases)}"
    yield "levels    " + ", ".join(f"{n} {'x'.join(map(str, s))}" for n, s in plan.levels.items())
    yield f"disk      {_shown_disk(disk)}"
    yield (
        f"trial     {counted(plan.tried, 'image')}: decoding {shown_time(plan.machine.decode)}, backbone "
        f"{shown_time(plan.machine.forward)} a sample; the backbone in the loop takes "
        f"{shown_time(plan.online_epoch)} an epoch"
    )
    yield ""
    room = "what is free" if plan.budget is None else f"{plan.budget / 1e9:.4g} GB"
    yield from _table([_HEAD, *(_row(codec, plan.asked) for codec in plan.codecs)])
    yield (
        f"* asked for. views: how many fit into {room}. extraction: all samples, and what it waits for. "
        "epoch: reading one view of each image. pays after: that many epochs of one run. Neck and head "
        "cost the same either way and are not counted."
    )
    if (needed := plan.chosen.epochs) is not None:
        shared = " or ".join(f"{shown_epochs(needed[str(n)])} each of {n}" for n in RUNS[1:])
        yield f"Where runs share the cache, {plan.asked} pays after {shared}."
    yield ""
    yield from plan.sentences


def _row(codec: CodecPlan, asked: str) -> tuple[str, ...]:
    return (
        f"{codec.codec}{'*' if codec.codec == asked else ''}",
        f"{codec.bits:.2f}",
        f"{codec.sample_bytes / 1e6:.3g}",
        f"{codec.bytes / 1e9:.3g}",
        "yes" if codec.fits else "no",
        str(codec.views),
        shown_time(codec.extraction_seconds),
        codec.limited_by,
        shown_time(codec.cached_epoch),
        "never" if codec.epochs is None else shown_epochs(codec.epochs["1"]),
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in others)]
        yield "  ".join(cells)


def _shown_canvases(canvases: dict[str, int], most: int = 4) -> str:
    ordered = sorted(canvases.items(), key=lambda pair: -pair[1])
    shown = [f"{name} ({counted(count, 'image')})" for name, count in ordered[:most]]
    return ", ".join([*shown, *([f"{len(ordered) - most} more"] if len(ordered) > most else [])])


def _shown_disk(disk: Disk) -> str:
    return (
        f"{disk.folder} ({disk.file_system}), {disk.free / 1e9:.4g} GB free; writes "
        f"{disk.first / 1e6:.0f} MB/s at first, {disk.sustained / 1e6:.0f} MB/s after "
        f"{disk.written / 1e9:.2g} GB; reads {disk.read / 1e6:.0f} MB/s, {disk.latency * 1e3:.2g} ms "
        "per random read"
    )


def disk_notes(disk: Disk) -> Iterator[str]:
    """Yield sentences on why the measured rates may not hold."""
    if disk.in_memory:
        yield f"{disk.folder} lies in memory ({disk.file_system}): its rates are not those of a disk."
    if disk.sustained < _SLOWER * disk.first:
        yield (
            f"Writing slowed down from {disk.first / 1e6:.0f} to {disk.sustained / 1e6:.0f} MB/s within "
            f"{disk.written / 1e9:.2g} GB: the plan uses the latter, and it may fall further."
        )
