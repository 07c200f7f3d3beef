"""The road of an everyday user with 14 classes that look alike, at 80 columns in a pseudo-terminal.

Every command is read as a newcomer reads it: nothing is cut, what is said is true, and the commands
that it names are those that the road goes on with.
"""

import json
import re

import numpy as np
import pytest
from PIL import Image

import fdet

from .pieces import NAMES
from .terminal import too_wide

pytestmark = pytest.mark.slow

DONE = {"check": 3, "train": 130, "predict": 130}  # every other step ends with 0
# Commands all of whose rows are tables or wrapped.
TABLES = ("check", "info", "report", "settings train", "settings neck", "settings head")


def test_each_command_ends_as_it_should(road):
    assert {step: shown.status for step, shown in road.steps.items()} == {
        step: DONE.get(step, 0) for step in road.steps
    }


def test_progress_lines_have_count_total_and_time_left_and_fit(road):
    titles = set()
    for step, shown in road.steps.items():
        assert not too_wide(shown.frames), step
        for frame in shown.frames:
            found = re.fullmatch(
                r"[━╸╺]{11} ([^:]+): (\d+)/(\d+)(?P<left>, \d+:\d\d left)?.*", frame
            )
            assert found, frame
            begun = found[2] == "0" or step in ("resume", "extend", "resume again", "predict on")
            assert found["left"] or begun, frame
            assert not frame.endswith(",") and "…" not in frame
            assert not re.search(r", 0(\.0)? \w+/s", frame), frame
            titles.add(found[1])
    assert {"extract", "train", "evaluate", "predict", "ablate", "audit"} <= titles


@pytest.mark.parametrize("step", TABLES)
def test_tables_fit(road, step):
    assert road[step].rows and not too_wide(road[step].rows)
    assert not any("…" in row for row in road[step].rows)


def test_the_check_counts_objects_by_class(road):
    rows = road["check"].rows
    assert any(re.match(r"train +32 +0 +\d+ +0 +14 ", row) for row in rows)
    counted = {row.split()[0] for row in rows if re.fullmatch(r"(black|white)-\w+( +\d+){2}", row)}
    assert counted == set(NAMES)
    assert re.fullmatch(r"0 errors, \d+ warnings?, \d+ notes?", rows[-1])


def test_an_extraction_says_what_it_wrote(road):
    assert re.fullmatch(
        r"32 samples, [\d.]+ [kM]B, [\d.]+ s, train\.fdet", road["extract"].rows[-1]
    )


def epochs_of(shown):
    """The epochs of the progress line of the training, in order, with the messages about epochs."""
    return [int(n) for f in shown.frames if "train:" in f for n in re.findall(r"epoch (\d+)/", f)]


def test_the_progress_line_names_the_epoch_that_runs(road):
    for step, last in (("train", 3), ("resume", 4), ("extend", 6)):
        epochs = epochs_of(road[step])
        assert epochs == sorted(epochs)
        if step != "train":  # which may be interrupted before the next line
            assert epochs[-1] == last
    assert max(epochs_of(road["train"])) >= 2


def test_an_interrupted_training_names_the_command_that_goes_on(road):
    assert road["train"].rows[-1] == (
        "fdet: interrupted; what was finished is kept: `fdet train-heads --resume runs/a` goes on"
    )
    assert re.match(r"INFO: the remaining steps will take about ", road["train"].row("INFO: the r"))
    begun = int(re.search(r"train: (\d+)/32", road["resume"].frames[0])[1])
    assert begun >= 16
    last = road["resume"].row("steps ")
    assert last.startswith(f"steps {begun + 1} to 32, ") and last.endswith(", runs/a")


