"""The order of the findings, and the quick ones that an extraction logs."""

from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.dataset.doctor.examine import examine, quick_findings
from fdet.pipeline.dataset.doctor.finding import SHOWN_EXAMPLES, Finding, Severity, found
from fdet.pipeline.dataset.images.views import ResizeRule

from ..made import draw


def test_the_worst_come_first(made, splits_of):
    (made.images / "2.png").unlink()  # an error
    draw(made.images / "more.png", 43)  # a note
    made.add("train", "3.png", (1, [1, 1, 9, 9]))  # a warning
    findings = examine(splits_of(made))
    assert [finding.rule for finding in findings] == ["missing", "listed-twice", "not-listed"]


def test_quick_findings_open_no_file_and_have_no_notes(made):
    boxes = made.splits["train"]["annotations"]
    boxes.append(boxes[0])
    boxes[3]["bbox"] = [1, 1, 40, 1.5]  # thin: a note
    boxes[4]["bbox"] = [40, 1, 30, 9]  # beyond the image, which reading says
    train, _ = made.write()
    data = read_data_set(train, made.images)
    for file in made.images.iterdir():
        file.unlink()
    (finding,) = quick_findings(data)
    assert finding.line == (
        "1 of 13 boxes repeat one of the same image and class within 0.5 px (0.png: cat 12 x 10 px at "
        "2, 3): delete them: a detector finds each object once, and the second counts as missed"
    )
    (remark,) = data.annotations.warnings()
    assert "reach beyond their image" in remark


def test_quick_findings_know_the_size_of_the_canvas(made):
    data = read_data_set(made.write()[0], made.images)
    assert quick_findings(data) == []
    (finding,) = quick_findings(data, ResizeRule(8, 12, False, 1))
    assert (finding.rule, finding.severity) == ("small", Severity.warning)
    assert finding.what == "boxes have a side below 4 px at --short 8 --long 12"
    (finding,) = quick_findings(data, ResizeRule(12, 12, True, 1))
    assert finding.what == "boxes have a side below 4 px at --size 12"


def test_a_finding_keeps_a_few_examples_and_shows_fewer():
    finding = found(Severity.note, [str(k) for k in range(30)], 40, "things are odd", "mend them")
    assert finding is not None and len(finding.examples) == 10
    assert finding.line == "30 of 40 things are odd (0, 1, 2, ...): mend them"
    few = found(Severity.note, ["a"] * SHOWN_EXAMPLES, None, "things are odd", "mend them")
    assert few.line == "3 things are odd (a, a, a): mend them"
    assert found(Severity.note, [], 40, "things are odd", "mend them") is None
    assert found(Severity.note, [], 40, "x", "y", count=2) == Finding(
        Severity.note, 2, 40, "x", (), "y"
    )
