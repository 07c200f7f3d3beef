"""Writing a cache into an object store: the same bytes, one writer a name, credentials nowhere."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from fdet.cache.disk import objects, remote
from fdet.cache.disk.objects import located
from fdet.cache.disk.publish import publish_bytes, published
from fdet.cache.errors import InputError, KeyMismatch, StorageError
from fdet.cache.verify import verify
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.upkeep.copy import Part, copy
from fdet.pipeline.tools.upkeep.rm import remove_cache, remove_damaged

from ....object_server import BUCKET, KEY, SECRET
from ...quick import quick, tree


@pytest.fixture
def zarr(quick_caches):
    return quick_caches["zarr"]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """No pauses between tries."""
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.0,) * 4)


def objects_of(place):
    """As `tree` of a folder."""
    return {name: (place / name).remote.read((place / name).key, 2**30) for name in place.names()}


def test_there_and_back_again(zarr, prefix, tmp_path, store_proxy):
    place = located(prefix)
    copy(zarr, place, Part())
    assert objects_of(place) == tree(zarr)
    copy(place, tmp_path / "c", Part())
    assert tree(tmp_path / "c") == tree(zarr)
    puts = [request for request in store_proxy.requests if request.method == "PUT"]
    assert len(puts) == len(tree(zarr))
    assert all(request.conditional for request in puts)
    order = [request.path.rpartition(f"{place.key}/")[2] for request in puts]
    assert order[0] == "fdet.json" and order[-1] == "manifest.json"
    for k in range(4):
        record = order.index(f"commits/64x64-{k}.json")
        data = [f"64x64/{level}/c.{k}.0.0.0" for level in ("c1", "c2")]
        assert max(map(order.index, [*data, f"samples/64x64-{k}.npy"])) < record


def test_a_part_of_it(zarr, prefix, tmp_path):
    copy(zarr, located(prefix), Part(limit=5, levels=("c2",)))
    copy(zarr, tmp_path / "c", Part(limit=5, levels=("c2",)))
    assert objects_of(located(prefix)) == tree(tmp_path / "c")
    copy(located(prefix), tmp_path / "d", Part(limit=2))
    assert verify(tmp_path / "d").sound


def test_an_extraction_writes_there_too(zarr, dataset, prefix, passes):
    place = located(prefix)
    config = quick(dataset, place, store="zarr")
    assert extract(config).written == 24
    assert objects_of(place) == tree(zarr)
    passes.clear()
    assert extract(config).written == 0
    assert not passes


def test_what_is_finished_is_not_sent_again(zarr, prefix, store_proxy):
    place = located(prefix)
    store_proxy.fault = lambda r: "503" if r.path.endswith("samples/64x64-2.npy") else None
    with pytest.raises(StorageError, match="HTTP 503") as caught:
        copy(zarr, place, Part())
    assert KEY not in str(caught.value) and SECRET not in str(caught.value)
    done = {n for n in place.names() if n.startswith("commits/")}
    assert "commits/64x64-2.json" not in done and "manifest.json" not in place.names()
    store_proxy.fault = lambda request: None
    store_proxy.requests.clear()
    copy(zarr, place, Part())
    assert objects_of(place) == tree(zarr)
    again = [r.path for r in store_proxy.requests if r.method == "PUT" and "/commits/" in r.path]
    assert len(again) == 4 - len(done)


@pytest.mark.parametrize("kind", ["500", "503", "reset", "cut"])
def test_faults_on_the_way_there_are_not_seen(kind, zarr, prefix, store_proxy):
    """A put may have happened before its answer was lost."""
    seen = set()

    def fault(request):
        new = (request.method, request.path) not in seen
        seen.add((request.method, request.path))
        return kind if new and len(seen) % 2 else None

    store_proxy.fault = fault
    copy(zarr, located(prefix), Part())
    store_proxy.fault = lambda request: None
    assert objects_of(located(prefix)) == tree(zarr)
    assert store_proxy.befallen[kind] > 5


def test_wrong_bytes_on_the_way_back_are_asked_for_again(zarr, prefix, store_proxy, tmp_path):
    copy(zarr, located(prefix), Part())
    seen = set()

    def fault(request):
        new = request.method == "GET" and request.path not in seen
        if new:
            seen.add(request.path)
        return "wrong" if new and not request.path.endswith(f"/{BUCKET}") else None

    store_proxy.fault = fault
    copy(located(prefix), tmp_path / "c", Part())
    assert tree(tmp_path / "c") == tree(zarr)
    assert store_proxy.befallen["wrong"] > 10


def together(store_proxy, name, *calls):
    """Run them at once; none puts `name` before all have come so far. What each raised."""
    barrier = threading.Barrier(len(calls))
    met = []

    def fault(request):
        if request.method == "PUT" and request.path.endswith(name) and len(met) < len(calls):
            met.append(request)
            barrier.wait(30)

    def error_of(call):
        try:
            call()
        except Exception as error:
            return error
        return None

    store_proxy.fault = fault
    with ThreadPoolExecutor(len(calls)) as pool:
        errors = list(pool.map(error_of, calls))
    assert len(met) == len(calls), "they did not race"
    return errors


def test_of_two_writers_of_different_caches_one_loses(zarr, dataset, prefix, store_proxy, tmp_path):
    extract(quick(dataset, tmp_path / "other", codec="fp16", store="zarr"))
    place = located(prefix)
    sources = [zarr, tmp_path / "other"]
    calls = [lambda s=source: copy(s, place, Part()) for source in sources]
    errors = together(store_proxy, "/fdet.json", *calls)
    lost = [error for error in errors if error is not None]
    assert [type(error) for error in lost] == [KeyMismatch]
    assert "holds another cache" in str(lost[0])
    assert objects_of(place) == tree(sources[errors.index(None)])


@pytest.mark.parametrize("name", ["/fdet.json", "/commits/64x64-1.json", "/manifest.json"])
def test_two_writers_of_one_cache_both_end_well(name, zarr, prefix, store_proxy):
    place = located(prefix)
    calls = [lambda: copy(zarr, place, Part())] * 2
    assert together(store_proxy, name, *calls) == [None, None]
    assert objects_of(place) == tree(zarr)


def test_a_name_is_taken_once(prefix):
    path = located(prefix) / "record"
    publish_bytes(path, b"one")
    publish_bytes(path, b"one")
    publish_bytes(path, b"two", existing="keep")
    with pytest.raises(StorageError, match=r"holds other bytes .* another writer was faster"):
        publish_bytes(path, b"two")
    assert path.remote.read(path.key, 10) == b"one"
    publish_bytes(path, b"two", existing="replace")
    assert path.remote.read(path.key, 10) == b"two"


def test_a_block_that_raises_leaves_nothing(prefix):
    path = located(prefix) / "data"
    with pytest.raises(ZeroDivisionError), published(path) as file:
        file.write(b"half"[: 1 // 0])
    assert not path.exists()


def test_large_files_go_up_in_parts(prefix, store_proxy, monkeypatch):
    monkeypatch.setattr(objects, "SINGLE_PUT_BYTES", 2**20)
    path, data = located(prefix) / "large", bytes(range(256)) * 2**16
    seen = set()

    def fault(request):
        new = request.method == "PUT" and request.path not in seen
        seen.add(request.path)
        return "503" if new else None

    store_proxy.fault = fault
    for _ in range(2):
        publish_bytes(path, data)
    assert [r.method for r in store_proxy.requests].count("POST") == 2, "begun and completed"
    assert path.remote.read(path.key, 2**30) == data
    with pytest.raises(StorageError, match="holds other bytes"):
        publish_bytes(path, data[1:])


def altered(name, times):
    """Of what is sent under a name, so many times."""
    left = [times]

    def fault(request):
        if request.method != "PUT" or not request.path.endswith(name) or not left[0]:
            return None
        left[0] -= 1
        return "altered"

    return fault


@pytest.mark.parametrize("name", ["/c.1.0.0.0", "/fdet.json", "/64x64-2.npy", "/manifest.json"])
@pytest.mark.parametrize("reported", [True, False])
def test_a_store_that_looks_at_no_checksum_is_found_out(
    name, reported, zarr, prefix, store_proxy, monkeypatch
):
    """By the ETag that it reports, and where that says nothing by reading back."""
    if not reported:
        monkeypatch.setattr(remote, "_tag", lambda result: "")
    place = located(prefix)
    store_proxy.fault = altered(name, 1)
    copy(zarr, place, Part())
    assert store_proxy.befallen["altered"] == 1
    back = store_proxy.count("GET", "/c.0.0.0.0")
    assert (back > 0) is not reported
    assert objects_of(place) == tree(zarr)


def test_a_store_that_keeps_no_bytes_as_they_are_is_told(zarr, prefix, store_proxy):
    store_proxy.fault = altered("/c.1.0.0.0", 1000)
    with pytest.raises(
        StorageError, match=r"c\.1\.0\.0\.0: the store has other bytes than it was sent"
    ):
        copy(zarr, located(prefix), Part())
    assert not (located(prefix) / "manifest.json").exists()


def test_parts_are_held_against_what_the_store_reports(prefix, store_proxy, monkeypatch):
    monkeypatch.setattr(objects, "SINGLE_PUT_BYTES", 1000)
    monkeypatch.setattr(remote, "_PART_BYTES", 5 * 2**20)
    data = bytes(range(256)) * 2**15 * 2
    publish_bytes(located(prefix) / "large", data)
    assert store_proxy.count("GET", "/large") == 0, "its ETag is that of the parts"
    left = [1]

    def once(request):
        if request.method == "PUT" and left[0]:
            left[0] = 0
            return "altered"
        return None

    store_proxy.fault = once
    publish_bytes(located(prefix) / "other", data)
    assert store_proxy.befallen["altered"] == 1
    assert located(prefix).remote.read((located(prefix) / "other").key, 2**30) == data


def test_deleting_is_left_to_the_store(zarr, prefix):
    copy(zarr, located(prefix), Part())
    for remove in (remove_cache, remove_damaged):
        with pytest.raises(InputError, match="deletes nothing in object stores"):
            remove(located(prefix))
    assert objects_of(located(prefix)) == tree(zarr)


def test_credentials_that_the_store_refuses(zarr, prefix, store_proxy):
    store_proxy.fault = lambda request: "403"
    with pytest.raises(StorageError, match="refuses these credentials") as caught:
        copy(zarr, located(prefix), Part())
    assert KEY not in str(caught.value) and SECRET not in str(caught.value)


@pytest.mark.parametrize("fault", ["403", "503"])
def test_what_a_store_refuses_is_one_line_in_a_shell(fault, prefix, store_proxy):
    store_proxy.fault = lambda request: fault
    result = CliRunner().invoke(app, ["cache", "info", prefix])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fdet: cannot read s3://") and result.stderr.count("\n") == 1
    assert KEY not in result.stderr and SECRET not in result.stderr


def test_no_other_host_is_asked(zarr, prefix, tmp_path, monkeypatch):
    """Where the environment has credentials, not the instance's metadata service either."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        for name in ("AWS_METADATA_ENDPOINT", "AWS_STS_ENDPOINT", "AWS_ENDPOINT_URL_STS"):
            monkeypatch.setenv(name, address)
        copy(zarr, located(prefix), Part(limit=2))
        copy(located(prefix), tmp_path / "c", Part())
        with pytest.raises(BlockingIOError):
            other.accept()


def test_no_credentials_are_written(zarr, prefix, tmp_path):
    copy(zarr, located(prefix), Part(limit=3))
    copy(located(prefix), tmp_path / "c", Part(limit=2))
    written = [*objects_of(located(prefix)).values(), *tree(tmp_path / "c").values()]
    assert written
    assert not [raw for raw in written if KEY.encode() in raw or SECRET.encode() in raw]
