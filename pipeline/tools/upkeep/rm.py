"""`fdet cache rm`: the deletion of what belongs to a cache, and of nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ....cache.disk.objects import ObjectPath
from ....cache.disk.publish import (
    is_leftover,
    only_writer,
    remove_files,
    remove_leftovers,
    sync_folders,
)
from ....cache.errors import InputError
from ....cache.format import header as header_file
from ....cache.format import manifest as manifest_file
from ....cache.format.header import CacheHeader
from ....cache.format.records import record_name
from ....cache.verify import file_names, shard_file_names
from .verify import verify_cache


def remove_scratch_files(root: Path) -> tuple[int, int]:
    """Remove scratch files of killed runs and files set aside, and return their number and bytes.

    Files that a running process holds are spared. Raises InputError where there is no cache.
    """
    CacheHeader.read(root)
    removed = remove_leftovers(root, aside=True)
    return len(removed), sum(size for _, size in removed)


def remove_damaged(root: Path) -> tuple[int, int]:
    """Remove every file of the damaged shards, and return the number and bytes of the files.

    The command that made the cache then makes only these again. Raises InputError where there is no cache,
    CorruptCache where the header itself is damaged.
    """
    _refuse_objects(root)
    header = CacheHeader.read(root)
    with only_writer(root, "rank-0-of-1", alone=True):
        damages = verify_cache(root).damages
        damaged = {damage.shard for damage in damages}
        shards = [shard for shard in header.layout.shards if shard.name in damaged]
        names = [name for shard in shards for name in shard_file_names(header, shard)]
        loose = {manifest_file.NAME, *header.other_files}
        names += [damage.file for damage in damages if damage.file in loose]
        if names:
            # A shard exists through its record, which goes before its data. The manifest goes first of all.
            names = list(dict.fromkeys([manifest_file.NAME, *names]))
        paths = _existing_files(root, names)
        size = sum(path.lstat().st_size for path in paths)
        remove_files(paths)
    return len(paths), size


def remove_cache(root: Path) -> tuple[int, int]:
    """Remove every file of a cache, and return their number and bytes.

    If this is killed at any point, the same command can finish it, and the one that made the cache can
    restore it. Raises InputError where there is no cache, or where other files remain (which are spared).
    """
    _refuse_objects(root)
    if _is_left_over(root):
        # A removal was killed before its last step and left this folder.
        remove_leftovers(root)
        root.rmdir()
        return 0, 0
    header = CacheHeader.read(root)
    root = root.resolve()
    with only_writer(root, "rank-0-of-1", alone=True):
        count, size = remove_scratch_files(root)
        records = [record_name(shard.name) for shard in header.layout.shards]
        names = [manifest_file.NAME, *records, *file_names(header), *header.other_files]
        paths = _existing_files(root, list(dict.fromkeys(names)))
        size += sum(path.lstat().st_size for path in [*paths, root / header_file.NAME])
        # A shard without its record is one that was never written; a record without its shard is damage.
        marks = {root / name for name in (manifest_file.NAME, *records)}
        for first in (True, False):
            for path in paths:
                if (path in marks) is first:
                    path.unlink()
            sync_folders(root)
        _remove_empty_folders(root)
        # The header goes last: without it the other files cannot be attributed to a cache.
        remove_files([root / header_file.NAME])
    if any(root.iterdir()):
        raise InputError(
            f"{root}: the cache is gone; the other files there do not belong to it and stay"
        )
    root.rmdir()
    return count + len(paths) + 1, size


def _is_left_over(root: Path) -> bool:
    """Return whether a folder has files, and none but scratch files of a killed process."""
    left = list(root.iterdir()) if root.is_dir() else []
    return bool(left) and all(is_leftover(p.name, aside=False) for p in left)


def _remove_empty_folders(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root and not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def _refuse_objects(root: Path) -> None:
    if isinstance(root, ObjectPath):
        raise InputError(f"{root}: fdet deletes nothing in object stores; their own tools do")


def _existing_files(root: Path, names: Sequence[str]) -> list[Path]:
    """Return those of the files that exist; what lies behind a linked folder is not the cache's."""
    # Path.resolve fails for a link to itself.
    root = Path(os.path.realpath(root))
    paths = [root / name for name in names]
    paths = [p for p in paths if os.path.realpath(p.parent) == str(p.parent)]
    return [path for path in paths if path.is_file() or path.is_symlink()]
