"""The forms of results hold what the lines hold, as readers of these formats expect it."""

import csv
import json
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

from fdet.pipeline.dataset.data_name import DataName
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.tools.prediction.files import put
from fdet.pipeline.tools.prediction.journal import Line
from fdet.pipeline.tools.prediction.results import FORMS, Results

LINES = [
    Line(
        image_id=7,
        file_name="sub/a, b.jpg",
        name="sub/a, b",
        hw=(100, 200),
        file_sha256="",
        detections=(
            {
                "category_id": 5,
                "category_name": "dog",
                "bbox": [20.0, 10.0, 40.0, 30.0],
                "score": 0.9,
            },
            {
                "category_id": 2,
                "category_name": "Kü\x01he",
                "bbox": [0.0, 0.0, 200.0, 100.5],
                "score": 0.26,
            },
        ),
    ),
    Line(image_id=9, file_name="none.png", name="none", hw=(50, 60), file_sha256="", detections=()),
]


@pytest.fixture
def written(tmp_path):
    """A function that writes a form of the results and returns their folder."""

    def write(form, above=0.2, lines=LINES):
        FORMS[form].write(
            Results(
                tmp_path,
                lambda: iter(lines),
                (2, 5),
                ("Kü\x01he", "dog"),
                {2: above, 5: above} if isinstance(above, float) else above,
                lambda name, data: put(tmp_path, name, data),
            )
        )
        return tmp_path

    return write


@pytest.mark.parametrize("form", FORMS)
def test_a_form_writes_the_files_that_it_names(form, written):
    folder = written(form)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    named = {FORMS[form].of_line(line) for line in LINES} if FORMS[form].folder else set()
    assert files == {*FORMS[form].whole, *named}


def test_coco_has_every_detection_with_the_names_of_class_and_file(written):
    results = json.loads((written("coco") / "detections.json").read_text())
    assert results == [
        {"image_id": 7, **one, "file_name": "sub/a, b.jpg"} for one in LINES[0].detections
    ]
    assert list(results[0])[:2] == ["image_id", "category_id"]


def test_coco_without_a_detection_is_a_list_all_the_same(written):
    assert json.loads((written("coco", lines=LINES[1:]) / "detections.json").read_text()) == []


def test_csv_has_a_row_for_every_detection(written):
    with (written("csv", above=0.5) / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row.values()) for row in rows] == [
        ["sub/a, b.jpg", "20.000", "10.000", "60.000", "40.000", "dog", "0.900000"],
        ["sub/a, b.jpg", "0.000", "0.000", "200.000", "100.500", "Kü\x01he", "0.260000"],
    ]


def test_yolo_has_fractions_within_the_image_and_the_score(written):
    folder = written("yolo")
    assert (folder / "labels" / "sub" / "a, b.txt").read_text().splitlines() == [
        "1 0.200000 0.250000 0.200000 0.300000 0.900000",
        "0 0.500000 0.500000 1.000000 1.000000 0.260000",
    ]
    assert (folder / "labels" / "none.txt").read_text() == ""
    names = yaml.safe_load((folder / "data.yaml").read_text())
    assert names == {"nc": 2, "names": {0: "Kü\x01he", 1: "dog"}}


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_label_files_have_what_is_drawn(form, written):
    folder = written(form, above=0.5)
    text = (folder / FORMS[form].of_line(LINES[0])).read_text()
    assert "0.900000" in text and "0.260000" not in text


@pytest.mark.parametrize("form", ["yolo", "voc"])
@pytest.mark.parametrize(
    ("above", "kept"), [({5: 0.95, 2: 0.2}, "0.26"), ({5: 0.8, 2: 0.3}, "0.90")]
)
def test_each_class_has_a_threshold_of_its_own(form, above, kept, written):
    text = (written(form, above=above) / FORMS[form].of_line(LINES[0])).read_text()
    assert [score for score in ("0.26", "0.90") if f"{score}0000" in text] == [kept]


def test_voc_has_corners_in_px_and_the_score(written):
    root = ElementTree.parse(written("voc") / "Annotations" / "sub" / "a, b.xml").getroot()
    assert root.findtext("filename") == "a, b.jpg"
    assert [root.findtext(f"size/{side}") for side in ("width", "height")] == ["200", "100"]
    first, second = root.findall("object")
    assert (first.findtext("name"), first.findtext("score")) == ("dog", "0.900000")
    assert [float(side.text) for side in first.find("bndbox")] == [20, 10, 60, 40]
    assert second.findtext("name") == "Kü?he"


def test_what_is_written_as_voc_is_read_as_voc(written, dataset):
    """Detections can be corrected in an editor and used as annotations."""
    lines = [
        Line(1, f"{k}.png", str(k), (128, 128), "", LINES[0].detections[:1]) for k in (10, 24, 38)
    ]
    folder = written("voc", lines=lines)
    (folder / "JPEGImages").symlink_to(dataset.parent / "images")
    annotations, _ = load_annotations(DataName(folder, "voc"))
    assert annotations.class_names == ("dog",)
    assert annotations.packed.boxes.tolist() == [[20, 10, 60, 40]] * 3


def test_what_is_written_as_csv_is_read_as_csv(written, dataset):
    lines = [Line(1, "10.png", "10", (128, 128), "", LINES[0].detections[:1])]
    folder = written("csv", lines=lines)
    (folder / "images").symlink_to(dataset.parent / "images")
    annotations, _ = load_annotations(DataName(folder / "detections.csv", "csv"))
    assert annotations.packed.boxes.tolist() == [[20, 10, 60, 40]]
