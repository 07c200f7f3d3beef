"""The data that a fit is made from: every change is noticed, and said in one line."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.pipeline.tools.fitting import inputs
from fdet.pipeline.tools.fitting.inputs import Inputs, content_is_same, differences, inputs_of
from fdet.pipeline.tools.fitting.options import FitOptions

from ...dataset.made import draw, sound


@pytest.fixture
def data(tmp_path) -> Path:
    made = sound(tmp_path / "data")
    made.write()
    return made.folder


def now(data: Path, **more) -> Inputs:
    return inputs_of(FitOptions(data=data, out=data.parent / "work", **more))


def change(path: Path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def test_the_same_data_have_the_same_digest(data, monkeypatch):
    before = now(data)
    assert before.images == 12 and set(before.parts) == {"train", "val"}
    assert now(data).digest == before.digest
    monkeypatch.chdir(data)
    assert now(Path()).digest == before.digest, "in whatever way the folder is named"


def test_it_is_read_as_it_was_written(data, tmp_path):
    before = now(data)
    (tmp_path / inputs.NAME).write_bytes(before.to_bytes())
    read = Inputs.read(tmp_path, before.digest)
    assert read == before
    assert Inputs.read(tmp_path, "0" * 64) is None
    assert Inputs.read(data, before.digest) is None


def moved(name: str, field: str, value):
    def edit(data: Path) -> None:
        def entry(coco):
            coco[name][0][field] = value
            if field == "id" and name == "images":
                for annotation in coco["annotations"][:2]:
                    annotation["image_id"] = value

        change(data / "train.json", entry)

    return edit


def without_first(data: Path) -> None:
    def edit(coco):
        gone = coco["images"].pop(0)["id"]
        coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] != gone]

    change(data / "train.json", edit)


def reformatted(data: Path) -> None:
    text = (data / "val.json").read_text()
    (data / "val.json").write_text(text + "\n")


CHANGES = {
    "box": (moved("annotations", "bbox", [1, 1, 5, 5]), "1 image with other objects (0.png)"),
    "crowd": (moved("annotations", "iscrowd", 1), "1 image with other objects (0.png)"),
    "image id": (moved("images", "id", 99), "the annotations (train)"),
    "name of a class": (moved("categories", "name", "horse"), "1 class added in train (horse)"),
    "removed": (without_first, "1 image gone (0.png)"),
    "reformatted": (reformatted, "the annotations (val)"),
    "edited": (
        lambda data: shutil.copy(data / "images" / "1.png", data / "images" / "7.png"),
        "1 image with another file (7.png)",
    ),
    "touched": (lambda data: touch(data / "images" / "7.png"), "1 image with another file (7.png)"),
    "missing": (
        lambda data: [(data / "images" / f"{k}.png").unlink() for k in (2, 3)],
        "2 images with another file (the first: 2.png)",
    ),
    "one part": (
        lambda data: (data / "val.json").unlink(),
        "it was used as train, val, and would be as data",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed_and_described(name, data):
    edit, said = CHANGES[name]
    before = now(data)
    edit(data)
    after = now(data)
    assert after.digest != before.digest
    changes = differences(before, after)
    assert any(said in line for line in changes), changes


def test_what_was_added_is_counted(data):
    after = now(data)
    before = replace(
        after.parts["train"], images=dict(list(after.parts["train"].images.items())[2:])
    )
    assert differences(Inputs({**after.parts, "train": before}), after) == [
        "2 images added (the first: 0.png)"
    ]


def test_a_file_of_the_same_content_is_no_change(data, monkeypatch, tmp_path):
    before = now(data)
    touch(data / "images" / "7.png")
    after = now(data)
    assert differences(before, after, lambda image: image == ("val", "7.png")) == []
    assert differences(before, after, content_is_same(tmp_path, after)), "nothing is extracted"
    kept = {"val.fdet": {"7.png": inputs.file_sha256(data / "images" / "7.png")}}
    monkeypatch.setattr(inputs, "_extracted", lambda cache: kept.get(cache.name, {}))
    assert differences(before, after, content_is_same(tmp_path, after)) == []
    kept["val.fdet"]["7.png"] = "0" * 64
    assert differences(before, after, content_is_same(tmp_path, after))


def test_data_that_are_split_are_one_part(data, monkeypatch, tmp_path):
    file, images = data / "train.json", data / "images"
    before = now(file, images=images)
    assert set(before.parts) == {"data"}
    touch(images / "1.png")
    after = now(file, images=images)
    kept = {"val.fdet": {"1.png": inputs.file_sha256(images / "1.png")}}
    monkeypatch.setattr(inputs, "_extracted", lambda cache: kept.get(cache.name, {}))
    assert differences(before, after, content_is_same(tmp_path, after)) == []


def test_the_files_of_a_complete_cache_are_known(dataset, quick_caches, tmp_path):
    folder, cache = dataset.parent / "images", tmp_path / "train.fdet"
    shutil.copytree(quick_caches["zarr"], cache)
    found = inputs._extracted(cache)
    names = [image["file_name"] for image in json.loads(dataset.read_text())["images"]]
    assert found == {name: inputs.file_sha256(folder / name) for name in names}
    (cache / "manifest.json").unlink()
    assert inputs._extracted(cache) == {}
    assert inputs._extracted(tmp_path / "none") == {}


@pytest.mark.parametrize("format", ["yolo", "voc", "csv"])
def test_one_image_that_is_gone_is_the_only_change(format, tmp_path):
    """Made-up ids of images and classes change with it, as the first class was only in it."""
    folder = tmp_path / "set"
    write_set(folder, format, ["a", *"bcbcbc"])
    before = now(folder)
    for path in (*folder.rglob("0.*"),):
        path.unlink()
    if format == "csv":
        rows = (folder / "boxes.csv").read_text().splitlines()
        (folder / "boxes.csv").write_text("\n".join(r for r in rows if "0.png" not in r))
    changes = differences(before, now(folder))
    gone = [] if format == "yolo" else ["1 class gone in data (a)"]
    assert changes == [*gone, "1 image gone (0.png)"]


def write_set(folder: Path, format: str, classes: list[str]) -> None:
    """Write a set with one object of each class in an image of its own."""
    rows = ["file,x1,y1,x2,y2,class"]
    for k, name in enumerate(classes):
        draw(folder / f"{k}.png", k)
        rows.append(f"{k}.png,2,2,20,20,{name}")
        if format == "yolo":
            (folder / f"{k}.txt").write_text(f"{'abc'.index(name)} 0.5 0.5 0.3 0.3\n")
        if format == "voc":
            box = "<xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax>"
            (folder / f"{k}.xml").write_text(
                f"<annotation><filename>{k}.png</filename><object><name>{name}</name>"
                f"<bndbox>{box}</bndbox></object></annotation>"
            )
    if format == "csv":
        (folder / "boxes.csv").write_text("\n".join(rows))
    if format == "yolo":
        (folder / "data.yaml").write_text("train: .\nnames: [a, b, c]\n")


def test_data_of_an_older_fdet_are_compared_by_files_and_annotations(data, tmp_path):
    first = json.loads(now(data).to_bytes())
    first["format"] = 1
    for part in first["parts"].values():
        del part["classes"]
        part["images"] = {n: f"{s.rpartition(' ')[0]} 0123" for n, s in part["images"].items()}
    raw = json.dumps(first).encode()
    (tmp_path / inputs.NAME).write_bytes(raw)
    before = Inputs.read(tmp_path, hashlib.sha256(raw).hexdigest())
    assert differences(before, now(data)) == []
    moved("annotations", "bbox", [1, 1, 5, 5])(data)
    assert differences(before, now(data)) == ["the annotations (train)"]


def test_images_of_the_same_content_in_another_folder_are_no_change(data):
    file, images = data / "train.json", data / "images"
    before = now(file, images=images)
    shutil.copytree(images, data / "copies")
    assert differences(before, now(file, images=data / "copies")) == []
