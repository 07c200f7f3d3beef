"""Arithmetic from measured figures to what a cache takes and whether it pays; nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....cache.wording import counted
from ...machines.disk import Disk
from ...machines.duration import shown_time
from .codec_trial import CodecTrial

# The numbers of runs that share the cache in a plan.
RUNS = (1, 3, 10)


@dataclass(frozen=True, slots=True)
class Contents:
    """The data to be cached.

    values: the number of values in a sample's maps, on average over the data set. overhead: the bytes of a
    sample in addition to its frames. shard_bytes: the size of the largest shard before compression, which is
    claimed while it is written.
    """

    images: int
    views: int
    levels: int
    values: float
    overhead: float
    shard_bytes: int

    @property
    def samples(self) -> int:
        return self.images * self.views


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that the steps share.

    decode, forward: the seconds of decoding and of the backbone per sample. workers: the number of processes
    that decode; with 0 the backbone waits for each image. threads: the number of the backbone's threads where
    it runs on the processor, 0 on an accelerator. nodes: the number of nodes like this one that extract in
    parallel.
    """

    decode: float
    forward: float
    cores: int
    workers: int
    threads: int
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class CodecPlan:
    """The plan for one codec.

    bits: the bits per value. sample_bytes: the size of one sample on the disk. bytes: the size of all
    samples. fits: whether they fit into the free space. views: the number of views that fit into the budget,
    or into the free space. compute_seconds, write_seconds: the seconds to compute all samples on all nodes,
    and to write them onto the disk that the nodes share; an extraction takes the longer of the two.
    limited_by: the step that takes longest. cached_epoch: the seconds of an epoch on the cache. epochs: the
    epochs after which the cache has paid for itself, by the number of runs that share it; None where it never
    does.
    """

    codec: str
    bits: float
    sample_bytes: float
    bytes: float
    fits: bool
    views: int
    compute_seconds: float
    write_seconds: float
    limited_by: str
    cached_epoch: float
    epochs: Mapping[str, float] | None

    @property
    def extraction_seconds(self) -> float:
        return max(self.compute_seconds, self.write_seconds)


def slowest(stages: Mapping[str, float]) -> tuple[str, float]:
    """Return the one of several parallel steps that all others wait for, and its seconds."""
    return max(stages.items(), key=lambda stage: stage[1])


def online_epoch(contents: Contents, machine: Machine) -> float:
    """Return the seconds of decoding and backbone for one view of each image; those of a head come on top."""
    alone = machine.decode / max(1, machine.workers)
    serial = machine.decode if machine.workers == 0 else 0.0
    work = machine.decode + machine.threads * machine.forward
    _, seconds = slowest(
        {
            "decoding": alone,
            "backbone": machine.forward + serial,
            "processor": work / machine.cores,
        }
    )
    return contents.images * seconds


def cached_epoch(contents: Contents, machine: Machine, codec: CodecTrial, disk: Disk) -> float:
    """Return the seconds of reading and unpacking one view of each image; those of a head come on top."""
    read = disk.read_seconds(contents.values * codec.bytes, contents.levels)
    unpack, decode = contents.values * codec.decompress, contents.values * codec.decode
    work = unpack + machine.threads * decode
    _, seconds = slowest(
        {"reading": read + unpack, "decoding": decode, "processor": work / machine.cores}
    )
    return contents.images * seconds


def compute(contents: Contents, machine: Machine, codec: CodecTrial) -> tuple[str, float]:
    """Return what limits an extraction apart from the disk, and the seconds of all samples on all nodes."""
    forward = machine.forward + contents.values * codec.encode
    packing = contents.values * codec.compress
    serial = machine.decode if machine.workers == 0 else 0.0
    work = machine.decode + packing + machine.threads * forward
    limit, seconds = slowest(
        {
            "decoding": machine.decode / max(1, machine.workers),
            "backbone": forward + serial,
            "compression": packing / min(8, machine.cores),
            "processor": work / machine.cores,
        }
    )
    return limit, contents.samples * seconds / machine.nodes


