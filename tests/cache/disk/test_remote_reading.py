"""Reading a cache from an object store: what it costs in requests, and that no fault of the way is seen."""

import itertools
import os
import pickle
import re
import sys
from collections import Counter

import numpy as np
import pytest

from fdet.cache.disk import remote
from fdet.cache.disk.files import opened_below, read_below
from fdet.cache.disk.objects import located
from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, StorageError
from fdet.cache.format.header import CacheHeader
from fdet.cache.info import describe
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.copy import Part, copy

from ...conftest import extraction
from ...object_server import KEY, SECRET


@pytest.fixture
def stored(exact_cache, prefix, store_proxy):
    """The exact cache in the store."""
    copy(exact_cache, located(prefix), Part())
    store_proxy.requests.clear()
    return located(f"{prefix}")


@pytest.fixture
def hasty(monkeypatch):
    """No pauses between tries."""
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.0,) * 8)


def batches(cache):
    """Every sample, in batches of one bucket."""
    for bucket in cache.header.layout.buckets:
        ids = [image.id for image in bucket.images]
        samples = list(itertools.product(ids, range(len(cache.views))))
        yield from (samples[k : k + 5] for k in range(0, len(samples), 5))


def all_maps(cache):
    read = []
    for samples in batches(cache):
        maps = cache.empty_maps(samples[0][0], len(samples))
        placements = cache.read_into(samples, maps)
        read.append((samples, maps, placements))
    return read


def assert_same(mine, theirs):
    for (samples, maps, placements), (others, wanted, places) in zip(mine, theirs, strict=True):
        assert samples == others and placements == places
        assert all(np.array_equal(x, y) for x, y in zip(maps, wanted, strict=True))


def test_it_reads_as_from_a_folder_with_one_request_a_sample_and_level(
    stored, exact_cache, store_proxy
):
    cache, local = FeatureCache.open(stored), FeatureCache.open(exact_cache)
    wanted = all_maps(local)
    assert_same(all_maps(cache), wanted)
    warm = len(store_proxy.requests)
    assert_same(all_maps(cache), wanted)
    asked = store_proxy.requests[warm:]
    levels = len(cache.header.key.levels.levels)
    reads = sum(len(samples) for samples, _, _ in wanted) * levels
    assert 0 < len(asked) <= reads
    assert all(request.range for request in asked)
    assert cache.failed == local.failed == {}


def test_what_is_known_before_the_first_sample(stored, exact_cache, store_proxy):
    assert CacheHeader.read(stored) == CacheHeader.read(exact_cache)
    assert describe(stored) == describe(exact_cache)
    assert verify(stored).sound
    assert verify(stored).bytes == verify(exact_cache).bytes
    assert str(stored).startswith("s3://bucket/")
    assert len(FeatureCache.open(str(stored))) == 12


def test_an_opened_cache_travels_to_another_process(stored, exact_cache):
    cache = pickle.loads(pickle.dumps(FeatureCache.open(stored)))
    assert str(cache.root) == str(stored)
    mine, theirs = cache.sample(10, 1), FeatureCache.open(exact_cache).sample(10, 1)
    assert all(np.array_equal(x, y) for x, y in zip(mine.maps, theirs.maps, strict=True))


@pytest.mark.parametrize("kind", ["500", "503", "reset", "cut", "wrong"])
def test_no_fault_of_the_way_is_seen(kind, stored, exact_cache, store_proxy, hasty):
    """Every third request suffers, of each object the first time."""
    seen: Counter = Counter()

    def fault(request):
        name = (request.method, request.path, request.range)
        seen[name] += 1
        return kind if seen[name] == 1 and len(seen) % 3 == 0 else None

    store_proxy.fault = fault
    assert_same(all_maps(FeatureCache.open(stored)), all_maps(FeatureCache.open(exact_cache)))
    assert store_proxy.befallen[kind] > 10


def test_slow_answers_do_not_wait_for_each_other(stored, store_proxy):
    cache = FeatureCache.open(stored)
    samples = max(batches(cache), key=len)
    maps = cache.empty_maps(samples[0][0], len(samples))
    cache.read_into(samples, maps)
    store_proxy.fault, store_proxy.most = lambda request: "slow", 0
    cache.read_into(samples, maps)
    assert store_proxy.befallen["slow"] == len(samples) * len(maps) == 15
    assert store_proxy.most > 5