def test_a_training_ends_with_its_figures_and_the_next_command(road):
    for step, epochs in (("resume", "[24]"), ("resume again", "[24]"), ("extend", "[246]")):
        rows = road[step].rows
        (figures,) = [row for row in rows if "best AP" in row]
        assert re.search(rf"best AP \d+\.\d, AP50 \d+\.\d \(epoch {epochs}\), runs/a$", figures)
        for kind in ("best", "worst"):
            classes = road[step].row(f"{kind} classes: ").partition(": ")[2].split(", ")
            names = [name.rpartition(" ")[0] for name in classes]
            assert len(names) == 3 and set(names) <= set(NAMES)
        assert "what to do next:" in rows
        assert rows[-1] == "- `fdet evaluate runs/a val.fdet`"


def test_a_finished_run_that_is_resumed_says_so(road):
    (row,) = [row for row in road["resume again"].rows if "best AP" in row]
    assert row.startswith(
        "32 steps, all done before (--set train.epochs=N makes it longer), best AP"
    )


def test_an_extended_run_says_how_its_rate_goes_on(road):
    assert road["extend"].row("INFO: extended from 4 to 6 epochs at step 32: ")
    assert road["extend"].row("steps 33 to 48, ")


def test_an_evaluation_has_the_best_thresholds_within_80_columns(road):
    shown = road["evaluate"]
    table = shown.before("what to do next:")
    assert not too_wide(table)
    for name in (*NAMES, "all classes", "one score"):
        assert re.match(rf"{name} +\d+ +(\d+\.\d|-) ", shown.row(f"{name} "))
    assert re.match(r"AP  +\d+\.\d$", shown.row("AP  "))
    assert any(re.match(r"scores are off by \d+\.\d points", row) for row in table)
    for file in ("evaluation-val.json", "curves-val.png", "confusion-val.png"):
        assert f"written: runs/a/{file}" in table
        assert (road.folder / "runs/a" / file).stat().st_size > 0


def test_the_line_on_duplicates_says_what_was_counted(road):
    kept = json.loads((road.folder / "runs/a/evaluation-val.json").read_text())["duplicates"]
    finds, wrong, right = kept["finds"], kept["wrong"], kept["right"]
    many = wrong >= 10 and wrong >= 0.1 * finds and wrong >= 3 * right
    lines = [row for row in road["evaluate"].rows if "--nms agnostic" in row]
    assert len(lines) == many
    for line in lines:
        assert line.startswith(f"- {wrong} of {finds} finds are of another class on an object ")


def test_two_runs_are_compared_with_intervals(road):
    rows = road["compare"].rows
    begin = next(k for k, row in enumerate(rows) if row.startswith("compared with trials/runs/"))
    assert not too_wide(rows[begin : rows.index("what to do next:")])
    number, change = r"-?\d+\.\d", r"[+-]\d+\.\d"
    row = next(row for row in rows[begin:] if row.startswith("AP  "))
    assert re.fullmatch(rf"AP +{number} +{number} +{change} +{change} to {change}", row)


def test_an_interrupted_prediction_goes_on_with_the_same_command(road):
    assert road["predict"].rows[-1] == (
        "fdet: interrupted; what was found is kept: the same command goes on"
    )
    before = int(
        re.search(r"found: (\d+) images? done before", " ".join(road["predict on"].rows))[1]
    )
    assert 0 < before < 30
    assert f"predict: {before}/30" in road["predict on"].frames[0]
    result, times = road["predict on"].rows[-2:]
    said = re.fullmatch(
        r"30 images, (\d+) detections \((\d+) >= ([\d.]+)( to [\d.]+)?\) in found: detections\.jsonl, "
        r"detections\.json, pictures/",
        result,
    )
    assert said and re.match(r"[\d.]+ images/s; ms an image: decode ", times)
    assert len(json.loads((road.folder / "found/detections.json").read_text())) == int(said[1])
    assert road["predict again"].rows[-2:] == [
        "found: every image was done before; --overwrite starts anew",
        result,
    ]


def test_the_thresholds_are_those_of_the_evaluation(road):
    row = road["predict"].row("INFO: thresholds ")
    assert row.endswith(", the best of each class in runs/a/evaluation-val.json")


