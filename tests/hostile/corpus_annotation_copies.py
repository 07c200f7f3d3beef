"""annotations.json.zst: bombs, and things that are no COCO file; all digests fit."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fdet.cache.format.annotation_copy import MAX_BYTES, read_annotations
from fdet.cache.format.header import CacheHeader
from fdet.pipeline.dataset.coco.reading import parse_annotations

from ..cache.handmade import ANNOTATIONS
from .cache_attempts import REFUSALS, roots
from .case import Case, Thunk
from .corpus_shards import compressed, declaring, skippable, undeclared, zeros
from .forging import both_forged, forged, reseal


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """What training does: decompress, and parse."""
    for root in roots(folder):
        yield f"train on {root.name}", partial(_parsed, root)


def _parsed(root: Path) -> None:
    parse_annotations(read_annotations(root, CacheHeader.read(root)), f"{root}'s annotations")


def copy(name: str, *contents: bytes | Callable[[], bytes], refused: bool = True) -> Case:
    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            root = forged(folder, "hdf5", f"{k}.fdet")
            data = given if isinstance(given, bytes) else given()
            (root / "annotations.json.zst").write_bytes(data)
            reseal(root)

    return Case(f"annotation copy: {name}", prepare, attempts, REFUSALS, refused)


def text(name: str, *contents: bytes) -> Case:
    return copy(name, *map(compressed, contents))


def _sparse(size: int) -> Case:
    def prepare(folder: Path) -> None:
        for root in both_forged(folder):
            os.truncate(root / "annotations.json.zst", size)
            reseal(root)

    return Case(f"annotation copy: {size} bytes, sparse", prepare, attempts, REFUSALS)


def _coco(**changes: object) -> bytes:
    good = {"images": [], "annotations": [], "categories": []}
    return json.dumps({**good, **changes}).encode()


CASES = [
    copy(
        "declares 100 GB", declaring(100 * 10**9), declaring(100 * 10**9, compressed(ANNOTATIONS))
    ),
    copy(
        "declares as much as it may",
        declaring(MAX_BYTES),
        declaring(MAX_BYTES - 1, compressed(ANNOTATIONS)),
    ),
    copy("declares all that 64 bits can", declaring(2**64 - 1), declaring(2**63)),
    copy("a gigabyte of zeros", lambda: zeros(2**30)),
    copy("a gigabyte of zeros, undeclared", lambda: zeros(2**30, declare=False)),
    copy("undeclared", undeclared(ANNOTATIONS)),
    copy("declares less than it holds", lambda: declaring(10, zeros(2**28))),
    copy("skippable frames", skippable(b""), skippable(ANNOTATIONS) + compressed(ANNOTATIONS)),
    copy("not zstd", b"", b"\0" * 100, ANNOTATIONS, b"\x1f\x8b\x08" + bytes(20)),
    copy("cut", compressed(ANNOTATIONS)[:-1], compressed(ANNOTATIONS)[:8]),
    text("nested 100,000 deep", b"[" * 100_000 + b"]" * 100_000, b'{"images":' * 50_000),
    text("not JSON", b"", b"\0", b"hello", b"\xff\xfe", b"{", b'{"images": NaN'),
    text("another type", b"[]", b"1", b'"images"', b"null", b"[[]]"),
    text("empty lists", _coco()),
    text(
        "fields of other types",
        *(
            _coco(**{n: v})
            for n in ("images", "annotations", "categories")
            for v in (None, {}, "", 5, [1], [None], [[]])
        ),
    ),
    _sparse(2**30),
    _sparse(MAX_BYTES + 1),
]
