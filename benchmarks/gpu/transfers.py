"""Pinned memory, and copies to the device on a stream of their own."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from fdet.cache.codecs.codec import codec_of
from fdet.cache.loader import BatchReader
from fdet.cache.reader import FeatureCache

from .outcome import Check, Skipped, within
from .workload import Place

# Codecs decode by a few sums and products in float32.
DECODED = 1e-5


def transfer_checks(place: Place, cache: Path) -> Iterator[Check]:
    """Yield the checks of what is copied to the device."""
    yield Check("maps decoded on the device and the CPU", partial(same_maps, place, cache))
    yield Check("pinned memory, copied on a side stream", partial(same_aside, place, cache))


def same_maps(place: Place, path: Path) -> str:
    """Compare the maps of a batch."""
    cache = FeatureCache.open(path)
    batch = BatchReader(cache, pin=place.device.type == "cuda").read(samples_of(cache, place))
    ours, theirs = (
        batch.decode(codec_of(path, cache.header.key, device), device).maps
        for device in (place.device, torch.device("cpu"))
    )
    pairs = zip(ours, theirs, strict=True)
    worst = max(float((x.cpu() - y).abs().max() / y.abs().max()) for x, y in pairs)
    return within(worst, DECODED, "difference relative to the largest value")


def same_aside(place: Place, path: Path) -> str:
    """Decode a batch on a side stream while the device is busy; the bits must be the same."""
    device = place.device
    if device.type != "cuda":
        raise Skipped("streams and pinned memory belong to an accelerator")
    cache = FeatureCache.open(path)
    codec = codec_of(path, cache.header.key, device)
    batch = BatchReader(cache, pin=True).read(samples_of(cache, place))
    assert all(x.is_pinned() for x in batch.maps), "the maps that were read are not pinned"
    expected = batch.decode(codec, device).maps
    busy = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize(device)
    side = torch.cuda.Stream(device)
    for _ in range(20):
        busy = torch.tanh(busy @ busy)
    with torch.cuda.stream(side):
        maps = batch.decode(codec, device).maps
        copied = torch.cuda.Event()
        copied.record(side)
    torch.cuda.current_stream(device).wait_event(copied)
    same = all(torch.equal(x, y) for x, y in zip(maps, expected, strict=True))
    assert same, "the maps differ from those of the default stream"
    return "the same bits as on the default stream, which was busy"


def samples_of(cache: FeatureCache, place: Place) -> list[tuple[int, int]]:
    """Return the plain views of a batch."""
    return [(image.id, 0) for image in cache.header.layout.images[: place.scale.batch]]
