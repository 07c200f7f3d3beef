import gc
import sys
import threading
import time
from contextlib import suppress

import pytest

from fdet.cache import background as background_file
from fdet.cache.background import BackgroundWriter
from fdet.cache.errors import StorageError
from fdet.cache.format.chunks import compress
from fdet.cache.reader import FeatureCache
from fdet.cache.writer import ShardWriter, create_cache, seal, written_record

from .handmade import (
    ANNOTATIONS,
    all_samples,
    assert_exact,
    ends_within,
    files_below,
    samples_of,
)


def put_all(root, header, samples, shards=None, waiting: int = 2, written=lambda _: None) -> None:
    shards = header.layout.shards if shards is None else shards
    with BackgroundWriter(root, header, shards, waiting, written) as writer:
        for entry, maps in samples:
            writer.put(entry, maps)


def everything(header) -> list:
    return [one for shard in header.layout.shards for one in samples_of(header, shard)]


def recorded(root, header) -> list[str]:
    names = [shard.name for shard in header.layout.shards]
    return [name for name in names if written_record(root, header, name) is not None]


def own_threads() -> list[threading.Thread]:
    names = ("fdet-writer", "fdet-compress")
    return [t for t in threading.enumerate() if t.name.startswith(names)]


def slow_disk(monkeypatch, seconds: float) -> None:
    real = ShardWriter.add_frames

    def slow(self, *arguments):
        time.sleep(seconds)
        real(self, *arguments)

    monkeypatch.setattr(ShardWriter, "add_frames", slow)


@pytest.mark.parametrize("waiting", [1, 100])
def test_what_is_put_is_written_as_it_would_be_in_the_foreground(tmp_path, header, whole, waiting):
    header, sizes = create_cache(tmp_path, header, ANNOTATIONS), []
    put_all(tmp_path, header, everything(header), waiting=waiting, written=sizes.append)
    seal(tmp_path, header)
    assert files_below(tmp_path) == files_below(whole.root)
    assert sizes == [sum(x.nbytes for x in maps) for _, maps in everything(header)]
    assert own_threads() == []
    cache = FeatureCache.open(tmp_path)
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


@pytest.mark.parametrize("waiting", [1, 100])
def test_frames_that_are_compressed_already_make_the_same_cache(tmp_path, header, whole, waiting):
    header, sizes = create_cache(tmp_path, header, ANNOTATIONS), []
    with BackgroundWriter(tmp_path, header, header.layout.shards, waiting, sizes.append) as writer:
        for entry, maps in everything(header):
            writer.put_frames(entry, [compress(x) for x in maps])
    seal(tmp_path, header)
    assert files_below(tmp_path) == files_below(whole.root)
    assert sum(sizes) == sum(len(compress(x).data) for _, maps in everything(header) for x in maps)


def test_failed_samples_are_written_without_maps(tmp_path, header):
    header = create_cache(tmp_path, header, ANNOTATIONS)
    put_all(
        tmp_path, header, [one for s in header.layout.shards for one in samples_of(header, s, {17})]
    )
    seal(tmp_path, header)
    cache = FeatureCache.open(tmp_path)
    assert list(cache.failed) == [17]
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


def test_compression_that_is_slow_or_out_of_order_changes_no_byte(
    tmp_path, header, whole, monkeypatch
):
    def reluctant(sample):
        time.sleep(0.02 * (sample.shape[0] == 3 and sample[0, 0, 0] > 0))
        return compress(sample)

    monkeypatch.setattr(background_file, "compress", reluctant)
    header = create_cache(tmp_path, header, ANNOTATIONS)
    put_all(tmp_path, header, everything(header), waiting=100)
    seal(tmp_path, header)
    assert files_below(tmp_path) == files_below(whole.root)


def test_an_error_of_compression_surfaces_and_leaves_no_shard(tmp_path, header, monkeypatch):
    def fails(_):
        raise MemoryError("no room")

    monkeypatch.setattr(background_file, "compress", fails)
    with pytest.raises(MemoryError, match="no room"):
        ends_within(20, lambda: put_all(tmp_path, header, everything(header)))
    assert files_below(tmp_path) == {}
    assert own_threads() == []


def test_at_most_so_many_samples_wait(tmp_path, header, monkeypatch):
    slow_disk(monkeypatch, 0.01)
    written, most = [], 0
    with BackgroundWriter(tmp_path, header, header.layout.shards, 2, written.append) as writer:
        for number, (entry, maps) in enumerate(everything(header), start=1):
            writer.put(entry, maps)
            most = max(most, number - len(written))
    assert most <= 4  # two wait, one is being written, one more is not yet counted


def test_an_error_of_the_disk_surfaces_and_ends_the_thread(tmp_path, header):
    (tmp_path / "32x32").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot write"):
        ends_within(20, lambda: put_all(tmp_path, header, everything(header)))
    assert own_threads() == []


def test_an_error_of_the_disk_at_the_last_shard_surfaces_at_the_end(tmp_path, header):
    (tmp_path / "16x48").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="16x48"):
        ends_within(20, lambda: put_all(tmp_path, header, everything(header), waiting=100))
    assert recorded(tmp_path, header) == ["32x32-0", "32x32-1"]


