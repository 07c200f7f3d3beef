"""`fdet cache convert`: a cache in another store, or in a coarser codec, made without the backbone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ....cache.background import BackgroundWriter
from ....cache.codecs.calibration import (
    FloatArray,
    calibrate,
    calibration_digest,
    has_parameter_files,
    parameter_files,
)
from ....cache.codecs.clipping import ClippingCounts
from ....cache.codecs.codec import Codec, codec_files, codec_of
from ....cache.codecs.form import StoredForm, get_form
from ....cache.disk.publish import only_writer, remove_leftovers
from ....cache.errors import FeatureError, InputError, KeyMismatch
from ....cache.format import header as header_file
from ....cache.format.annotation_copy import read_annotations
from ....cache.format.chunks import Frame
from ....cache.format.header import CacheHeader
from ....cache.format.manifest import Manifest
from ....cache.format.records import SampleEntry
from ....cache.key import CacheKey
from ....cache.loader import load_batch
from ....cache.reader import FeatureCache
from ....cache.sampler import SampleId
from ....cache.stores import STORES
from ....cache.writer import create_cache, seal, written_record
from ...extraction.calibration import CELLS, calibration_of, cells_for, evenly
from ...extraction.checks import refuse_foreign_folder
from ...machines.progress import progress_line, shown_rate
from .checks import Conversion, wanted_form

_WAITING_SAMPLES = 16
_READING = 8


def convert(source: Path, out: Path, wanted: Conversion) -> tuple[int, int]:
    """Make `out`, or finish it, and return its number of samples and bytes.

    Every frame is checked as it is read. Raises InputError, CorruptCache (of the source), KeyMismatch
    (another cache is in `out`), StorageError; finished shards survive all of them.
    """
    cache = FeatureCache.open(source)
    form = wanted_form(source, cache.header.form, wanted)
    key = _wanted_key(cache.header, wanted)
    with only_writer(out, "rank-0-of-1"):
        files = _codec_files(cache, out, form, key, wanted)
        key = replace(key, calibration=calibration_digest(files))
        header = replace(
            cache.header, key=key, store=wanted.store or cache.header.store, other_files={}
        )
        header = created(out, header, read_annotations(source, cache.header), files)
        if form == cache.header.form:
            fill = partial(put_frames, cache, range(len(key.levels.levels)))
        else:
            clipping_counts = ClippingCounts(codec_of(out, key))
            fill = partial(_put_coded, cache, codec_of(source, cache.header.key), clipping_counts)
        manifest = write_samples("convert", out, header, fill)
        if form != cache.header.form:
            clipping_counts.tell()
    return manifest.samples, manifest.stored_bytes


def _wanted_key(header: CacheHeader, wanted: Conversion) -> CacheKey:
    """Return the wanted key, still without its calibration."""
    key = header.key.in_container(STORES[wanted.store or header.store].versions())
    form = header.form if wanted.codec is None else get_form(wanted.codec)
    if form == header.form:
        return key
    return replace(key, codec=form.name, converted=(*key.converted, key.codec))


def _codec_files(
    cache: FeatureCache, out: Path, form: StoredForm, key: CacheKey, wanted: Conversion
) -> dict[str, bytes]:
    """Return the files of the codec of `out`: as they are, from another cache, or learnt now."""
    if form == cache.header.form:
        return codec_files(cache.root, cache.header.key)
    if not form.calibrated:
        return {}
    if wanted.calibration is not None:
        return calibration_of(wanted.calibration, key, "--calibration")
    if (out / header_file.NAME).exists():
        begun = CacheHeader.read(out)
        if begun.form == form and has_parameter_files(out, begun.other_files):
            return codec_files(out, begun.key)
    return _learnt_files(cache, form, wanted.calibration_images)


def _learnt_files(cache: FeatureCache, form: StoredForm, count: int) -> dict[str, bytes]:
    """Return the files of a codec, learnt from the plain view of some images."""
    codec = codec_of(cache.root, cache.header.key)
    readable = [image for image in cache.header.layout.images if image.id not in cache.failed]
    images = evenly(readable, count)
    found: dict[str, list[FloatArray]] = {name: [] for name in codec.spec.names}
    with progress_line("calibrate", len(images)) as progress:
        for image in images:
            batch = load_batch(cache, [(image.id, 0)])
            for name, x in zip(found, batch.decode(codec, "cpu").maps, strict=True):
                found[name].append(cells_for(form, x[0], batch.placements[0], CELLS // len(images)))
            progress.advance()
    if not images:
        raise InputError(f"{cache.root}: every image failed, so no codec can be calibrated on it")
    cells = {name: np.concatenate(x) for name, x in found.items()}
    return parameter_files(calibrate(form, cells, codec.spec.strides))


def created(
    out: Path, header: CacheHeader, annotations: bytes, files: dict[str, bytes]
) -> CacheHeader:
    """Return the header that is created in `out` or found there. Raises InputError, KeyMismatch."""
    refuse_foreign_folder(out)
    found = create_cache(out, header, annotations, files)
    if found.id != header.id:
        raise KeyMismatch(f"{out} holds another cache ({found.id[:12]}); choose another folder")
    return found


def write_samples(
    title: str,
    out: Path,
    header: CacheHeader,
    fill: Callable[[BackgroundWriter, Sequence[SampleId]], None],
) -> Manifest:
    """Write the shards that do not exist yet and the manifest, and return the manifest.

    fill: a function that hands the writer the samples of these shards in turn.
    """
    shards = [s for s in header.layout.shards if written_record(out, header, s.name) is None]
    samples = [sample for shard in shards for sample in header.layout.samples(shard)]
    done = 0
    with progress_line(title, len(samples)) as progress:

        def wrote(size: int) -> None:
            nonlocal done
            done += size
            progress.advance()
            progress.note(shown_rate(done / progress.seconds, "MB/s"))

        with BackgroundWriter(out, header, shards, _WAITING_SAMPLES, wrote) as writer:
            fill(writer, samples)
    manifest = seal(out, header)
    remove_leftovers(out)
    return manifest


def put_frames(
    cache: FeatureCache,
    levels: Sequence[int],
    writer: BackgroundWriter,
    samples: Sequence[SampleId],
) -> None:
    """Write samples as they are stored in a cache.

    levels: the numbers of the levels to write. Threads read ahead.
    """
    pending: deque[Future[tuple[SampleEntry, tuple[Frame, ...]]]] = deque()
    with ThreadPoolExecutor(_READING, thread_name_prefix="fdet-read") as pool:
        try:
            for sample in samples:
                pending.append(pool.submit(cache.stored, *sample))
                if len(pending) > 2 * _READING:
                    _put_stored(writer, levels, *pending.popleft().result())
            while pending:
                _put_stored(writer, levels, *pending.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


def _put_stored(
    writer: BackgroundWriter, levels: Sequence[int], entry: SampleEntry, frames: Sequence[Frame]
) -> None:
    writer.put_frames(entry, [frames[level] for level in levels] if entry.ok else ())


def _put_coded(
    cache: FeatureCache,
    source_codec: Codec,
    clipping_counts: ClippingCounts,
    writer: BackgroundWriter,
    samples: Sequence[SampleId],
) -> None:
    """Decode and re-encode samples. Raises FeatureError for values that the new codec cannot store."""
    for image_id, view in samples:
        entry = cache.entry(image_id, view)
        if not entry.ok:
            writer.put(entry)
            continue
        if cache.header.key.image_vector:
            entry = replace(entry, vector=cache.vector(image_id, view).tobytes())
        batch = load_batch(cache, [(image_id, view)])
        try:
            stored = clipping_counts.codec.encode(batch.decode(source_codec, "cpu"))
        except FeatureError as error:
            name = cache.header.layout.image(image_id).file_name
            raise FeatureError(f"image {name} (id {image_id}), view {view}, {error}", 0) from error
        clipping_counts.add(stored, batch.canvas_hw, [True])
        writer.put(entry, [x[0].numpy() for x in stored])
