"""The check of every byte of a cache against what was committed, naming each damaged file and sample."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .codecs.calibration import parameters_of, read_parameter_files
from .disk.files import FileEntry, OpenFile, is_there, opened_below
from .disk.objects import ObjectPath, OpenObject
from .disk.publish import is_leftover, leftovers
from .errors import CorruptCache, shown
from .format import header as header_file
from .format import manifest as manifest_file
from .format.chunks import DamagedFrame, check_whole_frame, compress_bound
from .format.content import digest_of_images, digest_of_parts, files_of
from .format.header import CacheHeader
from .format.manifest import ForeignManifest, Manifest
from .format.records import (
    SampleTable,
    ShardRecord,
    read_record,
    read_samples,
    record_name,
    samples_name,
)
from .format.vectors import read_vectors, vectors_name
from .layout import Shard
from .stores import store_of

_BLOCK_BYTES = 2**21


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage: the file below the root, the reason, and the samples concerned as far as known."""

    file: str
    why: str
    shard: str = ""
    level: str = ""
    image_id: int | None = None
    view: int = 0

    def __str__(self) -> str:
        of = [f"shard {self.shard}"] if self.shard else []
        of += [f"level {self.level}"] if self.level else []
        of += [f"image {self.image_id}, view {self.view}"] if self.image_id is not None else []
        text = f"{self.file}: {self.why}" + (f" ({', '.join(of)})" if of else "")
        return shown(text.replace("\n", "\\n"))


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check.

    damages: all that is wrong. missing: the number of shards that are not written yet. bytes: the number
    of bytes that were read. leftovers: the files that killed processes left, and those set aside.
    """

    damages: tuple[Damage, ...]
    missing: int
    bytes: int
    leftovers: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.damages and not self.missing


class _File(NamedTuple):
    """A file to read, and the shard that it belongs to."""

    name: str
    entry: FileEntry
    shard: Shard | None = None
    table: SampleTable | None = None


def verify(root: Path, advance: Callable[[int, int], None] | None = None) -> Verification:
    """Read every file of a cache, finished or not, in as many threads as there are processors.

    advance: called with (bytes done, bytes in all). Raises InputError where there is no cache.
    """
    damages: list[Damage] = []
    manifest = None
    try:
        header = CacheHeader.read(root)
        store_of(header.store)
        manifest = Manifest.read(root, header)
    except CorruptCache as error:
        damages.append(_damage(root, error))
        if isinstance(error, ForeignManifest):
            damages.append(Damage(header_file.NAME, "it or the manifest is of another cache"))
        if {damage.file for damage in damages} != {manifest_file.NAME}:
            # Compared with the wrong header, every sound shard would count as foreign.
            return Verification(tuple(damages), 0, 0, ())
    files = [_File(name, entry) for name, entry in header.other_files.items()]
    if manifest is not None:
        damages += _digest_damages(root, header, manifest)
    missing: list[Shard] = []
    unfinished = manifest is None and not damages
    for shard in header.layout.shards:
        if unfinished and not is_there(root / record_name(shard.name)):
            missing.append(shard)
        else:
            files += _shard_files(root, header, manifest, shard, damages)
    if unfinished and not missing and not damages:
        why = "missing, although every shard is there; repeat the command that made the cache"
        damages.append(Damage(manifest_file.NAME, why))
    total, done = sum(file.entry.size for file in files), 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for file, found in zip(files, pool.map(partial(_check, root, header), files), strict=True):
            damages += found
            done += file.entry.size
            if advance:
                advance(done, total)
    if not any(damage.file.startswith("codec/") for damage in damages):
        damages += _codec_damages(root, header)
    loose = {path.relative_to(root).as_posix() for path in leftovers(root, aside=True)}
    damages += _foreign_files(root, header)
    return Verification(tuple(dict.fromkeys(damages)), len(missing), done, tuple(sorted(loose)))


def _digest_damages(root: Path, header: CacheHeader, manifest: Manifest) -> list[Damage]:
    """Check that the digests of image files in sound records add up to the manifest's."""
    parts = []
    for name, sha256 in manifest.records.items():
        try:
            parts.append(read_record(root, header.id, name, sha256).images)
        except CorruptCache:  # which is reported elsewhere
            return []
    expected = digest_of_parts(parts) if all(parts) else ""
    if manifest.images in ("", expected):
        return []
    return [Damage(manifest_file.NAME, "its digest of the image files is not its records'")]


def _codec_damages(root: Path, header: CacheHeader) -> list[Damage]:
    """Check that sound codec files are those that the key names, and can be used."""
    levels = header.key.levels
    try:
        files = read_parameter_files(root, header.form, levels, header.key.calibration)
        parameters_of(root, files, header.form, levels)
    except CorruptCache as error:
        return [_damage(root, error)]
    return []


def _shard_files(
    root: Path,
    header: CacheHeader,
    manifest: Manifest | None,
    shard: Shard,
    damages: list[Damage],
) -> list[_File]:
    """Return the files that a shard's record names and that are still to be read.

    What is wrong with the record and with the files that are read here goes to `damages`.
    """
    sha256 = manifest.records[shard.name] if manifest else ""
    try:
        record = read_record(root, header.id, shard.name, sha256)
    except CorruptCache as error:
        damages.append(_damage(root, error, shard))
        return []
    table = _sample_table(root, header, shard, record, damages)
    expected = set(shard_file_names(header, shard)) - {record_name(shard.name)}
    if set(record.files) != expected:
        why = f"it names other files than {', '.join(sorted(expected))}"
        damages.append(Damage(record_name(shard.name), why, shard.name))
    read = set() if table is not None else {samples_name(shard.name)}
    if table is not None and header.key.image_vector:
        try:
            read_vectors(root, record, table.ok, header.key.image_vector)
        except CorruptCache as error:
            damages.append(_damage(root, error, shard))
            read.add(vectors_name(shard.name))
    return [
        _File(name, entry, shard, table) for name, entry in record.files.items() if name not in read
    ]


