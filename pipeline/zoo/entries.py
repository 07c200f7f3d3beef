"""The entries of a zoo: runs that are listed, added and fetched.

An entry NAME is a run directory of that name; or an archive, NAME-<digest>.tar, with a card, NAME.json, which
is written last. An archive is named by its content, so a new one disturbs nobody who reads the old one.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import BinaryIO

from ...cache.disk.files import opened_below, read_below
from ...cache.disk.objects import ObjectPath
from ...cache.disk.publish import make_folder, publish_bytes, published, storage_error, sync_folders
from ...cache.errors import CorruptCache, FdetError, InputError, did_you_mean
from ..runs.info import RunInfo
from .archive import pack, unpack
from .card import MAX_CARD_BYTES, Card, card_of, checked_name, parse_card
from .places import PLACE, fetched_folder, zoo_place

log = logging.getLogger(__name__)

_CARD = ".json"
_BLOCK_BYTES = 2**23
_DIGITS = 16


def cards(zoo: Path) -> list[Card]:
    """Return the cards of all entries, by name; a warning names those that cannot be read.

    Raises StorageError where an object store does not answer.
    """
    found: list[Card] = []
    for name in sorted(_names(zoo)):
        try:
            found.append(card(zoo, name))
        except FdetError as error:
            log.warning("%s", error)
    return found


def card(zoo: Path, name: str) -> Card:
    """Return the card of an entry. Raises InputError where there is none, CorruptCache."""
    if _is_run(zoo / checked_name(name)):
        return card_of(zoo / name, name)
    names = set(_names(zoo))
    if name not in names:
        raise InputError(
            f"zoo:{name}: the zoo {zoo} has no such entry{did_you_mean(name, sorted(names))}; `fdet zoo` "
            f"lists it, and {PLACE} names another zoo"
        )
    found = parse_card(read_below(zoo, f"{name}{_CARD}", MAX_CARD_BYTES), zoo / f"{name}{_CARD}")
    if found.name != name:
        raise CorruptCache(f"{zoo / name}{_CARD}: it is the card of {found.name}")
    return found


def add(run: Path, zoo: Path, card: Card, *, replacing: bool = False) -> Card:
    """Add a run to a zoo under the name on its card, and return the card that is kept.

    Raises InputError where the name is taken, StorageError.
    """
    with TemporaryFile() as file:
        return _keep(zoo, _packed(run, card, file), file, replacing)


def add_archive(zoo: Path, card: Card, file: BinaryIO, *, replacing: bool = False) -> Card:
    """Add an archive with its card, and return the card.

    Raises CorruptCache where the archive is not the one of the card, or holds what no run has; else as `add`.
    """
    with TemporaryDirectory() as scratch:
        unpacked(file, card, Path(scratch))
    return _keep(zoo, card, file, replacing)


def archived(zoo: Path, card: Card, file: BinaryIO) -> Card:
    """Copy the archive of an entry into an empty file, and return its card. Raises CorruptCache."""
    if not card.archive_sha256:
        return _packed(zoo / card.name, card, file)
    download(zoo, card, file)
    return card


def _packed(run: Path, card: Card, file: BinaryIO) -> Card:
    """Write the archive of a run directory, and return its card with the archive's digest."""
    pack(run, file)
    return replace(card, archive_sha256=_sha256(file), size=file.tell())


def _keep(zoo: Path, card: Card, file: BinaryIO, replacing: bool) -> Card:
    if card.name in set(_names(zoo)) and not replacing:
        raise InputError(
            f"zoo:{card.name}: the zoo {zoo} has an entry of that name; choose another by --name, or give "
            "--replace"
        )
    file.seek(0)
    with published(zoo / archive_name(card), existing="keep") as target:
        shutil.copyfileobj(file, target, _BLOCK_BYTES)
    publish_bytes(zoo / f"{card.name}{_CARD}", card.to_bytes(), existing="replace")
    return card


def fetched(name: str, zoo: Path | None = None) -> Path:
    """Return a run directory with an entry of a zoo, which is fetched and checked unless it was before.

    Raises InputError where there is no such entry, CorruptCache where it is not what its card says,
    StorageError.
    """
    place = zoo_place(zoo)
    if _is_run(place / checked_name(name)):
        return place / name
    found = card(place, name)
    folder = fetched_folder() / f"{name}-{found.archive_sha256[:_DIGITS]}"
    if _is_run(folder):
        return folder
    log.info("zoo:%s: fetching %.1f MB", name, found.size / 1e6)
    make_folder(folder.parent)
    try:
        scratch = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise storage_error(folder, error) from error
    try:
        with TemporaryFile() as file:
            download(place, found, file)
            unpacked(file, found, scratch)
        sync_folders(scratch)
        if not folder.exists():  # Another process may have been faster.
            scratch.rename(folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def download(zoo: Path, card: Card, file: BinaryIO) -> None:
    """Copy the archive of an entry into a file. Raises CorruptCache where it is another one."""
    name = archive_name(card)
    with opened_below(zoo, name) as source:
        if source.size != card.size:
            raise CorruptCache(f"{zoo / name}: {source.size} bytes, its card says {card.size}")
        for offset in range(0, card.size, _BLOCK_BYTES):
            file.write(source.read_at(offset, min(_BLOCK_BYTES, card.size - offset)))


def unpacked(file: BinaryIO, card: Card, folder: Path) -> None:
    """Unpack an archive into a folder. Raises CorruptCache where it is not the one of the card."""
    if _sha256(file) != card.archive_sha256:
        raise CorruptCache(
            f"zoo:{card.name}: the archive is not the one of its card: it was damaged or altered; add the "
            "run again"
        )
    file.seek(0)
    try:
        unpack(file, folder)
    except CorruptCache as error:
        raise CorruptCache(f"zoo:{card.name}: {error}") from error
    if RunInfo.read(folder).digest != card.run:
        raise CorruptCache(f"zoo:{card.name}: the run in the archive is not the one of its card")


def archive_name(card: Card) -> str:
    """Return the name of the archive of an entry."""
    return f"{card.name}-{card.archive_sha256[:_DIGITS]}.tar"


def _names(zoo: Path) -> Iterator[str]:
    """Yield the names of all entries; nothing where there is no zoo yet."""
    try:
        paths = list(zoo.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{zoo}: not a zoo ({error.strerror})") from error
    for path in paths:
        if path.name.endswith(_CARD):
            yield path.name.removesuffix(_CARD)
        elif _is_run(path):
            yield path.name


def _is_run(path: Path) -> bool:
    return not isinstance(path, ObjectPath) and (path / "run.json").is_file()


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
