"""The lines of `fdet cache diff`: the inputs in which two caches differ, and what that forbids."""

from __future__ import annotations

from pathlib import Path

from .format.content import image_files
from .format.header import CacheHeader
from .wording import counted
from .writer import written_records


def differences(first: Path, second: Path) -> list[str]:
    """Return one line per difference, the key's fields first; none where the inputs are the same.

    Raises InputError, CorruptCache.
    """
    mine, theirs = CacheHeader.read(first), CacheHeader.read(second)
    fatal = {op: _fatal(mine, theirs, op) for op in ("pair", "reuse")}
    lines = [
        f"{d.field}: {d.mine} | {d.theirs}  ({_forbids(d.field, fatal)})"
        for d in mine.key.explain(theirs.key, "resume")
    ]
    if mine.store != theirs.store:
        lines.append(f"store: {mine.store} | {theirs.store}  (`fdet cache convert` changes it)")
    here, there = ({i.id: i for i in h.layout.images} for h in (mine, theirs))
    only = (set(here) - set(there), set(there) - set(here))
    others = [i for i in set(here) & set(there) if here[i] != there[i]]
    if any(only):
        lines.append(f"images: {len(only[0])} only in the first, {len(only[1])} only in the second")
    if others:
        lines.append(
            f"images: {counted(len(others), 'id names', 'ids name')} another file or size, e.g. {min(others)}"
        )
    lines += _of_files(first, mine, second, theirs)
    if mine.layout.buckets != theirs.layout.buckets and not any(only) and not others:
        lines.append("layout: the same images in another order, or in shards of another size")
    return lines


def _of_files(first: Path, mine: CacheHeader, second: Path, theirs: CacheHeader) -> list[str]:
    """Return a line if images in both caches had different files at extraction.

    Only shards that are already written are compared.
    """
    here, there = (
        image_files(root, header, written_records(root, header).values())
        for root, header in ((first, mine), (second, theirs))
    )
    edited = [k for k in here.keys() & there.keys() if here[k] != there[k]]
    if not edited:
        return []
    name = mine.layout.image(min(edited)).file_name
    return [
        f"image files: {counted(len(edited), 'differs', 'differ')}, e.g. id {min(edited)} ({name})  "
        "(features cannot be taken over from one to the other)"
    ]


def _fatal(mine: CacheHeader, theirs: CacheHeader, operation: str) -> set[str]:
    assert operation in ("pair", "reuse")
    found = mine.key.explain(theirs.key, operation)  # type: ignore[arg-type]
    return {d.field for d in found if d.fatal}


def _forbids(field: str, fatal: dict[str, set[str]]) -> str:
    if field in fatal["pair"]:
        return "do not pair: a head trained on one cannot be used on the other"
    if field in fatal["reuse"]:
        return "they pair; features cannot be taken over from one to the other"
    return "they pair; only the bytes on the disk may differ"
