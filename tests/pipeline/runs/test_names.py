"""Names are told apart, also where they are cut."""

from pathlib import Path

import pytest

from fdet.pipeline.runs.names import shortened, telling_names, unique_names


def test_the_shortest_ends_that_differ(tmp_path):
    runs = [tmp_path / place / "run" for place in ("a", "b")]
    assert unique_names(runs) == ["a/run", "b/run"]
    assert unique_names(runs[:1]) == ["run"]
    assert unique_names([Path("a\x1b[2J")]) == ["a\\x1b[2J"]


@pytest.mark.parametrize("length", [1, 2, 5, 8, 11])
def test_a_cut_name_keeps_its_beginning_and_its_end(length):
    text = "0123456789"
    cut = shortened(text, length)
    assert len(cut) == min(length, 10)
    if length < 10:
        begin, end = cut.split("…")
        assert text.startswith(begin) and text.endswith(end) and len(begin) - len(end) in (0, 1)


def test_what_most_names_share_is_left_out():
    names = [
        f"2025-11-30_chess-pieces_resnet50_{head}_lr-{lr}_augmented-views_seed-{seed}"
        for head in ("fcos", "tal", "retinanet")
        for lr in (0.001, 0.01)
        for seed in (0, 1, 2)
    ]
    found = telling_names([*names, "short"], 40)
    assert found[0] == "…fcos_lr-0.001…seed-0" and found[-1] == "short"
    assert len(set(found)) == len(found)


def test_names_that_would_become_alike_are_cut_in_the_middle():
    found = telling_names(["shared_" * 9 + "shared", "shared_" * 9 + "a", "shared_" * 8 + "a"], 12)
    assert all(len(name) == 12 for name in found)
    alone = telling_names(["one_long_name_of_a_single_run"], 12)
    assert alone == ["one_lo…e_run"[:12]] or (len(alone[0]) == 12 and "…" in alone[0])