def test_an_error_of_the_callback_surfaces(tmp_path, header):
    def fails(_):
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        ends_within(20, lambda: put_all(tmp_path, header, everything(header), written=fails))
    assert recorded(tmp_path, header) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("waiting", [1, 2, 100])
@pytest.mark.parametrize("number", [0, 1, 7, 13])
def test_a_producer_that_fails_drops_the_shard_in_hand_and_keeps_the_finished(
    tmp_path, header, waiting, number, error
):
    taken = threading.Semaphore(0)

    def failing():
        yield from everything(header)[:number]
        # Until the thread has taken all of them, what is finished is a matter of luck.
        for _ in range(number):
            taken.acquire()
        raise error("the producer")

    def run() -> None:
        put_all(tmp_path, header, failing(), waiting=waiting, written=lambda _: taken.release())

    with pytest.raises(error, match="the producer"):
        ends_within(20, run)
    finished = ["32x32-0", "32x32-1"][: (number >= 6) + (number >= 10)]
    assert recorded(tmp_path, header) == finished
    assert not list(tmp_path.rglob(".*.scratch"))
    assert own_threads() == []


@pytest.mark.parametrize("number", range(3, 9))
def test_a_producer_that_fails_ahead_of_a_slow_disk_leaves_no_shard_with_foreign_samples(
    tmp_path, header, monkeypatch, number
):
    slow_disk(monkeypatch, 0.03)
    shards = header.layout.shards[1:]
    samples = [one for shard in shards for one in samples_of(header, shard)]

    def failing():
        yield from samples[:number]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ends_within(20, lambda: put_all(tmp_path, header, failing(), shards, waiting=2))
    monkeypatch.undo()
    header = create_cache(tmp_path, header, ANNOTATIONS)
    for shard in header.layout.shards:
        if written_record(tmp_path, header, shard.name) is None:
            put_all(tmp_path, header, samples_of(header, shard), [shard])
    seal(tmp_path, header)
    cache = FeatureCache.open(tmp_path)
    for sample in all_samples(cache):
        assert_exact(cache, *sample)


@pytest.mark.parametrize("number", [0, 1, 6, 13])
def test_too_few_samples_are_refused_instead_of_waited_for(tmp_path, header, number):
    with pytest.raises(ValueError, match="fewer samples"):
        ends_within(20, lambda: put_all(tmp_path, header, everything(header)[:number]))
    assert recorded(tmp_path, header) == ["32x32-0", "32x32-1"][: (number >= 6) + (number >= 10)]


def test_too_many_samples_are_refused(tmp_path, header):
    with BackgroundWriter(tmp_path, header, header.layout.shards[:1], 2, lambda _: None) as writer:
        for entry, maps in samples_of(header, header.layout.shards[0]):
            writer.put(entry, maps)
        writer._thread.join()
        with pytest.raises(ValueError, match="more samples than the shards hold"):
            writer.put(entry, maps)


def test_too_many_samples_are_refused_though_they_came_early(tmp_path, header):
    samples = everything(header)
    with pytest.raises(ValueError, match="more samples than the shards hold"):
        ends_within(20, lambda: put_all(tmp_path, header, [*samples, samples[-1]], waiting=100))


def test_no_shards_need_no_samples(tmp_path, header):
    ends_within(20, lambda: put_all(tmp_path, header, [], shards=()))
    assert files_below(tmp_path) == {}


class Interrupts:
    """Raises KeyboardInterrupt in this thread, before one instruction of entering or leaving the writer."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def trace(self, frame, event, argument):
        code = frame.f_code
        if code.co_filename != background_file.__file__ or code.co_name in ("put", "_put"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.seen += 1
            if self.seen == self.number:
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.slow
@pytest.mark.parametrize("waiting", [1, 100])
def test_an_interrupt_before_any_instruction_leaves_no_thread_and_no_lock(
    tmp_path, header, whole, waiting
):
    """In `__exit__` too, which is then not run to its end: what is forgotten ends by itself."""
    interrupts = Interrupts(0)
    sweep = 0
    while not sweep or interrupts.seen == interrupts.number:
        interrupts = Interrupts(1 + 5 * sweep)
        root = tmp_path / str(sweep)
        mine = create_cache(root, header, ANNOTATIONS)
        shards = mine.layout.shards[-1:]
        before = sys.gettrace()
        sys.settrace(interrupts.trace)
        try:
            with suppress(KeyboardInterrupt):
                put_all(root, mine, samples_of(mine, shards[0]), shards, waiting)
        finally:
            sys.settrace(before)
        if own_threads():
            gc.collect()
        for thread in own_threads():
            thread.join(20)
        assert own_threads() == []
        for shard in mine.layout.shards:
            if written_record(root, mine, shard.name) is None:
                put_all(root, mine, samples_of(mine, shard), [shard])
        seal(root, mine)
        assert files_below(root) == files_below(whole.root)
        sweep += 1
    assert sweep > 20
