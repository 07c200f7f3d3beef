"""Images that are missing end a fit; with --ignore-errors it goes on with the others, in every format."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import InputError
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.tools.fitting.session import StepFailed

from ...dataset.made import sound
from .fake import STEPS, Fake, fitted, option

pytestmark = pytest.mark.usefixtures("as_for_users")


def coco(root: Path) -> Path:
    return root


def sizeless(root: Path) -> Path:
    for file in root.glob("*.json"):
        data = json.loads(file.read_text())
        for image in data["images"]:
            del image["width"], image["height"]
        file.write_text(json.dumps(data))
    return root


def yolo_lists(root: Path) -> Path:
    out = converted(root, "yolo")
    for split in ("train", "val"):
        rows = [f"./images/{split}/{p.name}" for p in sorted((out / "images" / split).iterdir())]
        (out / f"{split}.txt").write_text("\n".join(rows))
    file = out / "data.yaml"
    file.write_text(
        file.read_text()
        .replace(": images/train", ": train.txt")
        .replace(": images/val", ": val.txt")
    )
    return out


def yolo(root: Path) -> Path:
    return converted(root, "yolo")


def voc(root: Path) -> Path:
    return converted(root, "voc")


def converted(root: Path, to: str) -> Path:
    out = root.parent / to
    done = CliRunner().invoke(app, ["dataset", "convert", str(root), "--to", to, "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


FORMATS = (coco, sizeless, yolo, yolo_lists, voc)


@pytest.fixture(params=FORMATS, ids=lambda f: f.__name__)
def lacking(request, tmp_path) -> Path:
    """A data set of train and val, six images each, two and one of which are missing."""
    made = sound(tmp_path / "data")
    made.write()
    root = request.param(made.folder)
    for name in ("1.png", "2.png", "8.png"):
        for file in root.rglob(name):
            file.unlink()
    return root


def test_it_ends_and_says_how_to_go_on(lacking):
    with pytest.raises(StepFailed, match=r"the data set has errors .*or give --ignore-errors"):
        fitted(lacking)


def test_with_ignored_errors_it_goes_on_with_what_is_there(lacking):
    fake = fitted(lacking, ignore_errors=True)
    assert fake.names == STEPS
    said = [line for line in fake.said if line.startswith("warning: ") and "missing" in line]
    assert len(said) == 2 and all(
        line.endswith("--ignore-errors goes on without them") for line in said
    )
    assert ": 2 of 6 images are missing, with 4 objects: " in said[0]
    assert ": 1 of 6 images are missing, with 2 objects: " in said[1]
    for words, name, count in zip(fake.of("extract"), ("train", "val"), (4, 5), strict=True):
        assert words[1] == f"work/parts/{name}.json"
        data = read_data_set(Path(words[1]), Path(option(words, "--images")))
        assert len(data.annotations.images) == count
        assert len(data.annotations.packed) == 2 * count
    assert fitted(lacking, ignore_errors=True).calls == [], "it is the same fit"


def test_a_set_that_is_split_is_split_without_them(data):
    given = {"data": data / "train.json", "images": data / "images"}
    (data / "images" / "3.png").unlink()
    with pytest.raises(
        InputError, match=r"1 of 6 images are missing.*, or give --ignore-errors to go on"
    ):
        fitted(**given)
    fake = fitted(**given, ignore_errors=True)
    assert fake.names == ["split", *STEPS]
    assert fake.of("split")[0][2] == "work/parts/data.json"
    names = [
        image["file_name"]
        for part in ("train", "val")
        for image in json.loads(Path(f"work/data/{part}.json").read_text())["images"]
    ]
    assert sorted(names) == ["0.png", "1.png", "2.png", "4.png", "5.png"]


def test_an_image_that_is_there_again_is_a_change_of_the_data(data):
    lost = (data / "images" / "3.png").rename(data / "3.png")
    fitted(data, ignore_errors=True)
    lost.rename(data / "images" / "3.png")
    with pytest.raises(InputError, match=r"the data have changed .*: 1 image added \(3\.png\)"):
        fitted(data, ignore_errors=True)


def test_where_all_are_missing_nothing_is_left(data):
    for file in (data / "images").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="all of its images are missing below"):
        fitted(data, Fake(), ignore_errors=True, images=data / "images")
