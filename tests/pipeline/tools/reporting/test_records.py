"""A run is read as it is; one that cannot be read, or has not come to its end, is never lost."""

import pytest

from fdet.pipeline.tools.reporting.records import read_records

from .made_up import CLASSES, write_run


def record(folder):
    (found,) = read_records([folder])
    return found


def test_names_are_the_shortest_ends_that_differ(tmp_path):
    runs = [write_run(tmp_path / place / "run") for place in ("a", "b")]
    assert [r.name for r in read_records(runs)] == ["a/run", "b/run"]
    assert [r.name for r in read_records(runs[:1])] == ["run"]


def test_figures_of_a_finished_run(tmp_path):
    found = record(write_run(tmp_path / "run", 0.4, seconds=30.0, memory=700))
    assert found.state == "finished" and found.note == ""
    assert found.figures["ap"] == pytest.approx(0.4)
    assert found.figures["seconds"] == pytest.approx(30.0)
    assert found.figures["process_mb"] == 700 and found.figures["device_mb"] is None
    assert found.figures["best_epoch"] == 3
    assert set(found.per_class) == set(CLASSES)
    assert [point.epoch for point in found.learning_curve] == [1, 2, 3]
    assert found.learning_curve[1].ap == pytest.approx(0.4 * 2 / 3)
    assert found.learning_curve[-1].seconds == pytest.approx(30.0)


def test_what_is_trained_depends_on_the_source(tmp_path):
    cached = record(write_run(tmp_path / "cached"))
    scratch = record(write_run(tmp_path / "scratch", source="scratch"))
    assert cached.parameters.total == scratch.parameters.total
    assert scratch.parameters.trained == scratch.parameters.total
    assert cached.parameters.trained == cached.parameters.total - 1_000_000


def test_an_unfinished_run_keeps_its_figures_and_says_where_it_stands(tmp_path):
    found = record(write_run(tmp_path / "run", reached=2))
    assert found.state == "unfinished" and found.note == "in epoch 2 of 3; --resume continues it"
    assert found.figures["ap"] == pytest.approx(0.4)


def test_a_run_that_has_only_begun_is_a_record_too(tmp_path):
    run = write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "last.safetensors", "best.safetensors"):
        (run / name).unlink()
    found = record(run)
    assert (found.state, dict(found.figures), found.learning_curve) == ("unfinished", {}, ())
    assert (
        found.note
        == "in epoch 0 of 3; it has no last.safetensors, and --resume begins it once more"
    )


def test_a_finished_run_without_its_last_checkpoint_is_finished(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "last.safetensors").unlink()
    found = record(run)
    assert (found.state, found.note) == ("finished", "")
    assert found.figures["ap"] == pytest.approx(0.4)


def test_a_run_that_is_only_its_best_weights_says_what_is_missing(tmp_path):
    run = write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "last.safetensors"):
        (run / name).unlink()
    assert record(run).note == "metrics.jsonl is missing"


def test_a_run_that_was_never_evaluated_says_so(tmp_path):
    run = write_run(tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if '"train"' in line))
    found = record(run)
    assert found.finished and "never evaluated" in found.note
    assert found.figures["seconds"] > 0 and "ap" not in found.figures


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("run.json", "{", "not JSON"),
        ("run.json", "{}", "format None"),
        ("metrics.jsonl", "no JSON\n", "not one of fdet's"),
        ("metrics.jsonl", '{"kind": "train"}\n', "not one of fdet's"),
        ("metrics.jsonl", "[1]\n", "not one of fdet's"),
        ("last.safetensors", "no checkpoint", "not a checkpoint"),
    ],
)
def test_a_damaged_run_is_a_record_that_says_why(tmp_path, name, content, why):
    run = write_run(tmp_path / "run")
    (run / name).write_text(content)
    found = record(run)
    assert found.state == "unreadable" and why in found.note


def test_a_loss_that_overflowed_is_no_number(tmp_path):
    run = write_run(tmp_path / "run")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace('"loss": 1.0', '"loss": NaN'))
    assert record(run).learning_curve[-1].loss is None


def test_groups_of_classes_have_figures_where_they_count(tmp_path):
    run = write_run(tmp_path / "run")
    assert record(run).figures["ap_rare"] is None
    text = (run / "metrics.jsonl").read_text()
    groups = '"images": 9, "ap_rare": 0.1, "ap_common": null, "ap_frequent": 0.5'
    (run / "metrics.jsonl").write_text(text.replace('"images": 9', groups))
    figures = record(run).figures
    assert [figures[f"ap_{name}"] for name in ("rare", "common", "frequent")] == [0.1, None, 0.5]


def test_masks_have_a_figure_of_their_own(tmp_path):
    run = write_run(tmp_path / "run")
    assert record(run).figures["mask_ap"] is None
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(
        text.replace('"images": 9', '"images": 9, "masks": {"ap": 0.3}')
    )
    assert record(run).figures["mask_ap"] == 0.3
