"""A difference that was put there is found, one that was not is not, and chance is not called an effect."""

import pytest

from fdet.pipeline.tools.reporting.axes import axes_of
from fdet.pipeline.tools.reporting.effects import effects_of, student
from fdet.pipeline.tools.reporting.records import read_records
from fdet.pipeline.tools.reporting.report import make_report

from .made_up import write_grid, write_run

# Two-sided 95 % points, of any table of Student's t.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}


def effects(*runs, measure="ap"):
    records = read_records(runs)
    return {(e.axis, e.value): e for e in effects_of(records, axes_of(records), measure)}


@pytest.mark.parametrize(("freedom", "expected"), TABLE.items())
def test_students_quantiles(freedom, expected):
    assert student(freedom) == pytest.approx(expected, rel=0.002)


def test_effects_of_a_grid(tmp_path):
    write_grid(tmp_path)
    found = effects(*(tmp_path / "runs").iterdir())
    references = {(e.axis, e.reference) for e in found.values()}
    assert references == {("head", "faster-rcnn"), ("codec", "fp16")}
    assert all(len(e.differences) == 9 for e in found.values())
    assert found["codec", "int4"].verdict == "lower"
    assert found["codec", "int4"].mean == pytest.approx(-0.03, abs=0.008)
    assert found["codec", "int8"].verdict == "no difference"
    assert "no difference shown" in found["codec", "int8"].sentence
    assert found["head", "fcos"].verdict == "lower"


def test_the_interval_is_students(tmp_path):
    runs = [write_run(tmp_path / f"a{s}", 0.3, seed=s) for s in range(3)]
    runs += [
        write_run(tmp_path / f"b{s}", 0.3 + d, seed=s, codec="int8")
        for s, d in enumerate((0.01, 0.02, 0.03))
    ]
    effect = effects(*runs)["codec", "int8"]
    assert effect.mean == pytest.approx(0.02)
    half = 4.303 * 0.01 / 3**0.5
    assert effect.interval == pytest.approx((0.02 - half, 0.02 + half), abs=1e-5)
    assert effect.verdict == "no difference"


def test_only_equal_seeds_are_paired(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0.3, seed=0),
        write_run(tmp_path / "b", 0.3, seed=1, codec="int8"),
    ]
    assert effects(*runs) == {}


def test_one_pair_says_nothing(tmp_path):
    runs = [write_run(tmp_path / "a", 0.3), write_run(tmp_path / "b", 0.4, codec="int8")]
    effect = effects(*runs)["codec", "int8"]
    assert (effect.interval, effect.verdict) == (None, "one pair")
    assert "it takes two" in effect.sentence


def test_runs_of_3_and_12_epochs_are_not_equal_in_everything_else(tmp_path):
    runs = [
        write_run(
            tmp_path / f"{head}-{seed}", ap, seed=seed, settings=[f"head.name={head}"], epochs=e
        )
        for head, ap, e in (("fcos", 0.5, 12), ("retinanet", 0.3, 3))
        for seed in (0, 1, 2)
    ]
    assert effects(*runs) == {}
    (note,) = [note for note in make_report(read_records(runs)).notes if "cannot be told" in note]
    assert "train.epochs changes along" in note.replace("train.eval_every and ", "")
    assert "fcos: train.epochs 12" in note and "retinanet: train.epochs 3" in note
    # A run that has the head of the one and the epochs of the other tells the two apart.
    mixed = write_run(tmp_path / "mixed", 0.4, settings=["head.name=fcos"], epochs=3)
    assert {axis for axis, _ in effects(*runs, mixed)} == {"head", "train.epochs"}


def test_one_seed_says_nothing_in_however_many_pairs(tmp_path):
    runs = [
        write_run(tmp_path / f"{head}-{codec}", ap, settings=[f"head.name={head}"], codec=codec)
        for head, ap in (("fcos", 0.2), ("retinanet", 0.3), ("tal", 0.4))
        for codec, ap in (("fp16", ap), ("int4", ap - 0.1))
    ]
    effect = effects(*runs)["codec", "int4"]
    assert len(effect.differences) == 3 and (effect.interval, effect.verdict) == (None, "one seed")
    assert "AP −10.0 in 3 pairs of one seed" in effect.sentence


def test_what_is_not_finished_takes_no_part(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", codec="int8", reached=1)]
    assert effects(*runs) == {}


def test_repetitions_count_as_their_mean(tmp_path):
    runs = [write_run(tmp_path / "a", 0.3), write_run(tmp_path / "again", 0.5)]
    effect = effects(*runs, write_run(tmp_path / "b", 0.5, codec="int8"))["codec", "int8"]
    assert effect.differences == pytest.approx((0.1,))


def test_seconds_are_a_measure_too(tmp_path):
    runs = [
        write_run(tmp_path / "a", seconds=10.0),
        write_run(tmp_path / "b", codec="int8", seconds=8.0),
    ]
    assert effects(*runs, measure="seconds")["codec", "int8"].mean == pytest.approx(-2.0)
