"""The command that the accidents befall: what `fdet extract` does with the disk, without a backbone."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fdet.cache import background
from fdet.cache.background import BackgroundWriter
from fdet.cache.codecs.calibration import calibration_digest
from fdet.cache.disk.publish import only_writer, remove_leftovers
from fdet.cache.format.header import CacheHeader
from fdet.cache.layout import Bucket, ImageEntry, Layout, Shard
from fdet.cache.writer import create_cache, remove_shard, seal, written_record, written_records

from ..handmade import ANNOTATIONS, VECTOR, learnt, make_header, make_key, samples_of
from .tracer import Report

SEALED = "sealed"


def single_header(store: str, shards: int, codec: str = "fp32") -> CacheHeader:
    """One bucket, one view, one image a shard, with vectors."""
    images = tuple(ImageEntry(5 + 3 * k, f"{k}.png", (16, 16)) for k in range(shards))
    layout = Layout(("plain",), (Bucket((16, 16), 1, images),))
    digest = calibration_digest(learnt(codec))
    key = make_key(codec=codec, calibration=digest, views=("plain",), image_vector=VECTOR)
    return CacheHeader(key, layout, {}, store)


HEADERS: dict[str, Callable[[str], CacheHeader]] = {
    "handmade": lambda store: make_header(store=store),
    "two shards": lambda store: single_header(store, 2),
    "two coded shards": lambda store: single_header(store, 2, "int8"),
    "eight shards": lambda store: single_header(store, 8),
}


def write_cache(
    root: Path,
    header: CacheHeader,
    report: Report,
    rank: int = 0,
    world: int = 1,
    failed: Iterable[int] = (),
    retry: bool = False,
    forgetful: bool = False,
) -> None:
    """Begin, go on with, or finish a cache; `retry` takes back the shards with failed samples, a
    `forgetful` one does not know what the codec has learnt.

    Reports "begun S", "written S" (acknowledged from then on), "retracted S" and SEALED.
    """
    with only_writer(root, f"rank-{rank}-of-{world}"):
        files = {} if forgetful else learnt(header.key.codec)
        header = create_cache(root, header, ANNOTATIONS, files)
        own = [shard for shard in header.layout.shards if shard.number % world == rank]
        todo = [shard for shard in own if _is_to_do(root, header, shard, retry, report)]
        with (
            _reporting(report),
            BackgroundWriter(root, header, todo, 4, lambda _: None) as writer,
        ):
            for shard in todo:
                for entry, maps in samples_of(header, shard, failed):
                    writer.put(entry, maps)
        for shard in own:
            if shard not in todo:
                report(f"written {shard.name}")
        if len(written_records(root, header)) == len(header.layout.shards):
            seal(root, header)
            report(SEALED)
            remove_leftovers(root)


def _is_to_do(root: Path, header: CacheHeader, shard: Shard, retry: bool, report: Report) -> bool:
    record = written_record(root, header, shard.name)
    if record is not None and retry and record.failed:
        report(f"retracted {shard.name}")
        remove_shard(root, record)
        return True
    return record is None


@contextmanager
def _reporting(report: Report) -> Iterator[None]:
    """Report from the writing thread, the moment that a shard's block has ended."""
    real = background.shard_writer

    @contextmanager
    def reporting(root, header, shard):
        report(f"begun {shard.name}")
        with real(root, header, shard) as writer:
            yield writer
        report(f"written {shard.name}")

    background.shard_writer = reporting
    try:
        yield
    finally:
        background.shard_writer = real


def acknowledged(reports: Iterable[str]) -> set[str]:
    """The shards whose loss would be a broken promise, and SEALED."""
    promised: set[str] = set()
    for text in reports:
        what, _, shard = text.partition(" ")
        if what == SEALED:
            promised.add(SEALED)
        elif what == "written":
            promised.add(shard)
        elif what == "retracted":
            promised -= {shard, SEALED}
    return promised