def test_bytes_that_are_wrong_twice_are_a_damaged_sample(stored, store_proxy):
    cache = FeatureCache.open(stored)
    cache.sample(10)
    store_proxy.requests.clear()
    store_proxy.fault = lambda request: "wrong" if request.range else None
    with pytest.raises(CorruptCache, match=r"s3://bucket/.*image 10, view 1.*checksum") as caught:
        cache.sample(10, 1)
    asked = Counter(request.range for request in store_proxy.requests)
    assert max(asked.values()) == 2
    assert_no_credentials(str(caught.value))


def test_a_store_that_fails_for_good_is_one_line_without_credentials(stored, store_proxy, hasty):
    cache = FeatureCache.open(stored)
    cache.sample(10)
    store_proxy.fault = lambda request: "503"
    with pytest.raises(StorageError, match=r"cannot read s3://bucket/.*HTTP 503") as caught:
        cache.sample(10, 1)
    assert_no_credentials(str(caught.value))
    assert caught.value.__cause__ is None or KEY not in str(caught.value.__cause__)


def assert_no_credentials(text):
    assert KEY not in text and SECRET not in text


def test_what_is_not_there(prefix, stored):
    with pytest.raises(InputError, match=r"is not a cache: it has no fdet\.json"):
        FeatureCache.open(f"{prefix}/nothing")
    key = next(name for name in stored.names() if "/c." in name)
    delete(stored / key)
    with pytest.raises(CorruptCache, match="No such file"):
        all_maps(FeatureCache.open(stored))
    delete(stored / "manifest.json")
    with pytest.raises(IncompleteCache, match="shards are written"):
        FeatureCache.open(stored)


def delete(path):
    import obstore

    obstore.delete(path.remote._store, path.key)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_and_does_not_hang(stored):
    cache = FeatureCache.open(stored)
    cache.sample(10)
    child = os.fork()
    if not child:
        try:
            cache.sample(10, 1)
        except StorageError as error:
            os._exit(7 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_an_hdf5_cache_is_refused(dataset, prefix, tmp_path):
    extract(extraction(dataset, tmp_path / "h", store="hdf5", limit=2))
    with pytest.raises(InputError, match="convert CACHE OUT --store zarr"):
        copy(tmp_path / "h", located(prefix), Part())
    with pytest.raises(InputError, match="convert CACHE OUT --store zarr"):
        copy(tmp_path / "h", located(prefix), Part(limit=1))
    assert located(prefix).names() == []


def test_without_obstore_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=re.escape("pip install 'frozendet[objects]'")):
        FeatureCache.open("s3://never-opened-before/x")


@pytest.mark.parametrize("name", ["../other/fdet.json", "/fdet.json", "a//b", ""])
def test_no_name_leaves_the_prefix(name, prefix, store_proxy):
    for read in (lambda: read_below(located(prefix), name, 100), lambda: opened(prefix, name)):
        with pytest.raises(CorruptCache, match="leaves the prefix"):
            read()
    assert not store_proxy.requests


def opened(prefix, name):
    with opened_below(located(prefix), name) as file:
        return file


def test_what_takes_a_folder_only_says_so(prefix):
    with pytest.raises(InputError, match="takes a folder only; get one by `fdet cache copy s3://"):
        (located(prefix) / "x").read_bytes()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host/x", "known: s3://, gs://, az://, file://"),
        ("s3://key:secret@bucket/x", "credentials and endpoints are taken from the environment"),
        ("s3://bucket/x?region=a", "credentials and endpoints are taken from the environment"),
        ("s3://", "expected s3://bucket/prefix"),
    ],
)
def test_other_urls_are_refused(url, said):
    with pytest.raises(InputError, match=said) as caught:
        located(url)
    assert "secret" not in str(caught.value)


def test_a_folder_by_its_url(exact_cache):
    assert located(f"file://{exact_cache}") == exact_cache
    assert located(exact_cache) is exact_cache
    assert len(FeatureCache.open(f"file://{exact_cache}")) == 12
