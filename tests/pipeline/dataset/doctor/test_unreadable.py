"""Images that cannot be read are an error in every format, and no other rule reports them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.finding import Severity
from fdet.pipeline.dataset.doctor.rules import Depth
from fdet.pipeline.dataset.doctor.subject import Split

from ..formats.builders import (
    FROM_ZERO,
    SIZES,
    coco,
    draw_all,
    write,
    write_coco,
    write_csv,
    write_voc,
    write_yolo,
    xml,
)


def yolo(root: Path) -> tuple[Path, Path]:
    return write_yolo(root), root / "images" / "train"


def sizeless_voc(root: Path) -> tuple[Path, Path]:
    write_voc(root)
    for name in SIZES:
        write(root / "Annotations" / f"{Path(name).stem}.xml", xml(name, size=""))
    return root, root / "JPEGImages"


def sizeless_csv(root: Path) -> tuple[Path, Path]:
    return write_csv(root), root / "images"


def open_images(root: Path) -> tuple[Path, Path]:
    rows = [f"{Path(name).stem},0.1,0.5,0.2,0.9,/m/1" for name in SIZES]
    header = "ImageID,XMin,XMax,YMin,YMax,LabelName"
    draw_all(root / "images")
    return write(root / "boxes.csv", "\n".join([header, *rows])), root / "images"


def sizeless_coco(root: Path) -> tuple[Path, Path]:
    data = coco(FROM_ZERO)
    for image in data["images"]:
        del image["width"]
    draw_all(root / "images")
    return write(root / "instances.json", json.dumps(data)), root / "images"


def sized_coco(root: Path) -> tuple[Path, Path]:
    return write_coco(root, FROM_ZERO), root / "images"


SIZELESS = (yolo, sizeless_voc, sizeless_csv, open_images, sizeless_coco)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def no_image(file: Path) -> None:
    file.write_text("not found\n")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def cut_behind_its_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-300])


@pytest.mark.parametrize("damage", [empty, no_image, cut, cut_behind_its_header])
@pytest.mark.parametrize("build", [*SIZELESS, sized_coco])
def test_the_doctor_finds_damage_in_every_format(build, damage, tmp_path):
    path, images = build(tmp_path)
    damage(images / "b.png")
    found = {f.rule: f for f in examine([Split("", read_data_set(path))])}
    finding = found["unreadable"]
    assert (finding.severity, finding.count, finding.of) == (Severity.error, 1, 3)
    assert finding.examples[0].startswith("b.png: ")
    assert "not-listed" not in found and "missing" not in found
    if "assumed" in found:
        assert not any("cannot be read" in text for text in found["assumed"].examples)


@pytest.mark.parametrize("build", SIZELESS)
def test_reading_says_once_what_it_leaves_out(build, tmp_path):
    path, images = build(tmp_path)
    for name in ("a.png", "b.png"):
        empty(images / name)
    data = read_data_set(path)
    said = [line for line in data.annotations.warnings() if "cannot be read" in line]
    why = "not an image that can be read"
    assert said == [
        f"2 images cannot be read and are left out: a.png ({why}), b.png ({why})",
    ]
    assert dict(data.unread) == dict.fromkeys(["a.png", "b.png"], why)


def test_headers_are_enough_to_find_them(tmp_path):
    path, images = yolo(tmp_path)
    empty(images / "b.png")
    found = {f.rule: f for f in examine([Split("", read_data_set(path))], Depth.headers)}
    assert found["unreadable"].examples == ("b.png: not an image that can be read",)


def test_a_few_of_many_are_a_warning(tmp_path):
    path, images = yolo(tmp_path)
    for k in range(40):
        (images / f"{k}.png").write_bytes((images / "b.png").read_bytes())
    empty(images / "b.png")
    found = {f.rule: f for f in examine([Split("", read_data_set(path))], Depth.headers)}
    finding = found["unreadable"]
    assert (finding.severity, finding.count, finding.of) == (Severity.warning, 1, 43)


@pytest.mark.parametrize("build", [*SIZELESS, sized_coco])
def test_the_exit_code_is_that_of_errors(build, tmp_path):
    path, images = build(tmp_path)
    empty(images / "b.png")
    result = CliRunner().invoke(app, ["dataset", "check", str(path), "--quick"])
    assert result.exit_code == 2
    assert "[unreadable]" in result.stdout and "[not-listed]" not in result.stdout
