"""Tables of boxes in the columns and dialects that programs write, read as their COCO form."""

from collections import Counter
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set, splits_of
from fdet.pipeline.dataset.formats import csv_columns
from fdet.pipeline.dataset.formats.files import read_text
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .builders import (
    ALPHABETICAL,
    FROM_ZERO,
    HEADER,
    OBJECTS,
    SIZES,
    assert_same,
    csv_rows,
    draw,
    draw_all,
    write,
    write_csv,
)


def deepforest() -> str:
    return HEADER + csv_rows()


def headless() -> str:
    return csv_rows()


def semicolons() -> str:
    return HEADER.replace(",", ";") + csv_rows(";")


def tabs() -> str:
    return HEADER.replace(",", "\t") + csv_rows("\t")


def bom_crlf_quotes() -> str:
    rows = (HEADER + csv_rows()).splitlines()
    quoted = (",".join(f'"{cell}"' for cell in row.split(",")) for row in rows)
    return "\ufeff" + "\r\n".join(quoted) + "\r\n"


def retinanet() -> str:
    return "path,x1,y1,x2,y2,class\n" + csv_rows()


def object_detection_api() -> str:
    """With the sizes, and the class before the box; the image without objects has no row."""
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for name, (columns, height) in SIZES.items():
        rows += [
            f"{name},{columns},{height},{cls},{x1},{y1},{x2},{y2}"
            for cls, x1, y1, x2, y2 in OBJECTS[name]
        ] or [f"{name},{columns},{height},,,,,"]
    return "\n".join(rows)


def other_order_and_columns() -> str:
    rows = ["id, Label, X_Min, X_Max, Y_Min, Y_Max, Image Path, note"]
    for name in SIZES:
        rows += [
            f"7, {c}, {x1}, {x2}, {y1}, {y2}, {name}, x" for c, x1, y1, x2, y2 in OBJECTS[name]
        ] or [f"7,,,,,,{name},"]
    return "\n".join(rows) + "\n\n"


def dotted_names() -> str:
    return HEADER + csv_rows(folder="./")


DIALECTS = (
    *(deepforest, headless, semicolons, tabs, bom_crlf_quotes, retinanet, object_detection_api),
    *(other_order_and_columns, dotted_names),
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda f: f.__name__)
def test_every_dialect_is_the_coco_form(dialect, tmp_path):
    draw_all(tmp_path / "set" / "images")
    path = write(tmp_path / "set" / "boxes.csv", dialect())
    for given in (path, path.parent):
        assert assert_same(given, ALPHABETICAL, tmp_path).format == "csv"


def test_absolute_names_and_names_above_are_relative_to_what_they_share(tmp_path):
    draw_all(tmp_path / "photos")
    absolute = write(tmp_path / "set" / "a.csv", csv_rows(folder=f"{tmp_path}/photos/"))
    above = write(tmp_path / "set" / "b.csv", csv_rows(folder="../photos/"))
    for path in (absolute, above):
        assert assert_same(path, ALPHABETICAL, tmp_path).images == tmp_path / "photos"
        assert_same(path, ALPHABETICAL, tmp_path, images=tmp_path / "photos")


def test_absolute_names_of_another_machine_are_found_in_the_folder_given(tmp_path):
    draw_all(tmp_path / "photos")
    for folder in ("/data/x/", "C:\\data\\x\\"):
        path = write(tmp_path / "a.csv", csv_rows(folder=folder))
        assert_same(path, ALPHABETICAL, tmp_path, images=tmp_path / "photos")


def test_names_without_a_suffix_get_that_of_the_files(tmp_path):
    draw_all(tmp_path / "set" / "images")
    path = write(tmp_path / "set" / "boxes.csv", HEADER + csv_rows().replace(".png", ""))
    assert_same(path, ALPHABETICAL, tmp_path)
    assert_same(path, ALPHABETICAL, tmp_path, images=tmp_path / "set" / "images")


