"""Which part of the data is trained on and which is evaluated on, and how the other commands are told."""

import json
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.parts import Part, check_words, named_parts, split_parts

from ...dataset.made import sound


def options(data: Path, **more) -> FitOptions:
    return FitOptions(data=data, out=Path("work"), **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with train.json, val.json and images/."""
    made = sound(tmp_path_factory.mktemp("data"))
    made.write()
    return made.folder


def with_splits(tmp_path, folder, *names) -> Path:
    """A folder of COCO files with these splits."""
    out = tmp_path / "set"
    out.mkdir()
    for name in names:
        (out / f"{name}.json").write_bytes((folder / "train.json").read_bytes())
    return out


def test_splits_are_found_by_name(folder):
    assert named_parts(options(folder)) == (
        Part(folder, split="train"),
        Part(folder, split="val"),
    )


@pytest.mark.parametrize("name", ["valid", "validation", "val"])
def test_validation_has_several_names(name, folder, tmp_path):
    data = with_splits(tmp_path, folder, "train", name, "test")
    _, val = named_parts(options(data))
    assert val == Part(data, split=name)


def test_a_test_split_is_not_for_validation(folder, tmp_path):
    data = with_splits(tmp_path, folder, "train", "test")
    assert named_parts(options(data)) == (Part(data, split="train"), None)
    assert named_parts(options(data, val_split="test"))[1] == Part(data, split="test")


def test_a_set_without_splits_is_to_be_split(folder):
    file = folder / "train.json"
    assert named_parts(options(file, images=folder / "images")) == (
        Part(file, folder / "images"),
        None,
    )


def test_one_split_is_not_both_parts(folder, tmp_path):
    data = with_splits(tmp_path, folder, "val")
    assert named_parts(options(data)) == (Part(data, split="val"), None)
    assert named_parts(options(folder, split="val")) == (Part(folder, split="val"), None)
    assert named_parts(options(folder, split="valid")) == (Part(folder, split="valid"), None)
    file = folder / "train.json"
    for more in ({"data": data, "val_split": "val"}, {"data": file, "val": file}):
        with pytest.raises(InputError, match=r"the same data would be .* split off a fifth"):
            named_parts(options(**more))


def test_validation_data_have_their_own_path_and_by_default_the_same_images(folder):
    train, val, images = folder / "train.json", folder / "val.json", folder / "images"
    given = options(train, val=val, images=images, format="coco")
    assert named_parts(given) == (Part(train, images, "coco"), Part(val, images, "coco"))
    other = options(train, val=val, images=images, val_images=folder)
    assert named_parts(other)[1] == Part(val, folder)
    assert named_parts(options(train, val=folder))[1] == Part(folder, split="val")


def test_a_split_may_be_insisted_on(folder):
    train, val = named_parts(options(folder, split="val", val_split="train"))
    assert (train.split, val.split) == ("val", "train")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"split": "tarin"}, "--split 'tarin': .* has train, val"),
        ({"val_split": "text"}, "--val-split 'text': .* has train, val"),
        ({"format": "cooc"}, "--format 'cooc'; did you mean 'coco'"),
        ({"val": Path("nowhere.json")}, "--val nowhere.json: No such file"),
    ],
)
def test_what_is_not_there_is_refused(more, said, folder):
    with pytest.raises(InputError, match=said):
        named_parts(options(folder, **more))


def test_what_cannot_be_told_is_refused(folder, tmp_path):
    data = with_splits(tmp_path, folder, "val", "test")
    with pytest.raises(InputError, match="it has the splits val, test; say which by --split"):
        named_parts(options(data))
    file = folder / "train.json"
    with pytest.raises(InputError, match="say which by --val-split"):
        named_parts(options(file, val=with_splits(tmp_path / "set", folder, "train", "test")))
    with pytest.raises(InputError, match=r"--val-images .* has no split for validation"):
        named_parts(options(file, val_images=folder))


def test_words_say_what_looking_does_not_tell():
    assert Part(Path("a b.json")).words == ["a b.json"]
    whole = Part(Path("d"), Path("i"), "coco", "train")
    assert whole.words == ["d", "--images", "i", "--format", "coco", "--split", "train"]
    assert whole.annotation_words == [
        *("--annotations", "d", "--annotations-format", "coco", "--split", "train")
    ]


FOLDERS = [Path("found-i"), Path("found-j")]


def test_one_check_sees_both_parts(folder):
    train, val = Part(folder, split="train"), Part(folder, split="val")
    expected = [str(folder), "--split", "train", "--split", "val"]
    assert check_words(train, val, FOLDERS) == expected
    train, val = (Part(Path(f"{name}.json"), Path("i"), "coco") for name in ("train", "val"))
    expected = ["train.json", "val.json", "--images", "i", "--format", "coco"]
    assert check_words(train, val, FOLDERS) == expected


def test_the_folders_of_images_are_named_where_they_differ(folder, tmp_path):
    images = ["--images", "found-i", "--images", "found-j"]
    train, val = Part(Path("train.json"), Path("i"), "coco"), Part(Path("val.json"), None, "coco")
    expected = ["train.json", "val.json", "--format", "coco", *images]
    assert check_words(train, val, FOLDERS) == expected
    alone = Part(with_splits(tmp_path, folder, "val"), Path("j"), None, "val")
    whole = Part(folder / "train.json", Path("i"))
    assert check_words(whole, alone, FOLDERS) == [str(whole.path), str(alone.path), *images]


def test_no_command_can_name_some_pairs_of_parts(folder, tmp_path):
    train, val = Part(folder, Path("i"), None, "train"), Part(folder, Path("j"), None, "val")
    assert check_words(train, val, FOLDERS) is None, "one path, and two folders of images"
    alone = Part(with_splits(tmp_path, folder, "val"), Path("i"), None, "val")
    assert check_words(train, alone, FOLDERS) is None, "one of several splits, of another path"


@pytest.mark.parametrize(("format", "kept"), [(None, None), ("yolo", None), ("lvis", "lvis")])
def test_the_parts_of_a_set_that_was_split_are_json(format, kept):
    found = split_parts(Path("w/data"), Path("i"), options(Path("d"), format=format))
    assert found == tuple(Part(Path(f"w/data/{n}.json"), Path("i"), kept) for n in ("train", "val"))


def test_a_part_is_read_as_it_is_named(folder):
    for part in named_parts(options(folder)):
        read, own = part.read(), json.loads((folder / f"{part.split}.json").read_text())
        assert [i.file_name for i in read.annotations.images] == [
            i["file_name"] for i in own["images"]
        ]
