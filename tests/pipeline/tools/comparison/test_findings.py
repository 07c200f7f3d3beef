"""The sentences below the table: which side they take, and their figures, in every case."""

import pytest

from fdet.pipeline.tools.comparison.findings import findings

from .made_up import source

CASES = {
    "AP, beyond the spread": (
        source(aps=(0.40, 0.41)),
        source("finetune", aps=(0.43, 0.45)),
        "loses",
        "AP: finetune reaches 3.5 more than cached (44.0 against 40.5; means of 2 seeds, beyond "
        "their spread).",
    ),
    "AP, within the spread": (
        source(aps=(0.40, 0.44)),
        source("finetune", aps=(0.43, 0.45)),
        "even",
        "AP: the 2.0 by which finetune is above cached (44.0 against 42.0) lies within the spread "
        "of 2 seeds: neither is shown to be better.",
    ),
    "AP, one seed": (
        source(aps=(0.40,)),
        source("finetune", aps=(0.43,)),
        "even",
        "AP: finetune reaches 3.0 more than cached (43.0 against 40.0; one seed: how far seeds "
        "scatter is not known, so neither is shown to be better).",
    ),
    "AP, won": (
        source(aps=(0.40, 0.42)),
        source("scratch", aps=(0.1, 0.2)),
        "gains",
        "AP: cached reaches 26.0 more than scratch (41.0 against 15.0; means of 2 seeds, beyond "
        "their spread).",
    ),
    "AP, the same": (
        source(aps=(0.4004,)),
        source("online", aps=(0.4,)),
        "even",
        "AP: online and cached reach the same (40.0 against 40.0).",
    ),
    "time, won with one run": (
        source(seconds=100, extraction=20),
        source("online", seconds=200),
        "gains",
        "Time: with one run, extraction included, cached takes 0.60 x the time of online (120 s "
        "against 200 s); 0.51 x where ten runs share the cache.",
    ),
    "time, lost with one run, won with two": (
        source(seconds=100, extraction=60),
        source("online", seconds=140),
        "loses",
        "Time: with one run, extraction included, cached takes 1.14 x the time of online (160 s "
        "against 140 s); it pays from 2 runs on.",
    ),
    "time, three runs are only as long": (
        source(seconds=100, extraction=60),
        source("online", seconds=120),
        "loses",
        "Time: with one run, extraction included, cached takes 1.33 x the time of online (160 s "
        "against 120 s); it pays from 4 runs on.",
    ),
    "time, never won": (
        source(seconds=100, extraction=60),
        source("online", seconds=80),
        "loses",
        "Time: with one run, extraction included, cached takes 2.00 x the time of online (160 s "
        "against 80 s); the training alone takes 1.25 x, so it does not pay, however many runs share "
        "the cache.",
    ),
    "time, about the same": (
        source(seconds=100, extraction=60),
        source("online", seconds=158),
        "even",
        "Time: with one run, extraction included, cached takes 1.01 x the time of online (160 s "
        "against 158 s); it pays from 2 runs on.",
    ),
    "memory of the process, won": (
        source(process_mb=500.0),
        source("online", process_mb=1000.0),
        "gains",
        "Memory of the process: cached takes 0.50 x that of online (500 MiB against 1000 MiB).",
    ),
    "memory of the process, lost": (
        source(process_mb=1500.0),
        source("online", process_mb=1000.0),
        "loses",
        "Memory of the process: cached takes 1.50 x that of online (1500 MiB against 1000 MiB).",
    ),
    "memory of the process, about the same": (
        source(process_mb=990.0),
        source("online", process_mb=1000.0),
        "even",
        "Memory of the process: cached takes 0.99 x that of online (990 MiB against 1000 MiB).",
    ),
    "memory of the device, won": (
        source(device_mb=200.0),
        source("online", device_mb=1000.0),
        "gains",
        "Memory of the device: cached takes 0.20 x that of online (200 MiB against 1000 MiB).",
    ),
    "disk": (
        source(disk=812_000_000),
        source("online", disk=200_000_000),
        "loses",
        "Disk: 812.0 MB of caches, against 200.0 MB for online.",
    ),
}


CASES["time, both on the cache"] = (
    source(seconds=100, extraction=60),
    source("tail", seconds=200, extraction=60),
    "gains",
    "Time: training takes 0.50 x with cached that of tail (100 s against 200 s); both read the cache.",
)


@pytest.mark.parametrize("case", CASES)
def test_each_sentence_takes_the_side_that_its_figures_take(case):
    cached, other, verdict, text = CASES[case]
    about = text.partition(":")[0]
    (found,) = [f for f in findings([other, cached]) if f.text.partition(":")[0] == about]
    assert (found.verdict, found.text) == (verdict, text)


def test_a_cache_that_wins_everywhere_loses_nothing_but_disk():
    cached = source(aps=(0.5, 0.6), extraction=1.0, disk=10**9, process_mb=10.0)
    others = [source(n, aps=(0.1, 0.2), seconds=500.0) for n in ("online", "finetune")]
    lost = [f.text for f in findings([cached, *others]) if f.verdict == "loses"]
    assert lost == ["Disk: 1000.0 MB of caches, against none for online, none for finetune."]


def test_each_source_on_the_cache_is_compared_with_the_others_once():
    names = ("finetune", "tail", "cached")
    found = findings([source(name, disk=5 if name == "finetune" else 9) for name in names])
    pairs = [(f.source, f.text.split(":")[0]) for f in found]
    assert pairs.count(("cached", "AP")) == 2 and pairs.count(("tail", "AP")) == 1
    assert [f.source for f in found] == sorted(f.source for f in found)
    disk = [f.text for f in found if f.text.startswith("Disk")]
    assert disk == 2 * ["Disk: 0.009 kB of caches, against 0.005 kB for finetune."]


def test_without_a_cached_source_or_another_one_nothing_is_compared():
    assert findings([source("online"), source("scratch")]) == []
    assert findings([source(disk=1)]) == []


def test_no_word_of_a_device_on_a_cpu_nor_of_disk_where_none_is_smaller():
    texts = [f.text for f in findings([source(disk=5), source("online", disk=5)])]
    assert not [text for text in texts if "device" in text or "Disk" in text]