def _sample_table(
    root: Path, header: CacheHeader, shard: Shard, record: ShardRecord, damages: list[Damage]
) -> SampleTable | None:
    """Return the table of a shard's samples, None where it is damaged; what is wrong goes to `damages`."""
    try:
        slots = len(shard.images) * len(header.layout.views)
        table = read_samples(root, record, len(header.key.levels.levels), slots)
    except CorruptCache as error:
        damages.append(_damage(root, error, shard))
        return None
    if table.samples != header.layout.samples(shard):
        damages.append(Damage(samples_name(shard.name), "it names other samples", shard.name))
        return None
    if record.images not in ("", digest_of_images(files_of(table))):
        why = "its digest of the image files is not that of its samples table"
        damages.append(Damage(record_name(shard.name), why, shard.name))
    return table


def file_names(header: CacheHeader) -> list[str]:
    """Return the names of all files of all shards of a cache, written or not."""
    return [name for shard in header.layout.shards for name in shard_file_names(header, shard)]


def shard_file_names(header: CacheHeader, shard: Shard) -> list[str]:
    """Return the names of all files of a shard, its record first."""
    store = store_of(header.store)
    levels = dict.fromkeys(store.level_file(shard, level) for level in header.key.levels.names)
    vectors = [vectors_name(shard.name)] if header.key.image_vector else []
    return [record_name(shard.name), samples_name(shard.name), *levels, *vectors]


def _check(root: Path, header: CacheHeader, file: _File) -> list[Damage]:
    """Check a file, and once more where an object store may have sent it damaged."""
    damages = _damages(root, header, file)
    return _damages(root, header, file) if damages and isinstance(root, ObjectPath) else damages


def _damages(root: Path, header: CacheHeader, file: _File) -> list[Damage]:
    """Read a whole file and each frame in it; return what is wrong, and which samples that concerns."""
    shard = file.shard.name if file.shard else ""
    try:
        with opened_below(root, file.name) as source:
            size = source.size
            same = size == file.entry.size and _sha256(source) == file.entry.sha256
            # Even in a sound file: another program may have written a table that points elsewhere.
            found = _damaged_samples(header, file, source) if file.table else []
            if same:
                return found
    except CorruptCache as error:
        return [_damage(root, error, file.shard)]
    except OSError as error:
        return [Damage(file.name, error.strerror or str(error), shard)]
    if size != file.entry.size:
        found.insert(0, Damage(file.name, f"{size} bytes, expected {file.entry.size}", shard))
    return found or [Damage(file.name, "its bytes are not those that were committed", shard)]


def _sha256(source: OpenFile | OpenObject) -> str:
    hashed, offset = hashlib.sha256(), 0
    while block := source.read_at(offset, _BLOCK_BYTES):
        hashed.update(block)
        offset += len(block)
    return hashed.hexdigest()


def _damaged_samples(
    header: CacheHeader, file: _File, source: OpenFile | OpenObject
) -> list[Damage]:
    assert file.table is not None and file.shard is not None
    store, found = store_of(header.store), []
    for number, level in enumerate(header.key.levels.names):
        if store.level_file(file.shard, level) != file.name:
            continue
        spec = header.key.levels.levels[number]
        raw_bytes = header.raw_bytes(spec, file.shard.bucket)
        bound = compress_bound(raw_bytes)
        for slot, (image_id, view) in enumerate(file.table.samples):
            if not file.table.ok[slot]:
                continue
            offset, length, crc32c = file.table.chunks[slot][number]
            try:
                if length > bound:
                    raise DamagedFrame(f"no frame of such a map has {length} bytes")
                check_whole_frame(source.read_at(offset, length), length, crc32c, raw_bytes)
            except (DamagedFrame, OSError, OverflowError) as error:
                found.append(Damage(file.name, str(error), file.shard.name, level, image_id, view))
    return found


def _foreign_files(root: Path, header: CacheHeader) -> list[Damage]:
    """Return a damage for each file that the cache does not name. Folders do not count."""
    expected = {header_file.NAME, manifest_file.NAME, *header.other_files, *file_names(header)}
    names = root.names() if isinstance(root, ObjectPath) else _names_below(root)
    found = [Damage(name, "not a file of this cache") for name in names if name not in expected]
    return sorted(found, key=lambda damage: damage.file)


def _names_below(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        links = [name for name in folders if os.path.islink(here / name)]  # noqa: PTH114
        left = [name for name in files if not is_leftover(name)]
        yield from ((here / name).relative_to(root).as_posix() for name in [*left, *links])


def _damage(root: Path, error: CorruptCache, shard: Shard | None = None) -> Damage:
    """Return the damage that an error describes, whose message begins with the file."""
    name, _, why = str(error).removeprefix(f"{root}/").partition(": ")
    return Damage(name, why, shard.name if shard else "")
