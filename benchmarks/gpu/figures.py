"""Figures, as ratios: training steps, waiting, memory, extraction, and several heads at the same time."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from fdet.cache.codecs.codec import codec_files, codec_of
from fdet.cache.format.header import CacheHeader
from fdet.cache.writer import create_cache
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone_of
from fdet.pipeline.dataset.images.canvases import recipe_of, rendered
from fdet.pipeline.extraction.reuse import Reused
from fdet.pipeline.extraction.writing import write_shards
from fdet.pipeline.machines.devices import process_memory_mb
from fdet.pipeline.runs.config import RunConfig, load_config

from ..steps import MODES, Training
from .outcome import Check
from .workload import Place, draw_images, make_cache


@dataclass
class Figures:
    """What was measured of a backbone.

    seconds, peaks: of a step and MiB of the device, by mode (benchmarks/steps.py). rate, forward: images a
    second of an extraction, and of the forward passes alone.
    """

    backbone: str
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0
    forward: float = 0.0

    def ratio(self, mode: str, other: str) -> float | None:
        """Return how many times as long a step takes as in another mode, where both were measured."""
        if mode not in self.seconds or other not in self.seconds:
            return None
        return self.seconds[mode] / self.seconds[other]


@dataclass
class Measured:
    """All figures, which are filled one by one. together: the heads, and what they gain at once."""

    backbones: dict[str, Figures] = field(default_factory=dict)
    together: tuple[int, float] | None = None


def measurements(place: Place, measured: Measured) -> Iterator[Check]:
    """Yield the measurements; each fills its place in `measured`."""
    scale, folder = place.scale, place.folder / "measured"
    annotations = draw_images(folder, scale.measured_images, scale.measured_hw)
    for name in scale.backbones:
        figures = measured.backbones.setdefault(name, Figures(name))
        cache = folder / f"{name}.fdet"
        yield Check(f"{name}, extraction", partial(extraction, place, annotations, figures))
        for mode in MODES:
            yield Check(f"{name}, step {mode}", partial(step, place, cache, figures, mode))
        if name == scale.backbones[0]:
            yield Check("heads together", partial(heads_together, place, cache, measured))


def extraction(place: Place, annotations: Path, figures: Figures) -> str:
    """Measure the extraction against decoded canvases that pass through the backbone."""
    scale, device = place.scale, place.device
    more = {"precision": "bf16", "batch_size": scale.measured_batch}
    made = make_cache(place, annotations, figures.backbone, scale.measured_hw, **more)
    header, images = CacheHeader.read(made), annotations.parent / "images"
    backbone = load_backbone_of(header.key, device)
    again = made.with_name(f"{figures.backbone}-again.fdet")
    took = timed(device, lambda: write(again, made, header, backbone, images, scale.workers))
    alone = forward_seconds(device, header, backbone, images, scale.workers)
    count = len(header.layout.images)
    figures.rate, figures.forward = count / took, count / alone
    return (
        f"{figures.rate:.1f} images/s, {took / alone:.2f} x the forward passes alone "
        f"({figures.forward:.1f} images/s)"
    )


def write(
    out: Path,
    made: Path,
    header: CacheHeader,
    backbone: FrozenBackbone,
    images: Path,
    workers: int,
) -> None:
    """Extract again, with what the codec has learnt already."""
    header = create_cache(out, header, b"{}", codec_files(made, header.key))
    codec = codec_of(out, header.key, backbone.device)
    recipe = recipe_of(header.key, images)
    write_shards(
        out,
        header,
        header.layout.shards,
        recipe,
        backbone,
        codec,
        workers,
        Reused(),
        lambda _: None,
    )


def forward_seconds(
    device: torch.device, header: CacheHeader, backbone: FrozenBackbone, images: Path, workers: int
) -> float:
    """Return the seconds of the forward passes of all canvases, which are decoded beforehand."""
    jobs = ((image, (0,)) for image in header.layout.images)
    canvases, passes = rendered(recipe_of(header.key, images), jobs, workers), []
    while batch := list(islice(canvases, header.key.batch_size)):
        pixels = torch.from_numpy(np.stack([one.pixels[0] for one in batch]))
        passes.append((pixels, [one.placements[0].content_hw for one in batch]))

    def forward() -> None:
        for pixels, contents in passes:
            backbone(pixels.to(device), contents)

    timed(device, forward)
    return timed(device, forward)


def timed(device: torch.device, work: Callable[[], None]) -> float:
    """Return the seconds of some work, until the device has done it."""
    started = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started


def config_of(place: Place, backbone: str) -> RunConfig:
    """Return the settings of a measured training: the defaults, with a neck that the backbone suits."""
    scale = place.scale
    neck = "vit-pyramid" if "vit" in backbone else "fpn"
    given = [f"neck.channels={scale.measured_channels}", f"train.batch_size={scale.measured_batch}"]
    given += [f"train.workers={scale.workers}", "train.epochs=1"]
    return load_config(neck=neck, assignments=given)


def step(place: Place, cache: Path, figures: Figures, mode: str) -> str:
    """Measure a training step in one of MODES, and the peak of the device's memory."""
    scale, device = place.scale, place.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    config = config_of(place, figures.backbone)
    training = Training(mode, cache, cache.parent / "images", config, device)
    count = scale.steps + 1
    batches = training.held(1) * count if mode == "memory" else training.batches(count)
    seconds = training.seconds(batches, count)
    figures.seconds[mode] = seconds
    figures.peaks[mode] = peak_mb(device)
    ratio = figures.ratio(mode, "memory")
    beside = "" if mode == "memory" or ratio is None else f", {ratio:.2f} x on maps in memory"
    return f"{seconds * 1e3:.1f} ms{beside}, peak {figures.peaks[mode]:.0f} MiB"


def peak_mb(device: torch.device) -> float:
    """Return the peak memory in MiB of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return process_memory_mb()


def heads_together(place: Place, cache: Path, measured: Measured) -> str:
    """Measure the steps a second of several heads at the same time, in a process each, and of one alone."""
    count = place.scale.together
    alone = statistics.median(rates(place, cache, 1))
    together = sum(rates(place, cache, count))
    measured.together = (count, together / alone)
    return f"{count} heads take {together / alone:.2f} times the steps a second of one"


def rates(place: Place, cache: Path, count: int) -> list[float]:
    """Return the steps a second of each of some processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(count, mp_context=context) as pool,
    ):
        meeting = manager.Barrier(count)
        started = [pool.submit(rate, place, cache, meeting) for _ in range(count)]
        return [one.result() for one in started]


def rate(place: Place, cache: Path, meeting: object) -> float:
    """Return the steps a second of a cached training, from the moment that all processes are ready."""
    config, steps = config_of(place, cache.stem), 2 * place.scale.steps
    training = Training("cached", cache, cache.parent / "images", config, place.device)
    training.seconds(training.batches(2), 2)
    meeting.wait(300)
    return 1 / training.seconds(training.batches(steps), steps)


def waiting(figures: Figures) -> float | None:
    """Return the share of a cached step in which the device waits for maps: what it takes beyond its own."""
    ratio = figures.ratio("cached", "memory")
    return None if ratio is None else max(0.0, 1 - 1 / ratio)
