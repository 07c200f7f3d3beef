"""What all formats have in common: which one a path is, its split, names and sizes from the files."""

import json

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.check import check_there
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.data_name import DataName
from fdet.pipeline.dataset.data_set import (
    check_data_name,
    load_annotations,
    read_data_set,
    splits_of,
)
from fdet.pipeline.dataset.formats import FORMATS
from fdet.pipeline.dataset.writing.writers import WRITERS

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
    assert remark.startswith("1 image cannot be read and is left out: a.png (")
    for name in ("b.png", "c.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no image can be read: a\.png"):
        read_data_set(file)


def test_images_of_unknown_size_that_are_missing_are_refused(tmp_path):
    file = changed(tmp_path, sizeless)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images are missing, with 2 objects: b\.png"):
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


def three(folder, names, **image):
    """Three images, drawn below `folder`, with a box each, under the names that the file gives them."""
    entries = [
        {"id": k, "file_name": n, "width": 40, "height": 30, **image} for k, n in enumerate(names)
    ]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [1, 2, 9, 8]} for k in range(len(names))
    ]
    data = {"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "disc"}]}
    return write(folder / "train.json", json.dumps(data))


def drawn(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)
    return folder


def test_a_missing_image_is_not_another_one_of_its_name(tmp_path):
    images = drawn(tmp_path / "images", "train/0.png", "train/1.png", "val/2.png")
    path = three(tmp_path, ["train/0.png", "train/1.png", "train/2.png"])
    read = read_data_set(path, images)
    assert [i.file_name for i in read.annotations.images][2] == "train/2.png"
    assert read.annotations.remarks == ()


@pytest.mark.parametrize(
    "prefix", ["/home/me/set/images/", "C:\\set\\images\\", "../images/", "/images/"]
)
def test_paths_of_another_machine_are_read_by_their_ends(prefix, tmp_path):
    images = drawn(tmp_path / "images", "a/0.png", "a/1.png", "b/0.png")
    end = [n.replace("/", "\\") if "\\" in prefix else n for n in ("a/0.png", "a/1.png", "b/0.png")]
    path = three(tmp_path, [prefix + name for name in end])
    for read in (read_data_set(path, images), read_data_set(path)):
        assert [i.file_name for i in read.annotations.images] == ["a/0.png", "a/1.png", "b/0.png"]
        (remark,) = read.annotations.remarks
        assert remark.startswith("3 images are given by paths that leave the folder, e.g. ")


@pytest.mark.parametrize("prefix", ["/home/me/set/images/", "C:\\set\\images\\", "../images/"])
def test_paths_of_another_machine_may_be_in_other_case(prefix, tmp_path):
    images = drawn(tmp_path / "images", "a/img0.png", "a/img1.png", "b/img2.PNG")
    end = ["A/IMG0.PNG", "a/IMG1.png", "B/img2.png"]
    names = [prefix + (n.replace("/", "\\") if "\\" in prefix else n) for n in end]
    path = three(tmp_path, names)
    for read in (read_data_set(path, images), read_data_set(path)):
        found = [i.file_name for i in read.annotations.images]
        assert found == ["a/img0.png", "a/img1.png", "b/img2.PNG"]
        (remark,) = read.annotations.remarks
        assert remark.startswith("3 images are given by paths that leave the folder, e.g. ")


def test_a_path_of_another_machine_in_other_case_must_mean_one_file(tmp_path):
    images = drawn(tmp_path / "images", "a.png", "A.PNG", "b.png", "c.png")
    path = three(tmp_path, ["C:\\x\\a.Png", "C:\\x\\b.png", "C:\\x\\c.png"])
    read = read_data_set(path, images)
    assert read.annotations.images[0].file_name == "a.Png", "it is missing"


@pytest.mark.parametrize("prefix", ["/home/me/", "C:\\set\\"])
def test_one_of_many_paths_of_another_machine_may_be_missing(prefix, tmp_path):
    images = drawn(tmp_path / "images", "0.png", "1.png")
    path = three(tmp_path, [prefix + name for name in ("0.png", "1.png", "9.png")])
    read = read_data_set(path, images)
    assert [i.file_name for i in read.annotations.images] == ["0.png", "1.png", "9.png"]
    with pytest.raises(InputError, match=r"1 of 3 images are missing below .*: 9\.png"):
        check_there(images, read.annotations.images)


def test_paths_that_leave_the_folder_and_mean_no_file_of_it_are_refused(tmp_path):
    images = drawn(tmp_path / "images", "0.png", "1.png")
    for names in (["/x/0.png", "/x/1.png", "/y/9.png"], ["/x/0.png", "/y/0.png", "/x/1.png"]):
        with pytest.raises(InputError, match="leaves the image folder"):
            read_data_set(three(tmp_path, names), images)


def test_absolute_names_of_files_that_exist_need_no_folder(tmp_path):
    far = drawn(tmp_path / "far", "a/0.png", "b/1.png", "b/2.png")
    path = three(tmp_path / "set", [str(far / n) for n in ("a/0.png", "b/1.png", "b/2.png")])
    read = read_data_set(path)
    assert read.images == far
    assert [i.file_name for i in read.annotations.images] == ["a/0.png", "b/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("names", "size"),
    [
        (["A.PNG", "b.png", "c.png"], {}),
        (["a.png", "b.png", "c.png"], {"width": None}),
        (["a.png", "b.png", "c.png"], {"width": 0, "height": "0"}),
        (["/x/a.png", "/x/b.png", "/x/c.png"], {}),
    ],
)
def test_annotations_alone_are_read_as_in_an_extraction(names, size, tmp_path):
    drawn(tmp_path / "images", "a.png", "b.png", "c.png")
    path = three(tmp_path, names, **size)
    read = read_data_set(path)
    annotations, raw = load_annotations(path)
    assert annotations.images == read.annotations.images and raw == read.raw
    assert [i.file_name for i in annotations.images] == ["a.png", "b.png", "c.png"]


def test_annotations_are_read_where_their_images_are_not(tmp_path):
    path = three(tmp_path, ["a.png", "b.png", "c.png"])
    annotations, raw = load_annotations(path)
    assert [i.file_name for i in annotations.images] == ["a.png", "b.png", "c.png"]
    assert raw == path.read_bytes()


@pytest.mark.parametrize("name", ["x\\y.png", "x\\y\\z.png", "C:\\z.png"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_backslash_is_a_letter_where_there_is_such_a_file(name, sized, tmp_path):
    data = coco(FROM_ZERO)
    draw_all(tmp_path / "images")
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / name)
    data["images"][0]["file_name"] = name
    if not sized:
        del data["images"][0]["width"]
    read = read_data_set(write(tmp_path / "set.json", json.dumps(data)))
    assert [image.file_name for image in read.annotations.images] == [name, "b.png", "c.png"]
    assert read.annotations.warnings() == [f"1 image has a backslash in its name: {name}"]
    kept = parse_annotations(read.raw, "a cache's copy")
    assert kept.images == read.annotations.images


def test_it_parts_folders_elsewhere(tmp_path):
    data = coco(FROM_ZERO)
    draw_all(tmp_path / "images" / "x")
    for image in data["images"]:
        image["file_name"] = f"x\\{image['file_name']}"
    read = read_data_set(write(tmp_path / "set.json", json.dumps(data)))
    assert [image.file_name for image in read.annotations.images] == [
        "x/a.png",
        "x/b.png",
        "x/c.png",
    ]
    assert read.annotations.warnings() == []


@pytest.mark.parametrize("name", ["..\\x", "/x", "../x", "a\0b"])
def test_the_mark_of_such_a_name_opens_no_other_folder(name):
    data = coco(FROM_ZERO)
    data["images"][0] |= {"file_name": name, "literal_file_name": True}
    if name == "..\\x":  # It is one plain name then.
        assert parse_annotations(json.dumps(data).encode(), "x").images[0].file_name == name
        return
    with pytest.raises(InputError, match=r"images\[0\]\.file_name leaves the image folder"):
        parse_annotations(json.dumps(data).encode(), "x")


def test_messages_name_the_option_of_the_split(tmp_path):
    path = write_yolo(tmp_path).parent
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images\nnames: [cat, dog, ant]\n"
    )
    for split, said in (("tset", "--val-split 'tset': "), (None, "say which by --val-split")):
        given = DataName(path, split=split, option="--val-split")
        with pytest.raises(InputError, match=said):
            check_data_name(given)
        with pytest.raises(InputError, match=said):
            load_annotations(given)


def test_a_json_that_is_not_utf_8_says_the_line(tmp_path):
    text = json.dumps(coco(FROM_ZERO), indent=1).replace("ant", "fourmi à")
    line = text[: text.index("fourmi à")].count("\n") + 1
    file = write(tmp_path / "set.json", text.replace("\\u00e0", "à").encode("latin-1"))
    message = f"{file}: line {line}: not UTF-8; save the file in UTF-8"
    with pytest.raises(InputError) as caught:
        read_data_set(file)
    assert str(caught.value) == message
