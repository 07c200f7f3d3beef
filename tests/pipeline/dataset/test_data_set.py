"""What all formats have in common: which one a path is, its split, names and sizes from the files."""

import json

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.coco_json import parse_annotations
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set, splits_of
from fdet.pipeline.dataset.formats import FORMATS
from fdet.pipeline.dataset.formats.writing import WRITERS

from .formats.builders import (
    ALPHABETICAL,
    FROM_ZERO,
    NAMES,
    SIZES,
    coco,
    draw_all,
    write,
    write_coco,
    write_csv,
    write_voc,
    write_yolo,
)

BUILDERS = {
    "coco": lambda folder: write_coco(folder, FROM_ZERO),
    "yolo": write_yolo,
    "voc": write_voc,
    "csv": write_csv,
}


def objects(annotations):
    """The objects by image and class name, without any id."""
    return {
        image.file_name: [
            (annotations.class_names[label], box, area)
            for label, box, area in zip(o.labels, o.boxes.tolist(), o.area.tolist(), strict=True)
        ]
        for image in annotations.images
        for o in [annotations.of_image(image.id)]
    }


def test_copies_of_one_data_set_are_the_same_in_every_format(tmp_path):
    read = {name: read_data_set(build(tmp_path / name)) for name, build in BUILDERS.items()}
    assert {*read, "lvis"} == set(FORMATS)
    for name, data in read.items():
        assert data.format == name
        assert objects(data.annotations) == objects(read["coco"].annotations)
        assert [i.hw for i in data.annotations.images] == [
            i.hw for i in read["coco"].annotations.images
        ]


@pytest.mark.parametrize("name", BUILDERS)
def test_what_a_cache_keeps_is_coco_json_that_says_the_same(name, tmp_path):
    data = read_data_set(BUILDERS[name](tmp_path))
    kept = parse_annotations(data.raw, "kept")
    assert objects(kept) == objects(data.annotations)
    assert (kept.images, kept.class_ids) == (data.annotations.images, data.annotations.class_ids)
    assert load_annotations(BUILDERS[name](tmp_path))[1] == data.raw


@pytest.mark.parametrize("name", BUILDERS)
def test_format_and_split_are_checked(name, tmp_path):
    path = BUILDERS[name](tmp_path)
    assert read_data_set(path, format=name).format == name
    with pytest.raises(InputError, match=r"--format 'yoloo'; did you mean 'yolo'\?"):
        read_data_set(path, format="yoloo")
    with pytest.raises(InputError, match=r"--split '?holdout"):
        read_data_set(path, split="holdout")
    with pytest.raises(InputError, match="No such file"):
        read_data_set(tmp_path / "absent", format=name)


@pytest.mark.parametrize("given", ["val", "valid", "validation", "dev"])
def test_a_split_has_several_names(given, tmp_path):
    write(tmp_path / "train.json", json.dumps(coco(FROM_ZERO)))
    write(tmp_path / "valid.json", json.dumps(coco(ALPHABETICAL)))
    draw_all(tmp_path / "images")
    assert splits_of(tmp_path) == ("train", "valid")
    assert read_data_set(tmp_path, split=given).annotations.class_ids == (1, 2, 3)
    with pytest.raises(InputError, match=r"--split 'test': .* has train, valid"):
        read_data_set(tmp_path, split="test")


def changed(folder, change):
    """A COCO file whose image entries are changed."""
    file = write_coco(folder, FROM_ZERO)
    data = json.loads(file.read_text())
    for entry in data["images"]:
        change(entry)
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize("value", [None, 0, ...])
def test_sizes_that_are_not_given_come_from_the_files(value, tmp_path):
    def change(entry):
        for name in ("width", "height"):
            entry[name] = value
            if value is ...:
                del entry[name]

    data = read_data_set(changed(tmp_path, change))
    assert [(i.file_name, i.hw[::-1]) for i in data.annotations.images] == list(SIZES.items())
    assert parse_annotations(data.raw, "kept").images == data.annotations.images


def sizeless(entry):
    entry["width"] = 0


def test_images_of_unknown_size_that_cannot_be_read_are_left_out_with_their_objects(tmp_path):
    file = changed(tmp_path, sizeless)
    (tmp_path / "images" / "a.png").write_bytes(b"not an image")
    annotations = read_data_set(file).annotations
    assert [i.file_name for i in annotations.images] == ["b.png", "c.png"]
    assert len(annotations.packed) == 2
    (remark,) = annotations.warnings()
    assert remark.startswith(
        "1 images without a size cannot be read and are left out, e.g. a.png ("
    )
    for name in ("b.png", "c.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no image can be read: a\.png"):
        read_data_set(file)


def test_images_of_unknown_size_that_are_missing_are_refused(tmp_path):
    file = changed(tmp_path, sizeless)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(
        InputError, match=r"1 images, whose sizes are not given, are missing .*: b\.png"
    ):
        read_data_set(file)


def test_absolute_names_are_relative_to_the_folder_of_the_images(tmp_path):
    file = changed(tmp_path, lambda e: e.update(file_name=f"{tmp_path}/images/{e['file_name']}"))
    data = read_data_set(file, tmp_path / "images")
    assert [i.file_name for i in data.annotations.images] == list(SIZES)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(file_name=e["file_name"].upper()),
        lambda e: e.update(file_name="elsewhere/" + e["file_name"]),
    ],
)
def test_names_that_mean_one_file_beyond_doubt_are_taken_and_counted(change, tmp_path):
    data = read_data_set(changed(tmp_path, change), tmp_path / "images")
    assert [i.file_name for i in data.annotations.images] == list(SIZES)
    assert "3 images were found under another name or folder" in data.annotations.warnings()[0]


def test_rows_of_both_tables_say_what_they_are():
    assert set(WRITERS) <= set(FORMATS)
    assert all(kind.help for kind in FORMATS.values())


def test_a_rotated_image_of_unknown_size_has_the_one_that_people_see(tmp_path):
    file = changed(tmp_path, sizeless)
    image = Image.new("RGB", SIZES["a.png"])
    exif = image.getexif()
    exif[0x0112] = 8
    image.save(tmp_path / "images" / "a.png", exif=exif)
    assert read_data_set(file).annotations.images[0].hw == SIZES["a.png"]


def test_names_of_classes_are_the_same_everywhere(tmp_path):
    for name, build in BUILDERS.items():
        assert sorted(read_data_set(build(tmp_path / name)).annotations.class_names) == sorted(
            NAMES
        )
