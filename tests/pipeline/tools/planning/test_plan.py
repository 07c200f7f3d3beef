"""The arithmetic of a plan, against cases computed by hand."""

from dataclasses import replace

import pytest

from fdet.pipeline.machines.disk import Disk
from fdet.pipeline.tools.planning.codec_trial import CodecTrial
from fdet.pipeline.tools.planning.plan import (
    Contents,
    Machine,
    cached_epoch,
    compute,
    epochs_to_pay,
    nodes_sentence,
    online_epoch,
    plan_codec,
    room_sentence,
    runs_to_pay,
    shown_epochs,
    verdict,
    views_that_fit,
)

# 1,000 images in 2 views; a sample has a million values in 3 levels.
CONTENTS = Contents(
    images=1000, views=2, levels=3, values=1e6, overhead=1000, shard_bytes=200_000_000
)
# On an accelerator.
MACHINE = Machine(decode=0.02, forward=0.01, cores=16, workers=4, threads=0)
# 8 bits a value; 1 ms to encode, 10 to compress, 2 to decompress, 1 to decode a sample.
CODEC = CodecTrial("int8", 1.0, encode=1e-9, compress=10e-9, decompress=2e-9, decode=1e-9)
DISK = Disk(
    folder="/d",
    file_system="ext4",
    in_memory=False,
    free=10**10,
    written=10**9,
    first=5e8,
    sustained=5e7,
    read=5e8,
    latency=1e-3,
)


def plan(contents=CONTENTS, machine=MACHINE, codec=CODEC, disk=DISK, budget=None):
    return plan_codec(contents, machine, codec, disk, budget)


def test_bytes_are_frames_and_what_lies_beside_them():
    found = plan()
    assert (found.bits, found.sample_bytes) == (8.0, 1_001_000)
    assert found.bytes == 2000 * 1_001_000


@pytest.mark.parametrize(
    ("machine", "limit", "each"),
    [
        (MACHINE, "backbone", 0.011),
        (replace(MACHINE, workers=1), "decoding", 0.02),
        (replace(MACHINE, workers=0), "backbone", 0.031),
        (replace(MACHINE, cores=2), "processor", 0.015),
        (replace(MACHINE, cores=4, threads=4), "processor", (0.02 + 0.01 + 4 * 0.011) / 4),
        (replace(MACHINE, decode=0.001, forward=0.0, workers=1), "compression", 0.010 / 8),
    ],
)
def test_an_extraction_takes_as_long_as_its_slowest_step(machine, limit, each):
    found = compute(CONTENTS, machine, CODEC)
    assert found == (limit, pytest.approx(2000 * each))


def test_the_disk_limits_where_writing_takes_longer():
    found = plan()
    assert found.compute_seconds == pytest.approx(22.0)
    assert found.write_seconds == pytest.approx(2000 * 1_001_000 / 5e7)
    assert (found.limited_by, found.extraction_seconds) == ("disk", found.write_seconds)
    quick = plan(disk=replace(DISK, sustained=1e9))
    assert (quick.limited_by, quick.extraction_seconds) == ("backbone", quick.compute_seconds)


def test_so_many_views_cost_so_many_times_as_much_and_an_epoch_takes_one():
    twice, once = plan(), plan(replace(CONTENTS, views=1))
    for name in ("bytes", "compute_seconds", "write_seconds"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name)), name
    assert twice.cached_epoch == once.cached_epoch
    assert twice.views == once.views


def test_an_epoch_with_the_backbone_waits_for_it_or_for_images():
    assert online_epoch(CONTENTS, MACHINE) == pytest.approx(1000 * 0.01)
    assert online_epoch(CONTENTS, replace(MACHINE, workers=1)) == pytest.approx(1000 * 0.02)
    assert online_epoch(CONTENTS, replace(MACHINE, workers=0)) == pytest.approx(1000 * 0.03)
    on_cpu = replace(MACHINE, cores=2, threads=2)
    assert online_epoch(CONTENTS, on_cpu) == pytest.approx(1000 * 0.02)


def test_an_epoch_on_the_cache_reads_a_place_a_level_and_unpacks():
    each = 1e6 / 5e8 + 3 * 1e-3 + 0.002
    assert cached_epoch(CONTENTS, MACHINE, CODEC, DISK) == pytest.approx(1000 * each)
    slow = replace(CODEC, decode=50e-9)
    assert cached_epoch(CONTENTS, MACHINE, slow, DISK) == pytest.approx(1000 * 0.05)
    on_cpu = replace(MACHINE, cores=1, threads=1)
    slow = replace(CODEC, decode=6e-9)
    assert cached_epoch(CONTENTS, on_cpu, slow, DISK) == pytest.approx(1000 * 0.008)