def test_a_prediction_has_a_picture_of_each_image(road):
    photos = sorted(path.name for path in (road.folder / "new").iterdir())
    pictures = road.folder / "found/pictures"
    assert sorted(path.name for path in pictures.iterdir()) == photos
    with Image.open(pictures / photos[0]) as picture:
        assert min(picture.size) >= 96


def test_other_forms_are_there_too(road):
    forms = road.folder / "forms"
    with Image.open(forms / "pictures/board-000.png") as picture:
        assert picture.format == "PNG"
    labels = list(forms.rglob("board-000.txt"))
    assert len(labels) == 1
    assert "crops/" in road["forms"].rows[-2] or not (forms / "crops").exists()


def test_one_call_of_python_finds_the_same(road):
    photo = road.folder / "new/board-000.jpg"
    lines = (road.folder / "forms/detections.jsonl").read_text().splitlines()
    expected = [d for d in json.loads(lines[0])["detections"] if d["score"] >= 0.1]
    found = fdet.load(road.folder / "runs/a", threshold=0.1)(photo)
    assert list(found.class_names) == [d["category_name"] for d in expected]
    corners = np.array([d["bbox"] for d in expected]).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    np.testing.assert_allclose(found.boxes.reshape(-1, 4), corners, atol=0.01)


def test_an_audit_counts_what_it_lists(road):
    rows = road["audit"].rows
    assert any(re.match(r"\d+ labels in 32 images: \d+ may be wrong \(", row) for row in rows)
    assert any(row.startswith("written: audit/audit.html") for row in rows)
    assert (road.folder / "audit/audit.html").stat().st_size > 0


def test_an_ablation_names_its_trials_by_what_differs(road):
    rows = road["ablate"].rows
    assert not too_wide([row for row in rows if not row.startswith("INFO: ")])
    for head in ("tal", "fcos"):
        assert any(row.endswith(f": head.name {head}, seed 0") for row in rows)
        assert any(re.match(rf" {head} +\d+\.\d ", row) for row in rows)
    assert rows[-2] == "2 of 2 trials finished; trials/results.csv, results.json"
    page = (road.folder / "report.html").read_text()
    assert road["report trials"].rows == ["written: report.html"]
    assert "fcos" in page and "tal" in page


def test_a_report_in_the_terminal_compares_the_trials(road):
    rows = road["report"].rows
    for head in ("tal", "fcos"):
        assert any(re.match(rf" {head} +1/1 +1 +\d+\.\d ", row) for row in rows)


def test_a_page_follows_the_runs(road):
    address, runs = road["watch"].rows
    assert address == f"file://{road.folder}/runs/watch.html" and runs == "1 run"
    assert (road.folder / "runs/watch.html").stat().st_size > 0


def test_a_cache_tells_what_is_in_it_for_people_and_programs(road):
    text = " ".join(" ".join(road["info"].rows).split())
    facts = json.loads("\n".join(road["info json"].rows))
    assert (facts["images"], facts["samples"], facts["failed"]) == (32, 32, 0)
    assert [each["name"] for each in facts["classes"]] == list(NAMES)
    assert f"classes 14: {NAMES[0]}, " in text and f"boxes {facts['boxes']} " in text
    assert "to a square of 96 px (--size 96)" in text


def test_presets_and_settings_are_listed_whole(road):
    *table, last = road["presets"].rows
    assert not too_wide(table) and "`fdet model PRESET" in last
    assert any(re.match(r"tal-fpn-s +fpn +tal +64 +\d", row) for row in table)
    for section, names in {
        "train": ("checkpoint_activations", "epochs"),
        "neck": ("channels", "extra"),
        "head": ("nms", "nms_iou", "score_threshold"),
    }.items():
        rows = road[f"settings {section}"].rows
        for name in names:
            assert any(row.startswith(f"{section}.{name}=") for row in rows), name
