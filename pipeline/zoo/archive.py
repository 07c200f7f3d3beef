"""The archive of a run: a tar file of all that detection and further training need, and of nothing else.

It is the same for the same run, byte by byte. It holds data alone: JSON, TOML, and arrays of numbers.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...cache.disk.files import is_below
from ...cache.disk.publish import published
from ...cache.errors import CorruptCache
from ..runs.position import BEST

_BLOCK_BYTES = 2**20
# options.json and curve.png are left out: the former has paths of the machine that trained.
_NAMES = re.compile(
    r"run\.json|config\.toml|metrics\.jsonl|before\.json|"
    + re.escape(BEST)
    + r"|evaluation-[\w.+-]+\.json|(second/)?codec/([\w.+-]+/){1,4}[\w.+-]+\.npy"
)
_FIRST = "run.json"


def pack(run: Path, file: BinaryIO) -> None:
    """Write the archive of a run directory to a file."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _members(run):
            member = tarfile.TarInfo(path.relative_to(run).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                archive.addfile(member, source)


def unpack(file: BinaryIO, folder: Path) -> None:
    """Write the files of an archive into a folder.

    Raises CorruptCache for an archive with anything that `pack` does not put into one, StorageError.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _extract(archive, member, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CorruptCache(f"the archive cannot be read ({error})") from error


def _members(run: Path) -> Iterator[Path]:
    """Yield the files of a run that an archive has, in order; run.json is the first."""
    names = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    kept = sorted(name for name in names if _NAMES.fullmatch(name))
    yield from (run / name for name in sorted(kept, key=lambda name: name != _FIRST))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not regular or not _NAMES.fullmatch(member.name) or not is_below(member.name):
        raise CorruptCache(f"the archive has {member.name!r}, which is no file of a run")
    source = archive.extractfile(member)
    assert source is not None
    with published(folder / member.name) as target:
        while block := source.read(_BLOCK_BYTES):
            target.write(block)