def epochs_to_pay(extraction: float, online: float, cached: float, runs: int) -> float | None:
    """Return the epochs after which a cache shared by `runs` runs has paid for itself, or None for never."""
    saved = online - cached
    return extraction / (runs * saved) if saved > 0 else None


def runs_to_pay(extraction: float, online: float, cached: float, epochs: int) -> int | None:
    """Return after how many runs of `epochs` epochs a cache has paid for itself, or None for never."""
    saved = (online - cached) * epochs
    return max(1, math.ceil(extraction / saved)) if saved > 0 else None


def views_that_fit(room: float, contents: Contents, sample_bytes: float) -> int:
    """Return how many views of each image fit into `room` bytes."""
    return max(0, int(room / (sample_bytes * contents.images)))


def plan_codec(
    contents: Contents, machine: Machine, codec: CodecTrial, disk: Disk, budget: int | None
) -> CodecPlan:
    """Return all that is known of a codec before an extraction."""
    sample_bytes = contents.values * codec.bytes + contents.overhead
    size = contents.samples * sample_bytes
    room = max(0, disk.free - contents.shard_bytes)
    limit, seconds = compute(contents, machine, codec)
    writing = size / disk.sustained
    online = online_epoch(contents, machine)
    cached = cached_epoch(contents, machine, codec, disk)
    longer = max(seconds, writing)
    needed = {str(runs): epochs_to_pay(longer, online, cached, runs) for runs in RUNS}
    return CodecPlan(
        codec=codec.codec,
        bits=8 * codec.bytes,
        sample_bytes=sample_bytes,
        bytes=size,
        fits=size <= room,
        views=views_that_fit(room if budget is None else budget, contents, sample_bytes),
        compute_seconds=seconds,
        write_seconds=writing,
        limited_by="disk" if writing > seconds else limit,
        cached_epoch=cached,
        epochs={runs: x for runs, x in needed.items() if x is not None} or None,
    )


def verdict(asked: CodecPlan, online: float, epochs: int) -> str:
    """Return a sentence that says whether caching pays."""
    spent, cached = asked.extraction_seconds, asked.cached_epoch
    runs = runs_to_pay(spent, online, cached, epochs)
    if runs is None or asked.epochs is None:
        return (
            f"Caching does not pay: an epoch's maps take {shown_time(cached)} to read, and the backbone in "
            f"the loop {shown_time(online)}."
        )
    needed = asked.epochs["1"]
    if runs > 1:
        return (
            f"Caching does not pay for one run of {counted(epochs, 'epoch')}: it would take "
            f"{shown_epochs(needed)}; it pays where {runs} such runs share the cache."
        )
    saved = epochs * (online - cached) - spent
    return (
        f"Caching pays after {shown_epochs(needed)} of one run; a run of {epochs} saves "
        f"{shown_time(saved)}, extraction included."
    )


def room_sentence(asked: CodecPlan, others: Sequence[CodecPlan], free: int) -> str:
    """Return a sentence on what to do where the cache does not fit; it is empty where the cache fits."""
    if asked.fits:
        return ""
    finest = next((other.codec for other in others if other.fits), None)
    instead = (
        f"--codec {finest} would" if finest else "no codec would: fewer views, levels or pixels"
    )
    return (
        f"It does not fit: {asked.bytes / 1e9:.4g} GB of maps and the room of one shard, and "
        f"{free / 1e9:.4g} GB are free; {instead}."
    )


def nodes_sentence(asked: CodecPlan, nodes: int) -> str:
    """Return a sentence on what the nodes take and how many the disk keeps up with; it is empty for one."""
    if nodes == 1:
        return ""
    enough = max(1, math.ceil(nodes * asked.compute_seconds / asked.write_seconds))
    if enough < nodes:
        most = f"it keeps up with {enough}, and more gain nothing"
    else:
        most = f"it keeps up with about {enough}"
    return (
        f"{nodes} nodes like this one extract in {shown_time(asked.extraction_seconds)}, if the disk that "
        f"they share takes what it took from one: {most}."
    )


def shown_epochs(count: float) -> str:
    """Return a text such as '4 epochs', rounded up."""
    return counted(max(1, math.ceil(count)), "epoch")
