"""Classes that are known by name alone have one id each in all data sets that a command reads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.splits.named_splits import read_splits

from ..formats.builders import HEADER, draw, write, write_coco


def voc(folder: Path, *classes: str) -> Path:
    """A folder of images with an object of one class each."""
    for name in classes:
        draw(folder / f"{folder.name}-{name}.png", (20, 10))
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
        text = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        write(folder / f"{folder.name}-{name}.xml", text)
    return folder


def table(folder: Path, *classes: str) -> Path:
    rows = []
    for name in classes:
        draw(folder / f"{folder.name}-{name}.png", (20, 10))
        rows.append(f"{folder.name}-{name}.png,1,1,9,8,{name}\n")
    return write(folder / "boxes.csv", HEADER + "".join(rows))


def classes_of(data) -> dict[int, str]:
    return dict(zip(data.annotations.class_ids, data.annotations.class_names, strict=True))


def objects_of(data) -> dict[str, str]:
    """The class of the object of each image, by the image's name."""
    a = data.annotations
    return {i.file_name: a.class_names[a.of_image(i.id).labels[0]] for i in a.images}


@pytest.mark.parametrize("build", [voc, table])
def test_ids_are_those_of_training_by_name(build, tmp_path):
    train = build(tmp_path / "one", "cat", "dog", "owl")
    val = build(tmp_path / "two", "owl", "cat")
    read = list(read_splits([train, val]).values())
    assert classes_of(read[0]) == classes_of(read[1]) == {1: "cat", 2: "dog", 3: "owl"}
    assert objects_of(read[1]) == {"two-cat.png": "cat", "two-owl.png": "owl"}
    for data in read:
        kept = parse_annotations(data.raw, "raw")
        assert kept.packed.labels.tolist() == data.annotations.packed.labels.tolist()
        assert kept.class_names == data.annotations.class_names


def test_the_training_split_decides_wherever_it_stands(tmp_path):
    val = voc(tmp_path / "a" / "val", "ant", "owl")
    train = voc(tmp_path / "b" / "train", "owl", "pig")
    read = read_splits([val, train])
    assert list(read) == ["val", "train"]
    assert classes_of(read["train"]) == {1: "owl", 2: "pig"}
    assert classes_of(read["val"]) == {1: "owl", 2: "pig", 3: "ant"}


@pytest.mark.parametrize("build", [voc, table])
def test_a_class_that_training_lacks_is_named(build, tmp_path):
    paths = [build(tmp_path / "one", "cat", "dog"), build(tmp_path / "two", "ant", "cat")]
    result = CliRunner().invoke(app, ["dataset", "check", *map(str, paths)])
    assert result.exit_code == 2
    text = " ".join(result.stdout.split())
    assert "1 of 3 classes are not listed by all splits with the same id [class-ids]" in text
    assert "e.g. 3 ant: only in" in text


def test_several_splits_number_what_training_lacks_alike(tmp_path):
    paths = [
        voc(tmp_path / "one", "cat"),
        voc(tmp_path / "two", "dog", "ant"),
        voc(tmp_path / "three", "ant", "pig"),
    ]
    one, two, three = read_splits(paths).values()
    assert classes_of(one) == {1: "cat"}
    assert classes_of(two) == {1: "cat", 2: "ant", 3: "dog"}
    assert classes_of(three) == {1: "cat", 2: "ant", 4: "pig"}


def test_ids_that_are_given_stay(tmp_path):
    given = write_coco(tmp_path / "given", {"cat": 7, "dog": 2, "ant": 5})
    named = voc(tmp_path / "named", "ant", "dog")
    read = list(read_splits([given, named]).values())
    assert classes_of(read[0]) == classes_of(read[1]) == {2: "dog", 5: "ant", 7: "cat"}
    read = list(read_splits([named, given]).values())
    assert classes_of(read[0]) == {1: "ant", 2: "dog"}
    assert classes_of(read[1]) == {2: "dog", 5: "ant", 7: "cat"}


def test_outlines_stay(tmp_path):
    for folder, name in (("one", "cat"), ("two", "ant")):
        path = voc(tmp_path / folder, name)
        file = path / f"{folder}-{name}.xml"
        polygon = "<polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>1</y2><x3>9</x3><y3>8</y3></polygon>"
        file.write_text(file.read_text().replace("</bndbox>", f"</bndbox>{polygon}"))
    read = read_splits([tmp_path / "one", tmp_path / "two"], outlines=True)
    outlines = read["two"].annotations.packed.outlines
    assert outlines is not None
    assert [ring.tolist() for ring in outlines.of(0)] == [[1, 1, 9, 1, 9, 8]]


def coco_file(path, **ids):
    """A COCO file with a class of each name, under this id, and a box of each."""
    draw(path.parent / "images" / f"{path.stem}.png", (60, 60))
    boxes = [
        {"id": k, "image_id": 1, "category_id": number, "bbox": [k, k, 9, 9]}
        for k, number in enumerate(ids.values(), 1)
    ]
    data = {
        "images": [{"id": 1, "file_name": f"{path.stem}.png", "width": 60, "height": 60}],
        "annotations": boxes,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    return write(path, json.dumps(data))


@pytest.mark.parametrize(
    ("val", "said"),
    [
        ({"dog": 5}, "val: 1 class of other splits is added to its list: ant"),
        ({"ant": 5, "dog": 2}, "val: 2 classes get other ids, that of train: ant, dog"),
        ({"cow": 2, "dog": 5}, "val: 1 class gets another id, that of train: cow"),
    ],
)
@pytest.mark.parametrize("to", ["coco", "yolo"])
def test_converting_several_files_gives_them_one_list(to, val, said, tmp_path):
    """The advice of `fdet evaluate` where classes differ; boxes keep the names of their classes."""
    paths = [
        coco_file(tmp_path / "set" / "train.json", ant=2, dog=5),
        coco_file(tmp_path / "set" / "val.json", **val),
    ]
    out = tmp_path / "out"
    words = ["dataset", "convert", *map(str, paths), "--to", to, "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and said in result.stderr.splitlines()
    read = read_splits([out])
    train, other = (data.annotations for data in read.values())
    assert classes_of(read["train"]) == classes_of(read["val"])
    assert set(train.class_names) == {"ant", "dog", *val}
    shown = [other.class_names[label] for label in other.packed.labels]
    assert shown == list(val) and [train.class_names[k] for k in train.packed.labels] == [
        "ant",
        "dog",
    ]
    if to == "coco":
        assert classes_of(read["train"]) | {2: "ant", 5: "dog"} == classes_of(read["train"])
