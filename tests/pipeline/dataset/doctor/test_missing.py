"""Images that are missing are one error in every format, with the objects that are lost with them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import InputError
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.check import check_there
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set
from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.finding import Severity
from fdet.pipeline.dataset.doctor.subject import Split
from fdet.pipeline.dataset.splits.named_splits import read_splits

from ..formats.builders import OBJECTS, SIZES, draw, write, write_csv, write_voc, write_yolo
from .test_unreadable import SIZELESS, open_images, sized_coco, sizeless_coco, sizeless_csv, yolo


def yolo_list(root: Path) -> tuple[Path, Path]:
    write_yolo(root)
    rows = "".join(f"images/train/{name}\n" for name in SIZES)
    write(root / "train.txt", rows)
    file = root / "data.yaml"
    file.write_text(file.read_text().replace("train: images/train", "train: train.txt"))
    return file, root / "images" / "train"


def sized_voc(root: Path) -> tuple[Path, Path]:
    return write_voc(root), root / "JPEGImages"


SIZED = (sized_coco, sized_voc)
REFUSED = (*SIZELESS, yolo_list)


def findings(path: Path) -> dict:
    splits = [Split(name, data) for name, data in read_splits([path], whole=False).items()]
    return {finding.rule: finding for finding in examine(splits)}


@pytest.mark.parametrize("build", [*SIZED, *REFUSED])
def test_the_doctor_counts_the_images_and_their_objects(build, tmp_path):
    path, images = build(tmp_path)
    (images / "b.png").unlink()
    found = findings(path)
    finding = found["missing"]
    assert (finding.severity, finding.count, finding.of) == (Severity.error, 1, 3)
    # The table of open_images has one row for each image.
    objects = "1 object" if build is open_images else f"{len(OBJECTS['b.png'])} objects"
    assert finding.what == f"annotated images are missing, with {objects}"
    assert "b." in finding.examples[0]
    assert "unreadable" not in found and "assumed" not in found
    result = CliRunner().invoke(app, ["dataset", "check", str(path), "--quick"])
    assert result.exit_code == 2
    assert "[missing]" in result.stdout and "1 error, " in result.stdout


@pytest.mark.parametrize("build", [*SIZED, *REFUSED])
def test_an_extraction_refuses_them(build, tmp_path):
    path, images = build(tmp_path)
    (images / "b.png").unlink()

    def checked() -> None:
        check_there(images, read_data_set(path).annotations.images)

    with pytest.raises(InputError, match=r"1 of 3 images are missing.*b\."):
        checked()


@pytest.mark.parametrize("build", REFUSED)
def test_made_up_ids_are_not_given_without_them(build, tmp_path):
    """An image that is left out would give its id to the next one."""
    path, images = build(tmp_path)
    (images / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images are missing, with \d objects?: .*b\."):
        load_annotations(path)


@pytest.mark.parametrize("build", [sizeless_coco, sizeless_csv, open_images, yolo_list])
def test_where_all_are_missing_nothing_is_left_to_check(build, tmp_path):
    path, images = build(tmp_path)
    for name in SIZES:
        (images / name).unlink()
    with pytest.raises(InputError):
        read_splits([path], whole=False)


def test_two_of_a_list_are_counted_with_their_lines(tmp_path):
    path, images = yolo_list(tmp_path)
    (images / "a.png").unlink()
    (images / "c.png").unlink()
    finding = findings(path)["missing"]
    assert finding.count == 2 and finding.what.endswith(f"{len(OBJECTS['a.png'])} objects")
    assert finding.examples == (
        "train: images/train/a.png (train.txt line 1)",
        "train: images/train/c.png (train.txt line 3)",
    ) or finding.examples == (
        "images/train/a.png (train.txt line 1)",
        "images/train/c.png (train.txt line 3)",
    )


def test_an_image_whose_suffix_no_image_has_cannot_be_read(tmp_path):
    path, images = yolo(tmp_path)
    (images / "b.png").rename(images / "b.heic")
    found = findings(path)
    assert "missing" not in found
    assert found["unreadable"].examples == ("b.heic: its suffix is that of no image",)


def test_a_table_of_px_without_sizes_counts_its_rows(tmp_path):
    path = write_csv(tmp_path)
    draw(tmp_path / "images" / "a.png")
    path.write_text(path.read_text() + "x.png,1,1,5,5,cat\n")
    assert findings(path)["missing"].what == "annotated images are missing, with 1 object"
