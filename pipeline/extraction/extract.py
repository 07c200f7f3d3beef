"""The `fdet extract` command: from images through a frozen backbone to a cache of multi-scale feature maps.

Wherever it is interrupted, running the same command again continues the work and ends with the same bytes.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.disk.objects import ObjectPath
from ...cache.disk.publish import only_writer, remove_leftovers
from ...cache.disk.sizes import megabytes
from ...cache.format.header import CacheHeader
from ...cache.format.records import ShardRecord
from ...cache.layout import ImageEntry, Shard
from ...cache.writer import remove_shard, seal, written_record, written_records
from ..dataset.check import check_images
from ..dataset.images.canvases import recipe_of, render
from ..machines.world import World, find_world
from .changed import changed_images, refuse_changed
from .engines import engine_of
from .options import ExtractConfig
from .preparation import with_data
from .ray_engine import role_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """A summary of what the cache holds and of what this run did.

    bytes: the size of all shards on disk. written: the number of samples written by this run; reused: how
    many of them were taken from an older cache. missing: the number of shards that other processes have
    yet to write. failed: the reason for each failure, by file name.
    """

    out: Path
    samples: int
    bytes: int
    seconds: float
    written: int
    reused: int
    missing: int
    failed: Mapping[str, str]


def extract(config: ExtractConfig) -> ExtractSummary:
    """Make a cache, or finish one that was interrupted.

    Raises InputError, KeyMismatch (the existing cache has other inputs), FeatureError (a value that the
    codec cannot store) and StorageError; finished shards survive all of these errors.
    """
    started = time.monotonic()
    world = find_world(config.rank, config.world, os.environ)
    reused = 0
    config, data = with_data(config)
    with engine_of(config, world, data) as engine, only_writer(config.out, role_of(world)):
        header = engine.create()
        checked = written_records(config.out, header)
        changed = _changed(config, header, checked)
        todo = _shards_to_do(config, world, header, changed)
        if todo:
            _warn_if_too_large(config.out, header, todo)
            reused = sum(engine.write(header, todo))
        records = written_records(config.out, header)
        if len(records) == len(header.layout.shards):
            # Shards written since the first check, also by other processes; and the changed images
            # whose shards another process has yet to redo.
            since = {name: records[name] for name in records if records[name] != checked.get(name)}
            shards = header.layout.shards
            left = [i for i in changed if shards[header.layout.shard_of(i.id)].name not in since]
            refuse_changed(config.out, [*left, *_changed(config, header, since)])
            seal(config.out, header)
            remove_leftovers(config.out)
    views = len(header.layout.views)
    written = {image.id for shard in todo for image in shard.images}
    return ExtractSummary(
        out=config.out,
        samples=sum(record.samples for record in records.values()),
        bytes=sum(f.size for record in records.values() for f in record.files.values()),
        seconds=time.monotonic() - started,
        written=len(written) * views,
        reused=reused * views,
        missing=len(header.layout.shards) - len(records),
        failed=_failures(header, records),
    )


def _warn_if_too_large(out: Path, header: CacheHeader, shards: Sequence[Shard]) -> None:
    """Warn where the uncompressed maps of all shards together exceed the free space.

    Each shard reserves its space before it is written; this check covers all of them beforehand.
    """
    if isinstance(out, ObjectPath):
        return
    levels = header.key.levels.levels
    needed = sum(
        len(header.layout.samples(shard))
        * (sum(header.raw_bytes(level, shard.bucket) for level in levels) + header.vector_bytes)
        for shard in shards
    )
    free = shutil.disk_usage(out).free
    if needed > free:
        log.warning(
            "%s: the maps have %s before compression, %s are free",
            out,
            megabytes(needed),
            megabytes(free),
        )


def _changed(
    config: ExtractConfig, header: CacheHeader, records: Mapping[str, ShardRecord]
) -> list[ImageEntry]:
    """Return the images of written shards that were edited since."""
    return changed_images(
        config.out, header, records.values(), config.image_folder, look_at_all=config.verify_images
    )


def _shards_to_do(
    config: ExtractConfig, world: World, header: CacheHeader, changed: Sequence[ImageEntry]
) -> list[Shard]:
    """Return this process's shards that have no record.

    With --retry-failed, shards with a failed image that can be read now are added; with --redo-changed, the
    shards of changed images, which are refused without it. The records of added shards are retracted.
    """
    if not config.redo_changed:
        refuse_changed(config.out, changed)
    outdated = {header.layout.shard_of(image.id) for image in changed}
    todo = []
    for shard in header.layout.shards:
        if not world.owns(shard.number):
            continue
        record = written_record(config.out, header, shard.name)
        if record is not None and (
            shard.number in outdated
            or (config.retry_failed and _can_improve(config, header, shard, record))
        ):
            # The whole shard is computed anew, so all of its images must exist first.
            check_images(config.image_folder, shard.images)
            remove_shard(config.out, record)
            record = None
        if record is None:
            todo.append(shard)
    return todo


def _can_improve(
    config: ExtractConfig, header: CacheHeader, shard: Shard, record: ShardRecord
) -> bool:
    """Return whether an image of the shard that failed can be read now."""
    recipe, samples = recipe_of(header.key, config.image_folder), header.layout.samples(shard)
    failed = {samples[slot][0] for slot in record.failures}
    suspects = [image for image in shard.images if image.id in failed]
    return any(render(recipe, image, (0,)).pixels is not None for image in suspects)


def _failures(header: CacheHeader, records: Mapping[str, ShardRecord]) -> dict[str, str]:
    failed = {}
    for shard in header.layout.shards:
        if shard.name in records:
            images = [image for image in shard.images for _ in header.layout.views]
            for slot, why in records[shard.name].failures.items():
                failed[images[slot].file_name] = why
    return failed