def open_images(folder: Path) -> Path:
    draw_all(folder / "images")
    rows = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf"]
    for name, (w, h) in SIZES.items():
        rows += [
            f"{Path(name).stem},x,/m/{c},1,{x1 / w},{x2 / w},{y1 / h},{y2 / h},-1,0"
            for c, x1, y1, x2, y2 in OBJECTS[name]
        ] or [f"{Path(name).stem},x,,,,,,,,"]
    return write(folder / "train-annotations-bbox.csv", "\n".join(rows))


def test_open_images_has_fractions_codes_and_groups(tmp_path):
    path = open_images(tmp_path / "set")
    write(
        path.parent / "class-descriptions-boxable.csv",
        "/m/cat,cat\n/m/dog,dog\n/m/ant,ant\n/m/x,X\n",
    )
    assert_same(path, ALPHABETICAL, tmp_path)
    path.write_text(path.read_text().replace("-1,0", "-1,1"))
    assert load_annotations(path)[0].packed.crowd.all()


def test_an_open_images_photo_that_cannot_be_read_is_left_out(tmp_path):
    path = open_images(tmp_path)
    (tmp_path / "images" / "b.png").write_bytes(b"")
    annotations = read_data_set(path).annotations
    assert [i.file_name for i in annotations.images] == ["a.png", "c.png"]
    assert annotations.warnings()[0].startswith("1 image cannot be read and is left out: b.png (")


@pytest.mark.parametrize("rows", ["cat,0\ndog,1\nant,2\n", "id;name\n0;cat\n1;dog\n2;ant\n"])
def test_a_file_of_classes_gives_their_ids(rows, tmp_path):
    path = write_csv(tmp_path / "set")
    file = write(path.parent / "classes.csv", rows)
    read = assert_same(path, FROM_ZERO, tmp_path)
    assert read.annotations.warnings() == [f"the ids of the classes are those of {file}"]


def test_a_file_of_other_classes_is_not_used_and_one_that_lacks_some_is_refused(tmp_path):
    path = write_csv(tmp_path / "set")
    write(path.parent / "classes.csv", "Dead,0\nAlive,1\n")
    read = assert_same(path, ALPHABETICAL, tmp_path)
    assert read.annotations.warnings() == [
        "classes.csv has none of the classes of the table and is not used"
    ]
    write(path.parent / "classes.csv", "cat,0\ndog,1\n")
    with pytest.raises(
        InputError, match=r"classes\.csv: expected all classes .*, got none named 'ant'"
    ):
        read_data_set(path)


def test_classes_that_are_numbers_are_their_own_ids(tmp_path):
    draw(tmp_path / "a.png")
    path = write(tmp_path / "a.csv", "a.png,1,2,3,4,10\na.png,1,2,3,4,2\n")
    annotations = read_data_set(path).annotations
    assert (annotations.class_ids, annotations.class_names) == ((2, 10), ("2", "10"))


def column(root: Path) -> None:
    draw_all(root / "images")
    body = csv_rows().splitlines()
    rows = [f"{row},{'TRAIN' if row[0] != 'c' else 'Validation'}" for row in body]
    write(root / "all.csv", HEADER.strip() + ",split\n" + "\n".join(rows))


def files(root: Path) -> None:
    draw_all(root / "images")
    body = csv_rows().splitlines()
    write(root / "train_labels.csv", HEADER + "\n".join(r for r in body if r[0] != "c"))
    write(root / "val_labels.csv", HEADER + "\n".join(r for r in body if r[0] == "c"))


def folders(root: Path) -> None:
    body = csv_rows().splitlines()
    for split, names in (("train", "ab"), ("valid", "c")):
        for name in names:
            draw(root / split / f"{name}.png")
        rows = [r for r in body if r[0] in names]
        write(root / split / "_annotations.csv", HEADER + "\n".join(rows))


@pytest.mark.parametrize("layout", [column, files, folders], ids=lambda f: f.__name__)
def test_splits_share_the_ids_of_all_classes(layout, tmp_path):
    layout(tmp_path)
    assert len(splits_of(tmp_path)) == 2
    train, val = (read_data_set(tmp_path, split=split) for split in ("train", "val"))
    assert [(i.id, i.file_name) for i in train.annotations.images] == [(1, "a.png"), (2, "b.png")]
    assert [(i.id, i.file_name) for i in val.annotations.images] == [(1, "c.png")]
    for read in (train, val):
        assert read.annotations.class_names == ("ant", "cat", "dog")
        assert (read.images / read.annotations.images[0].file_name).is_file()


