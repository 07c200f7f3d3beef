"""What can be refused before Ray is asked, and how room is counted; Ray itself is played."""

import socket
from types import SimpleNamespace

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.machines import ray_cluster
from fdet.pipeline.machines.ray_cluster import (
    RayOptions,
    check_reachable,
    connected,
    import_ray,
    needs_of,
    room,
)


def ray_of(*nodes, alive=True):
    resources = {}
    for node in nodes:
        for name, count in node.items():
            resources[name] = resources.get(name, 0) + count
    return SimpleNamespace(
        cluster_resources=lambda: resources,
        nodes=lambda: [{"Alive": alive, "Resources": node} for node in nodes],
    )


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    def absent(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(ray_cluster.importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"--engine ray: .*pip install 'frozendet\[ray\]'"):
        import_ray()


def test_telemetry_is_off_before_ray_is_imported(monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    seen = []
    monkeypatch.setattr(
        ray_cluster.importlib,
        "import_module",
        lambda name: seen.append(ray_cluster.os.environ["RAY_USAGE_STATS_ENABLED"]),
    )
    import_ray()
    assert seen == ["0"]


@pytest.mark.parametrize("address", ["somewhere", "ray://head:10001", "head:port", ":6379"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match="expected HOST:PORT"):
        check_reachable(address)


def test_an_address_where_nothing_answers_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--ray-address 127.0.0.1:{port}: nothing answers"):
            check_reachable(f"127.0.0.1:{port}")


def played(monkeypatch, init):
    calls = []
    ray = SimpleNamespace(
        is_initialized=lambda: False, init=init, shutdown=lambda: calls.append("shutdown")
    )
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return calls


def test_a_ray_of_its_own_has_no_dashboard_and_ends_with_the_command(monkeypatch):
    asked = {}

    def init(address, **more):
        asked.update(more, address=address)

    calls = played(monkeypatch, init)
    with connected(None):
        assert not calls
    assert calls == ["shutdown"]
    assert (asked["address"], asked["include_dashboard"]) == ("local", False)


def test_what_ray_says_of_a_cluster_that_is_none_is_one_line(monkeypatch):
    def init(address, **more):
        raise ConnectionError("Could not find any running Ray instance.\nMore\nlines")

    played(monkeypatch, init)
    said = (
        r"--ray-address auto: no Ray cluster found \(Could not find any running Ray instance\.\);"
    )
    with pytest.raises(InputError, match=said), connected("auto"):
        pass


def test_an_accelerator_is_claimed_where_there_is_one():
    plain, with_gpus = ray_of({"CPU": 8}), ray_of({"CPU": 8}, {"CPU": 8, "GPU": 2})
    assert needs_of(plain, RayOptions(cpus=2)) == {"CPU": 2, "GPU": 0}
    assert needs_of(with_gpus, RayOptions()) == {"CPU": 1, "GPU": 1}
    assert needs_of(with_gpus, RayOptions(), accelerators=False) == {"CPU": 1, "GPU": 0}
    assert needs_of(with_gpus, RayOptions(gpus=0.25)) == {"CPU": 1, "GPU": 0.25}


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"CPU": 1, "GPU": 0}, 18),
        ({"CPU": 4, "GPU": 0}, 4),
        ({"CPU": 1, "GPU": 1}, 2),
        ({"CPU": 1, "GPU": 0.25}, 8),
        ({"CPU": 1, "GPU": 0.1}, 8),
        ({"CPU": 64, "GPU": 0}, 0),
    ],
)
def test_room_is_counted_node_by_node(needs, expected):
    ray = ray_of({"CPU": 8}, {"CPU": 8, "GPU": 2}, {"CPU": 2}, {"node:head": 1.0})
    assert room(ray, needs) == expected
    assert room(ray_of({"CPU": 8}, alive=False), needs) == 0


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (RayOptions(workers=0), "--ray-workers: expected at least 1, got 0"),
        (RayOptions(cpus=0), "--c: expected at least 1, got 0"),
        (RayOptions(gpus=-1), "--g: expected 0, a part of 1, or a whole number, got -1"),
        (RayOptions(gpus=1.5), "--g: expected 0, a part of 1, or a whole number, got 1.5"),
    ],
)
def test_what_no_worker_can_claim_is_refused(place, said):
    with pytest.raises(InputError, match=said):
        place.check("--c", "--g")
    RayOptions(gpus=2, workers=3, cpus=4).check("--c", "--g")


def test_a_share_of_an_accelerator_for_a_processor_alone_is_refused():
    with pytest.raises(InputError, match=r"--device cpu: a worker uses no GPU, but claims 0\.5"):
        needs_of(ray_of({"CPU": 4.0}), RayOptions(None, None, 1, 0.5), accelerators=False)
