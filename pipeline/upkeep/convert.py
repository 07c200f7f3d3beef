"""fdet cache convert: a cache in another store, frame by frame, without the backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...cache import header as header_file
from ...cache.annotation_copy import read_annotations
from ...cache.background import BackgroundWriter
from ...cache.errors import InputError, KeyMismatch, did_you_mean
from ...cache.header import CacheHeader
from ...cache.layout import Shard
from ...cache.publish import only_writer, remove_leftovers
from ...cache.reader import FeatureCache
from ...cache.stores import STORES
from ...cache.writer import create_cache, seal, written_record
from ..progress import progress_line

_WAITING_SAMPLES = 16


def convert(source: Path, out: Path, store: str) -> tuple[int, int]:
    """Make `out`, or finish it: how many samples and bytes it has. Every frame is checked as it is read.

    Raises InputError, CorruptCache (of the source), KeyMismatch (something else stands in `out`),
    StorageError; finished shards survive all of them.
    """
    if store not in STORES:
        raise InputError(f"--store {store!r}{did_you_mean(store, STORES)}")
    cache = FeatureCache.open(source)
    key = cache.header.key.in_container(STORES[store].versions())
    header = replace(cache.header, key=key, store=store, beside={})
    with only_writer(out, "rank-0-of-1"):
        header = _created(out, header, read_annotations(source, cache.header))
        todo = [s for s in header.layout.shards if written_record(out, header, s.name) is None]
        _copy(cache, out, header, todo)
        manifest = seal(out, header)
        remove_leftovers(out)
    return manifest.samples, manifest.stored_bytes


def _created(out: Path, header: CacheHeader, annotations: bytes) -> CacheHeader:
    others = [p.name for p in out.iterdir() if not p.name.startswith(".")]
    if others and not (out / header_file.NAME).exists():
        raise InputError(f"{out}: the folder is not empty ({others[0]}, ...) and holds no cache")
    found = create_cache(out, header, annotations)
    if found.id != header.id:
        raise KeyMismatch(f"{out} holds another cache ({found.id[:12]}); choose another folder")
    return found


def _copy(cache: FeatureCache, out: Path, header: CacheHeader, shards: list[Shard]) -> None:
    samples = [sample for shard in shards for sample in header.layout.samples(shard)]
    done = 0
    with progress_line("convert", len(samples)) as progress:

        def wrote(size: int) -> None:
            nonlocal done
            done += size
            progress.note(f"{done / progress.seconds / 1e6:.1f} MB/s")
            progress.advance()

        with BackgroundWriter(out, header, shards, _WAITING_SAMPLES, wrote) as writer:
            for image_id, view in samples:
                writer.put_frames(*cache.stored(image_id, view))
