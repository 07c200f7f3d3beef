"""Samples stay in memory where they fit, are asked for, and nowhere else."""

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.cache.format.header import CacheHeader
from fdet.cache.resident import resident_bytes
from fdet.pipeline.sources import residence
from fdet.pipeline.sources.residence import free_memory, resident_samples

CPU = torch.device("cpu")


@pytest.fixture
def header(whole) -> CacheHeader:
    return CacheHeader.read(whole)


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes are free, by kind of device."""
    known = {}
    monkeypatch.setattr(residence, "free_memory", lambda device: known[device.type])
    return known


@pytest.mark.parametrize(("spare", "kept"), [(-1, False), (0, True), (10**9, True)])
def test_auto_takes_half_of_what_is_free_at_most(spare, kept, header, free):
    free["cpu"] = 2 * resident_bytes(header) + spare
    room = resident_samples("auto", header, CPU)
    assert (room is not None) == kept
    if room is not None:
        assert room.device == CPU


class Recorded:
    """Stands for the samples on a device that is not here."""

    def __init__(self, header, device):
        self.device = device


@pytest.mark.parametrize(
    ("of_the_device", "of_the_machine", "where"),
    [(4.0, 0.0, "cuda"), (4.0, 4.0, "cuda"), (3.0, 3.0, "cpu"), (3.0, 1.9, None)],
)
def test_auto_prefers_the_device_and_leaves_most_of_it_free(
    of_the_device, of_the_machine, where, header, free, monkeypatch
):
    monkeypatch.setattr(residence, "ResidentSamples", Recorded)
    needed = resident_bytes(header)
    free.update(cuda=int(of_the_device * needed), cpu=int(of_the_machine * needed))
    room = resident_samples("auto", header, torch.device("cuda"))
    assert (room.device.type if room else None) == where


def test_none_looks_at_nothing(header, free):
    assert resident_samples("none", header, CPU) is None


@pytest.mark.parametrize("choice", ["ram", "device"])
def test_what_was_asked_for_and_does_not_fit_is_refused(choice, header, free):
    free["cpu"] = resident_bytes(header) - 1
    with pytest.raises(InputError, match=f"--resident {choice}: the samples need .* GB"):
        resident_samples(choice, header, CPU)
    free["cpu"] += 1
    assert resident_samples(choice, header, CPU).device == CPU


def test_ram_is_the_machines_whatever_the_device(header, free):
    free.update(cpu=10**12, cuda=0)
    assert resident_samples("ram", header, torch.device("cuda")).device == CPU


@pytest.mark.parametrize(
    ("limit", "used", "idle", "expected"),
    [
        ("max\n", "12\n", 0, 5 * 1024),
        ("4096\n", "96\n", 0, 4000),
        ("4096\n", "96\n", 90, 4090),
        ("4096\n", "9999\n", 0, 0),
        ("999999\n", "0\n", 0, 5 * 1024),
        (None, None, 0, 5 * 1024),
        ("4096\n", None, 0, 5 * 1024),
    ],
)
def test_a_container_may_have_less_than_the_machine(
    limit, used, idle, expected, tmp_path, monkeypatch
):
    """idle: pages of files that count as used and are given up at need."""
    for name, value in (("memory.max", limit), ("memory.current", used)):
        if value is not None:
            (tmp_path / name).write_text(value)
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {idle}\nactive_file 9\n")
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:          5 kB\n")
    monkeypatch.setattr(residence, "_CGROUP", tmp_path)
    monkeypatch.setattr(residence, "_MEMINFO", tmp_path / "meminfo")
    assert free_memory(CPU) == expected


def test_the_machine_says_what_it_has():
    assert 2**20 < free_memory(CPU) < 2**50