def test_the_table_of_one_split_has_the_classes_of_all(tmp_path):
    files(tmp_path / "files")
    folders(tmp_path / "folders")
    for path in (
        tmp_path / "files" / "val_labels.csv",
        tmp_path / "folders" / "valid" / "_annotations.csv",
    ):
        assert read_data_set(path).annotations.class_names == ("ant", "cat", "dog")


def test_scores_are_not_used_and_that_is_said(tmp_path):
    draw(tmp_path / "a.png")
    path = write(tmp_path / "a.csv", HEADER.strip() + ",score\na.png,1,2,3,4,cat,0.5\n")
    assert "the column of scores is not used" in read_data_set(path).annotations.warnings()[0]


def test_other_tables_of_a_folder_are_none_of_boxes(tmp_path):
    path = write_csv(tmp_path / "set")
    write(path.parent / "results.csv", "epoch,loss\n1,2\n")
    write(path.parent / "empty.csv", "")
    assert_same(path.parent, ALPHABETICAL, tmp_path)


@pytest.mark.parametrize("rows", ["a.jpg,3\nb.jpg,3\n", "a.jpg,3\na.jpg,4\n", "id,n\n3,x\n3,y\n"])
def test_a_file_with_an_id_twice_is_no_list_of_classes(rows, tmp_path):
    path = write_csv(tmp_path / "set")
    write(path.parent / "labels.csv", rows)
    (said,) = assert_same(path, ALPHABETICAL, tmp_path).annotations.warnings()
    assert said.startswith("labels.csv is no list of classes and is not used: line ")


def test_a_list_of_many_classes_is_read_at_once(tmp_path):
    path = write_csv(tmp_path / "set")
    more = "".join(f"class {k},{k}\n" for k in range(3, 20_000))
    write(path.parent / "classes.csv", f"cat,0\ndog,1\nant,2\n{more}")
    assert read_data_set(path).annotations.class_ids[:3] == (0, 1, 2)


@pytest.mark.parametrize(("layout", "most"), [(column, 1), (files, 2), (folders, 2)])
def test_a_table_is_read_once_for_each_split_and_once_for_all(layout, most, tmp_path, monkeypatch):
    layout(tmp_path)
    read = Counter()

    def counting(path, limit):
        read[path.name] += 1
        return read_text(path, limit)

    monkeypatch.setattr(csv_columns, "read_text", counting)
    assert len(read_splits([tmp_path])) == 2
    assert read.total() == len(list(tmp_path.rglob("*.csv"))) * most + (layout is column) * 2


def test_a_table_that_changed_is_read_again(tmp_path):
    column(tmp_path)
    assert splits_of(tmp_path) == ("train", "validation")
    path = tmp_path / "all.csv"
    path.write_text(path.read_text().replace("Validation", "test"))
    assert splits_of(tmp_path) == ("train", "test")


@pytest.mark.parametrize("folder", ["/content/set/", "C:\\sets\\one\\", "\\\\server\\set\\"])
def test_paths_of_another_machine_are_said(folder, tmp_path):
    draw_all(tmp_path / "images")
    file = write(tmp_path / "boxes.csv", HEADER + csv_rows(folder=folder))
    what = "3 images are not where their paths say, and are looked for below one folder, e.g."
    for images in (None, tmp_path / "images"):
        read = assert_same(file, ALPHABETICAL, tmp_path / "as", images=images)
        assert read.annotations.warnings() == [f"{what} {folder}a.png as a.png"]


def test_paths_that_are_there_are_not(tmp_path):
    photos = draw_all(tmp_path / "photos")
    write(tmp_path / "set" / "a.csv", HEADER + csv_rows(folder=f"{photos}/"))
    write(tmp_path / "set" / "b.csv", HEADER + csv_rows(folder="../photos/"))
    for name in ("a.csv", "b.csv"):
        assert read_data_set(tmp_path / "set" / name).annotations.warnings() == []