def test_it_pays_once_the_saved_seconds_are_those_of_the_extraction():
    assert epochs_to_pay(100.0, online=30.0, cached=5.0, runs=1) == 4.0
    assert epochs_to_pay(100.0, online=30.0, cached=5.0, runs=10) == 0.4
    assert epochs_to_pay(100.0, online=5.0, cached=5.0, runs=10) is None
    assert runs_to_pay(100.0, online=30.0, cached=5.0, epochs=4) == 1
    assert runs_to_pay(100.0, online=30.0, cached=5.0, epochs=3) == 2
    assert runs_to_pay(100.0, online=4.0, cached=5.0, epochs=99) is None


def test_epochs_of_a_plan_are_of_the_longer_of_computing_and_writing():
    found = plan()
    saved = 10.0 - found.cached_epoch
    expected = {"1": 1.0, "3": 1 / 3, "10": 0.1}
    assert found.epochs == {
        runs: pytest.approx(found.write_seconds / saved * share) for runs, share in expected.items()
    }
    assert plan(disk=replace(DISK, latency=0.1)).epochs is None


def test_views_fit_whole_into_the_budget_or_into_what_is_free_beside_a_shard():
    assert views_that_fit(3_002_999_999, CONTENTS, 1_001_000) == 2
    assert views_that_fit(3_003_000_000, CONTENTS, 1_001_000) == 3
    assert plan(budget=3_003_000_000).views == 3
    assert plan().views == int((10**10 - 200_000_000) / 1_001_000_000) == 9
    tight = replace(DISK, free=2_002_000_000 + 200_000_000)
    assert plan(disk=tight).fits and plan(disk=tight).views == 2
    tight = replace(tight, free=tight.free - 1)
    assert not plan(disk=tight).fits and plan(disk=tight).views == 1
    assert plan(disk=replace(DISK, free=1000)).views == 0
    assert not plan(disk=tight, budget=10**15).fits, "a budget makes no room"


def test_the_verdict_says_when_it_pays_and_when_it_does_not():
    found = replace(plan(), compute_seconds=100.0, write_seconds=40.0, cached_epoch=5.0)
    found = replace(found, epochs={"1": 4.0, "3": 4 / 3, "10": 0.4})
    assert verdict(found, 30.0, 72) == (
        "Caching pays after 4 epochs of one run; a run of 72 saves 28 min, extraction included."
    )
    assert verdict(found, 30.0, 3) == (
        "Caching does not pay for one run of 3 epochs: it would take 4 epochs; it pays where 2 such "
        "runs share the cache."
    )
    never = replace(found, epochs=None)
    assert verdict(never, 4.0, 72) == (
        "Caching does not pay: an epoch's maps take 5 s to read, and the backbone in the loop 4 s."
    )


def test_what_does_not_fit_is_said_and_what_would():
    fits = plan()
    large = replace(fits, codec="fp32", fits=False, bytes=8e9)
    assert room_sentence(fits, [large, fits], DISK.free) == ""
    said = room_sentence(large, [large, fits], 10**9)
    assert said.startswith("It does not fit: 8 GB of maps and the room of one shard, and 1 GB are")
    assert said.endswith("; --codec int8 would.")
    assert "no codec would: fewer views" in room_sentence(large, [large], 10**9)


def test_nodes_share_the_computing_and_the_disk():
    one, *several = [plan(machine=replace(MACHINE, nodes=n)) for n in (1, 2, 8)]
    assert [one.compute_seconds / found.compute_seconds for found in several] == [2, 8]
    assert {found.write_seconds for found in several} == {one.write_seconds}
    assert {found.cached_epoch for found in several} == {one.cached_epoch}, "one machine trains"


def test_of_many_nodes_is_said_how_many_the_disk_keeps_up_with():
    found = replace(plan(), compute_seconds=100.0, write_seconds=160.0)
    assert nodes_sentence(found, 1) == ""
    assert nodes_sentence(found, 8) == (
        "8 nodes like this one extract in 3 min, if the disk that they share takes what it took from one: "
        "it keeps up with 5, and more gain nothing."
    )
    slower = replace(found, compute_seconds=800.0)
    assert nodes_sentence(slower, 8).endswith(
        "extract in 13 min, if the disk that they share takes what it took from one: it keeps up with "
        "about 40."
    )


def test_epochs_are_rounded_up():
    assert [shown_epochs(n) for n in (0.01, 1.0, 1.01, 72)] == [
        "1 epoch", "1 epoch", "2 epochs", "72 epochs"
    ]  # fmt: skip
