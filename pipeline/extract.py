"""fdet extract: images -> frozen backbone -> a cache of multi-scale feature maps.

Interrupted anywhere, the same command goes on and ends with the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..cache import header as header_file
from ..cache.annotation_copy import read_annotations
from ..cache.background import BackgroundWriter
from ..cache.codecs import FloatCodec, get_codec
from ..cache.errors import FdetError, FeatureError, InputError, KeyMismatch
from ..cache.header import CacheHeader
from ..cache.key import CacheKey
from ..cache.layout import ImageEntry, Shard
from ..cache.manifest import Manifest
from ..cache.publish import only_writer
from ..cache.records import OK, SampleEntry, read_samples
from ..cache.writer import complete_frame, create_cache, read_record, retract, seal
from .annotations import Annotations, load_annotations
from .backbones import FrozenBackbone, load_backbone
from .canvases import Canvases, CanvasRecipe, recipe_of, render, rendered
from .devices import pick_device, use_threads
from .extract_config import ExtractConfig
from .images import INTERPOLATION
from .plan import check_images, plan_layout
from .progress import ProgressLine, progress_line
from .views import ResizeRule, parse_views

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """What the cache holds, and what this run did.

    bytes: on disk, of all shards. written: samples of this run. failed: why, by file name.
    """

    out: Path
    samples: int
    bytes: int
    seconds: float
    written: int
    failed: Mapping[str, str]


def extract(config: ExtractConfig) -> ExtractSummary:
    """Make a cache, or finish one that was interrupted.

    Raises InputError, KeyMismatch (the cache there has other inputs), FeatureError (a value that the
    codec cannot store), StorageError; finished shards survive every one of them.
    """
    started = time.monotonic()
    _check(config)
    annotations, raw = load_annotations(config.annotations)
    _report_dropped(annotations)
    images = annotations.images[: config.limit]
    device = pick_device(config.device)
    use_threads(config.threads)
    codec = get_codec(config.codec)
    backbone = load_backbone(
        config.backbone,
        weights=config.weights,
        levels=config.levels.split(",") if config.levels else None,
        precision=config.precision,
        seed=config.seed,
        device=device,
    )
    header = _header(config, backbone, codec, images, device)
    with only_writer(config.out):
        header = _created_or_resumed(config, header, backbone, raw)
        todo = _shards_to_do(config, header)
        if todo:
            recipe = recipe_of(header.key, config.images)
            write_shards(config.out, header, todo, recipe, backbone, codec, config.workers)
        manifest = Manifest.read(config.out, header.id) or seal(config.out, header)
        _remove_leftovers(config.out)
        failed = _failures(config.out, header) if manifest.failed else {}
    samples = sum(len(shard.images) for shard in todo) * len(header.layout.views)
    seconds = time.monotonic() - started
    return ExtractSummary(
        config.out, manifest.samples, manifest.stored_bytes, seconds, samples, failed
    )


def _check(config: ExtractConfig) -> None:
    """What can be refused before the backbone is loaded."""
    parse_views(config.views)
    aspect = config.short is not None or config.long is not None
    if (config.size is not None) == aspect or (config.short is None) != (config.long is None):
        raise InputError("give either --size N (square) or both --short N and --long M")
    for name in ("size", "batch_size", "threads", "shard_mb", "limit"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    if config.workers < 0:
        raise InputError(f"--workers: expected at least 0, got {config.workers}")
    if not 0 <= config.seed < 2**63:
        raise InputError(f"--seed: expected 0 to 2^63 - 1, got {config.seed}")


def _report_dropped(annotations: Annotations) -> None:
    for why, count in annotations.dropped.items():
        log.warning("%d boxes %s are left out", count, why)


def _header(
    config: ExtractConfig,
    backbone: FrozenBackbone,
    codec: FloatCodec,
    images: Sequence[ImageEntry],
    device: torch.device,
) -> CacheHeader:
    short, long = config.size or config.short, config.size or config.long
    assert short is not None and long is not None
    rule = ResizeRule(short, long, config.size is not None, backbone.divisor)
    views = parse_views(config.views)
    on_cpu = device.type == "cpu"
    key = CacheKey(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        weights_origin=backbone.weights_origin,
        mean=backbone.mean,
        std=backbone.std,
        short=rule.short,
        long=rule.long,
        square=rule.square,
        divisor=rule.divisor,
        interpolation=INTERPOLATION,
        levels=backbone.spec,
        precision=config.precision,
        codec=codec.name,
        views=tuple(view.name for view in views),
        seed=config.seed,
        batch_size=config.batch_size or (1 if on_cpu else 16),
        threads=torch.get_num_threads() if on_cpu else 0,
        device="cpu" if on_cpu else torch.cuda.get_device_name(device),
        **{
            n: version(n)
            for n in ("torch", "torchvision", "timm", "pillow", "numpy", "zstandard", "zarr")
        },
    )
    layout = plan_layout(images, rule, views, backbone.spec, codec.dtype, config.shard_mb * 2**20)
    return CacheHeader(key, layout, codec.dtype, {})


def _created_or_resumed(
    config: ExtractConfig, header: CacheHeader, backbone: FrozenBackbone, raw: bytes
) -> CacheHeader:
    """The header on disk. A new cache is made only once the images have been checked."""
    if (config.out / header_file.NAME).exists():
        found = CacheHeader.read(config.out)
        _refuse_other_inputs(config.out, header, found)
        _check_remaining_images(config, found)
        complete_frame(config.out, found, raw)
        if read_annotations(config.out) != raw:
            log.warning(
                "%s keeps the annotations it was made with, which are not those of %s: give these to "
                "train-heads and evaluate by --annotations",
                config.out,
                config.annotations,
            )
        return found
    others = [p.name for p in config.out.iterdir() if not p.name.startswith(".")]
    if others:
        raise InputError(
            f"--out {config.out}: the folder is not empty ({others[0]}, ...) and holds no cache; "
            "choose another"
        )
    check_images(config.images, header.layout.images)
    facts = {
        "parameters": backbone.parameters_count,
        "flops": {b.name: backbone.flops(b.canvas_hw) for b in header.layout.buckets},
    }
    header = CacheHeader(header.key, header.layout, header.dtype, facts)
    create_cache(config.out, header, raw)
    return header


def _refuse_other_inputs(out: Path, wanted: CacheHeader, found: CacheHeader) -> None:
    differences = wanted.key.explain(found.key, "resume")
    if differences:
        raise KeyMismatch(
            f"{out} was made from other inputs: {'; '.join(map(str, differences))} (here: this "
            "command, there: the cache); repeat the command it was made with, or choose another --out"
        )
    if wanted.layout != found.layout:
        mine, theirs = set(wanted.layout.images), set(found.layout.images)
        raise KeyMismatch(
            f"{out} was planned for another data set: {len(mine - theirs)} images here that are not "
            f"there, {len(theirs - mine)} the other way, or another --shard-mb; choose another --out"
        )


def _check_remaining_images(config: ExtractConfig, header: CacheHeader) -> None:
    """A wrong --images would seal the cache with every remaining image failed."""
    shards = header.layout.shards
    undone = [s for s in shards if read_record(config.out, header, s.name) is None]
    if undone:
        check_images(config.images, [image for shard in undone for image in shard.images])


def _shards_to_do(config: ExtractConfig, header: CacheHeader) -> list[Shard]:
    """The shards without a record, and with --retry-failed those that can do better now."""
    todo = []
    for shard in header.layout.shards:
        record = read_record(config.out, header, shard.name)
        if record is not None and config.retry_failed and record.failed:
            entries = read_samples(config.out, record)
            failed = {entry.image_id for entry in entries if not entry.ok}
            if _any_readable(recipe_of(header.key, config.images), shard, failed):
                # All of the shard is computed again: what it needs must be there first.
                check_images(config.images, shard.images)
                retract(config.out, record)
                record = None
        if record is None:
            todo.append(shard)
    return todo


def _any_readable(recipe: CanvasRecipe, shard: Shard, failed: set[int]) -> bool:
    suspects = [image for image in shard.images if image.id in failed]
    return any(render(recipe, image, (0,)).pixels is not None for image in suspects)


def write_shards(
    out: Path,
    header: CacheHeader,
    shards: Sequence[Shard],
    recipe: CanvasRecipe,
    backbone: FrozenBackbone,
    codec: FloatCodec,
    workers: int,
) -> None:
    """Run the backbone over every image of `shards`, all its views, and commit shard after shard."""
    views = tuple(range(len(header.layout.views)))
    total = sum(len(shard.images) for shard in shards) * len(views)
    jobs = ((image, views) for shard in shards for image in shard.images)
    batch_size = header.key.batch_size
    with progress_line("extract", total) as progress:
        counter = _Counter(progress)
        with (
            closing(rendered(recipe, jobs, workers)) as canvases,
            BackgroundWriter(out, header, shards, 4 * batch_size, counter.wrote) as writer,
        ):
            for shard in shards:
                samples = _samples(islice(canvases, len(shard.images)))
                while batch := list(islice(samples, batch_size)):
                    for entry, maps in _features(batch, backbone, codec):
                        writer.put(entry, maps)


class _Counter:
    """Feeds the progress line from the writing thread."""

    def __init__(self, progress: ProgressLine) -> None:
        self._progress = progress
        self._bytes = 0

    def wrote(self, stored_bytes: int) -> None:
        self._bytes += stored_bytes
        line = self._progress
        line.note(f"{line.rate:.1f} samples/s, {self._bytes / line.seconds / 1e6:.1f} MB/s")
        line.advance()


_Sample = tuple[SampleEntry, str, npt.NDArray[np.uint8]]


def _samples(canvases: Iterator[Canvases]) -> Iterator[_Sample]:
    """One (entry, file name, pixels (H, W, 3)) a view.

    A failed image takes its place in the batch as an empty canvas: its neighbours' features, and
    their bits, stay what they will be when it is retried.
    """
    for one in canvases:
        for view, placement in enumerate(one.placements):
            entry = SampleEntry(one.image.id, view, one.failure or OK, one.sha256, placement)
            if one.pixels is None:
                yield entry, one.image.file_name, np.zeros((*placement.canvas_hw, 3), np.uint8)
            else:
                yield entry, one.image.file_name, one.pixels[view]


def _features(
    batch: Sequence[_Sample], backbone: FrozenBackbone, codec: FloatCodec
) -> Iterator[tuple[SampleEntry, list[npt.NDArray[np.generic]]]]:
    """One pass of the backbone; the maps of each sample in the stored type."""
    device = next(backbone.parameters()).device
    canvases = torch.from_numpy(np.stack([pixels for _, _, pixels in batch])).to(device)
    contents = [entry.placement.content_hw for entry, _, _ in batch if entry.placement]
    pyramid = backbone(canvases, contents)
    stored = [
        _encode(maps, level, batch, codec)
        for level, maps in zip(pyramid.spec.names, pyramid.maps, strict=True)
    ]
    for k, (entry, _, _) in enumerate(batch):
        yield entry, [x[k] for x in stored] if entry.ok else []


def _encode(
    maps: Tensor, level: str, batch: Sequence[_Sample], codec: FloatCodec
) -> npt.NDArray[np.generic]:
    try:
        return codec.encode(maps).cpu().numpy()
    except FeatureError as error:
        entry, name, _ = batch[error.index]
        raise FeatureError(
            f"image {name} (id {entry.image_id}), view {entry.view}, level {level}: {error}",
            error.index,
        ) from error


def _remove_leftovers(out: Path) -> None:
    """A process that was killed just after it published a file has left its scratch file."""
    for leftover in out.rglob(".*.scratch-*"):
        leftover.unlink(missing_ok=True)


def _failures(out: Path, header: CacheHeader) -> dict[str, str]:
    failed = {}
    names = {image.id: image.file_name for image in header.layout.images}
    for shard in header.layout.shards:
        record = read_record(out, header, shard.name)
        if record is None:
            raise FdetError(f"{out}: shard {shard.name} lost its record while being read")
        if record.failed:
            entries = read_samples(out, record)
            failed.update({names[e.image_id]: e.status for e in entries if not e.ok})
    return failed