@pytest.mark.parametrize(
    "header",
    [
        "Image Path,X Min,YMIN,x_max,Ymax,LABEL",
        " image_path , xmin , ymin , xmax , ymax , label ",
        "\ufeffimage_path,xmin,ymin,xmax,ymax,label",
        '\ufeff"image_path","xmin","ymin","xmax","ymax","label"',
        "image-path,x.min,y.min,x.max,y.max,Class Name",
    ],
)
def test_columns_are_known_whatever_their_case_and_blanks(header, tmp_path):
    draw_all(tmp_path / "images")
    file = write(tmp_path / "boxes.csv", f"{header}\n{csv_rows()}")
    assert assert_same(file, ALPHABETICAL, tmp_path).annotations.warnings() == []


def test_a_mark_before_the_first_row_of_a_table_without_header_is_none_of_it(tmp_path):
    draw_all(tmp_path / "images")
    file = write(tmp_path / "boxes.csv", "\ufeff" + csv_rows())
    assert_same(file, ALPHABETICAL, tmp_path)


@pytest.mark.parametrize(
    ("column", "used", "value"),
    [("label", "class", "dog"), ("class_id", "class", "dog"), ("File Name", "image", "a.png")],
)
def test_a_second_column_of_one_meaning_is_said(column, used, value, tmp_path):
    draw_all(tmp_path / "images")
    header = f"image,xmin,ymin,xmax,ymax,class,{column}"
    row = "b.png,1,2,3,4,dog," + (
        "7" if column == "class_id" else "a.png" if used == "image" else "x"
    )
    file = write(tmp_path / "boxes.csv", f"{header}\n{row}\n")
    data = read_data_set(file)
    read, other = (column, used) if used == "image" else (used, column)
    assert f"the column {read!r} is read, and {other!r} is not" in data.annotations.warnings()
    found = data.annotations
    assert value in (*found.class_names, found.images[0].file_name)


def test_classes_that_differ_in_blanks_are_one_and_it_is_said(tmp_path):
    draw_all(tmp_path / "images")
    rows = 'a.png,1,2,3,4,cat\na.png,1,2,3,4,cat \na.png,1,2,3,4," cat"\na.png,1,2,3,4, dog\n'
    data = read_data_set(write(tmp_path / "boxes.csv", HEADER + rows))
    assert data.annotations.class_names == ("cat", "dog")
    what = "1 class is written with different blanks around it, and is taken for one"
    assert data.annotations.warnings() == [f"{what}: 'cat'"]


def test_a_backslash_is_a_letter_where_there_is_such_a_file(tmp_path):
    draw_all(tmp_path / "images")
    draw(tmp_path / "images" / "x\\y.png", (9, 9))
    rows = "x\\y.png,1,2,3,4,cat\n.\\a.png,1,2,3,4,cat\n"
    data = read_data_set(write(tmp_path / "boxes.csv", HEADER + rows))
    assert [image.file_name for image in data.annotations.images] == ["a.png", "x\\y.png"]


@pytest.mark.parametrize("nothing", ["nan", "NaN", "NA", "<NA>", "None", "null", "\\N"])
@pytest.mark.parametrize("header", [HEADER, ""])
def test_an_image_without_an_object_may_be_a_row_of_what_stands_for_nothing(
    nothing, header, tmp_path
):
    file = write_csv(tmp_path / "set")
    file.write_text(header + csv_rows().replace("c.png,,,,,", "c.png" + f",{nothing}" * 5))
    assert_same(file, ALPHABETICAL, tmp_path)


def test_a_class_may_be_called_none(tmp_path):
    file = write_csv(tmp_path)
    file.write_text(HEADER + csv_rows().replace("cat", "None"))
    assert "None" in read_data_set(file).annotations.class_names


def test_an_image_without_an_object_may_be_a_row_of_zeros_without_a_class(tmp_path):
    file = write_csv(tmp_path / "set")
    file.write_text(HEADER + csv_rows().replace("c.png,,,,,", "c.png,0,0,0,0,"))
    assert_same(file, ALPHABETICAL, tmp_path)
