"""Malformed annotation sets of every format: one line refuses each, and names the file and the place."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import read_data_set

from .builders import (
    FROM_ZERO,
    HEADER,
    coco,
    csv_rows,
    draw,
    draw_all,
    write,
    write_csv,
    write_voc,
    write_xml,
    write_yolo,
    xml,
)

Builder = Callable[[Path], Path]
DELETE = object()


def in_coco(*path: str | int, value: object = DELETE) -> Builder:
    """A COCO file in which a field is replaced, or left out."""

    def build(folder: Path) -> Path:
        data = target = coco(FROM_ZERO)
        for key in path[:-1]:
            target = target[key]
        if value is DELETE:
            del target[path[-1]]
        else:
            target[path[-1]] = value
        draw_all(folder / "images")
        return write(folder / "instances.json", json.dumps(data))

    return build


def coco_text(text: str | bytes) -> Builder:
    return lambda folder: write(folder / "instances.json", text)


def label(text: str | bytes) -> Builder:
    """A YOLO data set in which the second image has this label file."""

    def build(folder: Path) -> Path:
        file = write_yolo(folder)
        write(folder / "labels" / "train" / "b.txt", text)
        return file

    return build


def yaml(text: str | bytes) -> Builder:
    """A YOLO data set with this data.yaml."""

    def build(folder: Path) -> Path:
        write_yolo(folder)
        return write(folder / "data.yaml", text)

    return build


def darknet(text: str, names: str = "cat\ndog\nant\n") -> Builder:
    def build(folder: Path) -> Path:
        write_yolo(folder)
        write(folder / "obj.names", names)
        return write(folder / "obj.data", text)

    return build


def listing(text: str) -> Builder:
    """A YOLO data set whose images are in a list."""

    def build(folder: Path) -> Path:
        file = write_yolo(folder)
        write(folder / "train.txt", text)
        file.write_text("train: train.txt\nnames: [cat, dog, ant]\n")
        return file

    return build


def no_split(folder: Path) -> Path:
    """Describe no split, where no folder shows one either."""
    write_yolo(folder).unlink()
    return write(folder / "other" / "data.yaml", "train:\nval: ''\nnames: [a]\n")


def bomb() -> str:
    """Names that are lists of lists: 9 ** 9 of them in 500 bytes."""
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n"
    return f"{text}train: images/train\nnames: *i\n"


def classes_txt(text: str) -> Builder:
    """A folder of images and labels whose classes are named in a text file."""

    def build(folder: Path) -> Path:
        write_yolo(folder).unlink()
        write(folder / "classes.txt", text)
        return folder

    return build


def without_labels(folder: Path) -> Path:
    file = write_yolo(folder)
    for path in (folder / "labels" / "train").iterdir():
        path.unlink()
    return file


def no_readable_image(folder: Path) -> Path:
    file = write_yolo(folder)
    for path in (folder / "images" / "train").iterdir():
        path.write_bytes(b"GIF89a")
    return file


def two_descriptions(folder: Path) -> Path:
    write_yolo(folder)
    text = (folder / "data.yaml").read_text()
    write(folder / "dataset.yaml", text)
    return folder


def two_lists_of_names(folder: Path) -> Path:
    for split in ("train", "valid"):
        draw(folder / split / "a.png")
        write(folder / split / "a.txt", "0 0.5 0.5 0.5 0.5")
        write(folder / split / "_darknet.labels", f"{split}\n")
    return folder


def unnamed_class(folder: Path) -> Path:
    write_yolo(folder)
    (folder / "data.yaml").unlink()
    write(folder / "labels" / "train" / "b.txt", "2000000000 0.5 0.5 0.5 0.5")
    return folder


def yolo_pipe(folder: Path) -> Path:
    file = write_yolo(folder)
    file.unlink()
    os.mkfifo(file)
    (folder / "labels" / "train" / "a.txt").write_text("0 1 2\n")
    return folder


def in_xml(old: str, new: str) -> Builder:
    """A VOC data set in which the first text is replaced in b.xml."""

    def build(folder: Path) -> Path:
        write_voc(folder)
        text = xml("b.png")
        assert old in text
        write(folder / "Annotations" / "b.xml", text.replace(old, new, 1))
        return folder

    return build


def xml_text(text: str | bytes) -> Builder:
    """A VOC data set with this file as b.xml."""

    def build(folder: Path) -> Path:
        write_voc(folder)
        write(folder / "Annotations" / "b.xml", text)
        return folder

    return build


def voc_list(text: str) -> Builder:
    def build(folder: Path) -> Path:
        write_voc(folder)
        write(folder / "ImageSets" / "Main" / "train.txt", text)
        return folder

    return build


def voc_without_objects(folder: Path) -> Path:
    draw(folder / "c.png")
    write(folder / "c.xml", xml("c.png"))
    return folder


def voc_same_image(folder: Path) -> Path:
    write_voc(folder)
    write_xml(folder / "Annotations", "b.png")
    return folder


def voc_without_images(folder: Path) -> Path:
    return write_xml(folder)


def voc_other_root(folder: Path) -> Path:
    return write(folder / "b.xml", "<annotations><image/></annotations>")


def table(rows: str | bytes, header: str = HEADER) -> Builder:
    """A CSV file with a right row, and these behind it."""

    def build(folder: Path) -> Path:
        draw_all(folder / "images")
        body = rows if isinstance(rows, bytes) else f"{header}a.png,1,2,3,4,cat\n{rows}".encode()
        return write(folder / "boxes.csv", body)

    return build


def headed(header: str) -> Builder:
    def build(folder: Path) -> Path:
        draw_all(folder / "images")
        return write(folder / "boxes.csv", header + csv_rows())

    return build


def classes(text: str) -> Builder:
    def build(folder: Path) -> Path:
        write(folder / "classes.csv", text)
        return write_csv(folder)

    return build


def tables_without_split(folder: Path) -> Path:
    for name in ("one.csv", "two.csv"):
        write(folder / name, HEADER + csv_rows())
    return folder


def unknown_folder(folder: Path) -> Path:
    write(folder / "readme.md", "nothing")
    return folder


def two_formats(folder: Path) -> Path:
    write_voc(folder)
    write_csv(folder)
    return folder


def absent(folder: Path) -> Path:
    return folder / "absent.json"


B = r"labels/train/b\.txt: line "
Y = r"data\.yaml:? ?"
X = r"Annotations/b\.xml: "
C = r"boxes\.csv: line "
BOX = "0.5 0.5 0.5 0.5"
DOCTYPE = '<!DOCTYPE annotation [<!ENTITY a "b">]>'

CASES: tuple[tuple[str, Builder, str], ...] = (
    ("nothing-there", absent, r"absent\.json: No such file or directory"),
    ("nothing-known", unknown_folder, r"no data set that is known; expected COCO JSON, .*YOLO"),
    ("two-formats", two_formats, r"it could be voc or csv; say which by --format"),
    # COCO
    ("coco-empty", coco_text(""), r"instances\.json: not JSON"),
    ("coco-cut", coco_text('{"images": [{"id": 1'), r"instances\.json: not JSON: .*line 1"),
    ("coco-list", coco_text("[]"), r"instances\.json: expected an object, got list \(COCO results"),
    (
        "coco-latin1",
        coco_text('{"images": "\xe9"}'.encode("latin-1")),
        r"instances\.json: line 1: not UTF-8; save the file in UTF-8",
    ),
    ("coco-deep", coco_text('{"images": ' + "[" * 100_000), r"instances\.json: not JSON"),
    ("coco-no-images", in_coco("images"), r"instances\.json: field 'images' is missing"),
    ("coco-images-none", in_coco("images", value=[]), r"instances\.json: 'images' is empty"),
    ("coco-images-text", in_coco("images", value="x"), r"images: expected a list, got 'x'"),
    (
        "coco-image-text",
        in_coco("images", 1, value="x"),
        r"images\[1\]: expected an object, got 'x'",
    ),
    ("coco-no-classes", in_coco("categories"), r"field 'categories' is missing"),
    ("coco-no-name", in_coco("images", 1, "file_name"), r"images\[1\]\.file_name: expected a path"),
    (
        "coco-outside",
        in_coco("images", 1, "file_name", value="../x"),
        r"images\[1\]\.file_name leaves",
    ),
    ("coco-no-id", in_coco("images", 1, "id"), r"images\[1\]\.id: expected .*, got nothing"),
    ("coco-id-twice", in_coco("images", 1, "id", value=1), r"1 image id occurs more than once: 1"),
    (
        "coco-size",
        in_coco("images", 1, "width", value=-4),
        r"images\[1\]\.width: expected an integer >= 1",
    ),
    (
        "coco-size-half",
        in_coco("images", 1, "height", value=1.5),
        r"images\[1\]\.height: expected .*1\.5",
    ),
    (
        "coco-owner",
        in_coco("annotations", 2, "image_id", value=9),
        r"annotations\[2\]\.image_id: .*got 9",
    ),
    (
        "coco-class",
        in_coco("annotations", 2, "category_id"),
        r"annotations\[2\]\.category_id: expected",
    ),
    (
        "coco-box-three",
        in_coco("annotations", 2, "bbox", value=[1, 2, 3]),
        r"annotations\[2\]\.bbox: exp",
    ),
    (
        "coco-box-text",
        in_coco("annotations", 2, "bbox", value="1 2 3 4"),
        r"annotations\[2\]\.bbox: exp",
    ),
    (
        "coco-box-nan",
        in_coco("annotations", 2, "bbox", value=[1, 2, 3, float("nan")]),
        r"\.bbox: exp.*nan",
    ),
    (
        "coco-area",
        in_coco("annotations", 2, "area", value="big"),
        r"annotations\[2\]\.area: .*'big'",
    ),
    (
        "coco-crowd",
        in_coco("annotations", 2, "iscrowd", value=2),
        r"annotations\[2\]\.iscrowd: .*got 2",
    ),
    (
        "coco-class-name",
        in_coco("categories", 0, "name", value=[]),
        r"categories\[0\]\.name: expected",
    ),
    # YOLO
    ("yolo-one-number", label("0\n"), B + r"1: expected class cx cy w h.*, got 1 number"),
    (
        "yolo-four",
        label(f"0 {BOX}\n\n0 0.5 0.5 0.5\n"),
        B + r"3: expected class cx cy w h.*, got 4 numbers",
    ),
    ("yolo-confidence", label(f"0 {BOX} 0.9\n"), B + r"1: .*got 6 numbers; a confidence"),
    ("yolo-odd-polygon", label("0 0.1 0.1 0.5 0.5 0.9 0.9 0.2\n"), B + r"1: .*got 8 numbers"),
    (
        "yolo-pixels",
        label("0 32 24 10 10\n"),
        B + r"1: number 2: .*0\.\.1, got 32; is it in pixels\?",
    ),
    ("yolo-below", label("0 0.5 -0.5 0.5 0.5\n"), B + r"1: number 3: .*0\.\.1, got -0\.5"),
    (
        "yolo-nan",
        label("0 0.5 nan 0.5 0.5\n"),
        B + r"1: number 3: expected a finite number, got 'nan'",
    ),
    ("yolo-inf", label("0 0.5 0.5 1e999 0.5\n"), B + r"1: number 4: expected a finite number"),
    ("yolo-comma", label("0 0,5 0,5 0,5 0,5\n"), B + r"1: number 2: .*'0,5'; a decimal point"),
    (
        "yolo-csv",
        label("0,0.5,0.5,0.5,0.5\n"),
        B + r"1: number 1: expected a class number.*no commas",
    ),
    (
        "yolo-class-name",
        label(f"cat {BOX}\n"),
        B + r"1: number 1: expected a class number, got 'cat'",
    ),
    (
        "yolo-class-half",
        label(f"0.5 {BOX}\n"),
        B + r"1: expected a class number such as 0, got 0\.5",
    ),
    ("yolo-class-below", label(f"-1 {BOX}\n"), B + r"1: expected a class number such as 0, got -1"),
    ("yolo-class-3", label(f"3 {BOX}\n"), B + r"1: class 3 is not one that data\.yaml names"),
    ("yolo-binary", label(b"\x89PNG\xff\xfe"), r"b\.txt: line 1: not UTF-8"),
    (
        "yolo-no-names",
        yaml("train: images/train\n"),
        Y + r"names: expected the names of the classes",
    ),
    (
        "yolo-names-text",
        yaml("train: images/train\nnames: cat\n"),
        Y + r"names: expected a list of names",
    ),
    (
        "yolo-names-key",
        yaml("train: images/train\nnames: {a: cat}\n"),
        Y + r"names: expected a class num",
    ),
    (
        "yolo-names-deep",
        yaml("train: images/train\nnames: [[cat]]\n"),
        Y + r"names\[0\]: expected a name",
    ),
    (
        "yolo-nc",
        yaml("train: images/train\nnc: 2\nnames: [a, b, c]\n"),
        Y + r"nc is 2, and names has 3",
    ),
    (
        "yolo-nc-text",
        yaml("train: images/train\nnc: x\nnames: [a]\n"),
        Y + r"nc: expected a number",
    ),
    ("yolo-no-split", no_split, Y + r"expected the images of a split"),
    (
        "yolo-key-twice",
        yaml("train: images/train\nnames:\n  0: cat\n  1: dog\n  0: ant\n"),
        Y + r"line 5: '0' is there already; take one of them out",
    ),
    (
        "yolo-names-twice",
        yaml("names: [a]\ntrain: images/train\nnames: [b]\n"),
        Y + r"line 3: 'names' is there already",
    ),
    ("yolo-bomb", yaml(bomb()), Y + r"its aliases \(\*name\) stand for more than \d+ letters"),
    (
        "yolo-long-alias",
        yaml("a: &a '" + "x" * 9000 + "'\ntrain: i\nnames: [" + "*a," * 3000 + "]\n"),
        Y + r"its aliases",
    ),
    ("yolo-within-itself", yaml("train: i\nnames: &a [*a]\n"), Y + r"its aliases"),
    ("yolo-zero-byte", label(f"0 {BOX}\n\0\0\0"), B + r"2: a zero byte; restore the file"),
    ("yolo-names-zero-byte", classes_txt("cat\nd\0g\n"), r"classes\.txt: line 2: a zero byte"),
    ("yolo-list-zero-byte", listing("images/train/a.png\0\n"), r"train\.txt: line 1: a zero byte"),
    (
        "yolo-utf-16",
        label("狗 0.5".encode("utf-16-le")),
        B + r"1: not UTF-8; save the file in UTF-8",
    ),
    ("yolo-split-mapping", yaml("train: {a: b}\nnames: [a]\n"), Y + r"train: expected a folder"),
    (
        "yolo-no-folder",
        yaml("train: pictures\nnames: [a]\n"),
        Y + r"train: pictures: no such folder",
    ),
    (
        "yolo-path-list",
        yaml("path: [a]\ntrain: images/train\nnames: [a]\n"),
        Y + r"path: expected a folder, got \['a'\]",
    ),
    (
        "yolo-long-path",
        yaml("train: " + "a/" * 100_000 + "\nnames: [a]\n"),
        Y + r"train: (a/)+.* no such folder",
    ),
    ("yolo-not-yaml", yaml("train: [a\nnames: ]]"), Y + r"line 2: not YAML"),
    ("yolo-yaml-list", yaml("- names\n- train\n"), Y + r"expected a mapping with 'names'"),
    (
        "yolo-yaml-latin1",
        yaml("names: [\xe9]\n".encode("latin-1")),
        r"data\.yaml: line 1: not UTF-8",
    ),
    ("yolo-yaml-deep", yaml("names: " + "[" * 50_000), Y + r"(line 1: )?not YAML"),
    ("yolo-two-yaml", two_descriptions, r"several descriptions: data\.yaml, dataset\.yaml"),
    (
        "yolo-two-names",
        two_lists_of_names,
        r"valid/_darknet\.labels: its classes differ from those of .*train",
    ),
    (
        "yolo-unlabelled",
        without_labels,
        Y + r"none of its 3 images has a label file; a\.png could have",
    ),
    ("yolo-unreadable", no_readable_image, r"images/train: no image can be read: a\.png"),
    ("yolo-unnamed", unnamed_class, r"class 2e\+09: expected classes below 10000"),
    (
        "yolo-list-lost",
        listing("images/train/a.png\nx/y.png\n"),
        r"1 of 2 .*y\.png \(train\.txt line 2\)",
    ),
    (
        "yolo-list-all-lost",
        listing("x/z.png\nx/y.png\n"),
        r"train\.txt: its images are missing: .*z\.png \(line 1\)",
    ),
    ("yolo-list-empty", listing("\n"), r"train\.txt: expected the path of an image in each line"),
    (
        "yolo-list-twice",
        listing("/x/images/train/a.png\n/y/images/train/a.png"),
        r"line 2: .*are one file",
    ),
    ("yolo-pipe", yolo_pipe, r"labels/train/a\.txt: line 1: expected class cx cy w h"),
    (
        "darknet-no-names",
        darknet("train = train.txt\n"),
        r"obj\.data: expected lines 'names = \.\.\.'",
    ),
    (
        "darknet-names-lost",
        darknet("train=a\nnames=lost.names"),
        r"obj\.data: names: lost\.names: no such",
    ),
    (
        "darknet-gap",
        darknet("train=images/train\nnames=obj.names", "a\n\nb"),
        r"obj\.names: line 2: expected",
    ),
    # Pascal VOC
    ("voc-empty", xml_text(""), X + r"line 1: not XML: no element found"),
    ("voc-cut", xml_text(xml("b.png")[:-30]), X + r"line 1: not XML"),
    ("voc-no-xml", xml_text("hello"), X + r"line 1: not XML"),
    ("voc-other", voc_other_root, r"b\.xml: expected the element <annotation> .*got <annotations>"),
    (
        "voc-doctype",
        xml_text(DOCTYPE + xml("b.png")),
        X + r"<!DOCTYPE> and <!ENTITY> are not accepted",
    ),
    ("voc-entity", in_xml("dog", "&dog;"), X + r"line 1: not XML: undefined entity"),
    (
        "voc-latin1",
        xml_text(xml("b.png").replace("dog", "\xe9").encode("latin-1")),
        X + r"line 1: not utf-8",
    ),
    (
        "voc-encoding",
        xml_text("<?xml version='1.0' encoding='zip'?>" + xml("b.png")),
        X + r"encoding 'zip'",
    ),
    ("voc-zero-byte", in_xml("dog", "d\0g"), X + r"line 1: a zero byte; restore the file"),
    ("voc-no-class", in_xml("<name>ant</name>", ""), X + r"object 1: expected a class in <name>"),
    ("voc-blank-class", in_xml("ant", " "), X + r"object 1: expected a class in <name>"),
    (
        "voc-no-xmax",
        in_xml("<xmax>20</xmax>", ""),
        X + r"object 1 \(ant\): bndbox: xmax: .*got nothing",
    ),
    (
        "voc-text",
        in_xml("<xmin>30", "<xmin>left"),
        X + r"object 2 \(dog\): bndbox: xmin: .*got 'left'",
    ),
    (
        "voc-nan",
        in_xml("<xmin>30", "<xmin>nan"),
        X + r"object 2 \(dog\): bndbox: xmin: .*got 'nan'",
    ),
    (
        "voc-comma",
        in_xml("<xmin>30", "<xmin>30,5"),
        X + r"object 2 \(dog\): bndbox: xmin: .*got '30,5'",
    ),
    (
        "voc-no-box",
        xml_text("<annotation><object><name>a</name></object></annotation>"),
        X + r"object 1 \(a\): expected <bndbox> with xmin, ymin, xmax, ymax, got none",
    ),
    (
        "voc-rotated",
        xml_text("<annotation><object><name>a</name><robndbox/></object></annotation>"),
        X + "obj.*rotated",
    ),
    (
        "voc-size",
        in_xml("<width>64", "<width>big"),
        X + r"size/width: expected whole px, got 'big'",
    ),
    (
        "voc-size-below",
        in_xml("<width>64", "<width>-64"),
        X + r"size/width: expected whole px, got '-64'",
    ),
    (
        "voc-polygon",
        in_xml("<bndbox>", "<polygon><x1>1</x1><y1>2</y1></polygon><bndbox>"),
        X + r".*three corners",
    ),
    (
        "voc-difficult",
        in_xml("<bndbox>", "<difficult>hard</difficult><bndbox>"),
        X + r"object 1 \(ant\): difficult: exp",
    ),
    ("voc-nothing", voc_without_objects, r"expected objects with a class in <name>, found none"),
    ("voc-same-image", voc_same_image, r"b\.xml: filename: 'b\.png' means the image .*and so does"),
    (
        "voc-no-images",
        voc_without_images,
        r"its images, such as a\.png, are in none of .*give --images",
    ),
    (
        "voc-list-outside",
        voc_list("../../etc/passwd\n"),
        r"train\.txt: line 1: expected the name of an image",
    ),
    ("voc-list-lost", voc_list("x\ny\n"), r"train\.txt: none of its 2 images has an XML file"),
    # CSV
    ("csv-empty", table(b""), C + r"1: expected the columns file, x1, y1, x2, y2, class"),
    (
        "csv-header",
        headed("image,x,y,w,h,class\n"),
        C + r"1: .*no column is named for x1, y1, x2, y2",
    ),
    ("csv-lacks", headed("image,xmin,ymin,xmax,class\n"), C + r"1: .*no column is named for y2"),
    ("csv-strange", table(b"hello\nworld\n"), C + r"1: expected the columns .*got 1 column"),
    ("csv-short", table("a.png,1,2,3,4\n"), C + r"3: expected 6 columns, got 5"),
    ("csv-long", table("a.png,1,2,3,4,cat,1\n"), C + r"3: expected 6 columns, got 7"),
    ("csv-text", table("a.png,1,two,3,4,cat\n"), C + r"3: y1: expected a finite number, got 'two'"),
    ("csv-nan", table("a.png,1,2,NaN,4,cat\n"), C + r"3: x2: expected a finite number, got 'NaN'"),
    ("csv-part", table("a.png,1,,3,4,cat\n"), C + r"3: y1: expected a finite number, got ''"),
    (
        "csv-comma",
        table(b"f;x1;y1;x2;y2;class\na.png;1;2;3;4;cat"),
        C + r"1: .*no column is named for file",
    ),
    (
        "csv-decimal",
        table(b"file;x1;y1;x2;y2;class\na.png;1,5;2;3;4;c"),
        C + r"2: x1: .*'1,5'; write a dec",
    ),
    ("csv-no-class", table("a.png,1,2,3,4,\n"), C + r"3: expected a class, got nothing"),
    ("csv-no-file", table(",1,2,3,4,cat\n"), C + r"3: expected the name of an image, got nothing"),
    ("csv-zero-byte", table("b.png,1,2,3,4,c\0t\n"), C + r"3: a zero byte; restore the file"),
    (
        "csv-column-twice",
        headed("image,xmin,ymin,X Min,ymax,class\n"),
        C + r"1: two columns are called 'X Min'; rename one of them",
    ),
    ("csv-quote", table('"a.png"x,1,2,3,4,cat\n'), C + r"3: not CSV"),
    ("csv-latin1", table(HEADER.encode() + b"a.png,1,2,3,4,caf\xe9\n"), C + r"2: not UTF-8"),
    (
        "csv-nothing",
        table(HEADER.encode()),
        r"boxes\.csv: expected rows with a box and a class, got none",
    ),
    (
        "csv-lost",
        table("x.png,1,2,3,4,cat\n"),
        r"boxes\.csv: its images, such as a\.png, are in none of",
    ),
    (
        "csv-sizes",
        table(
            b"file,x1,y1,x2,y2,class,width,height\na.png,1,2,3,4,c,40,30\na.png,1,2,3,4,c,30,40\n"
        ),
        C + r"3: a\.png is 30 x 40 px here and 40 x 30 px in line 2",
    ),
    (
        "csv-size",
        table(b"file,x1,y1,x2,y2,class,width,height\na.png,1,2,3,4,c,forty,30\n"),
        C + r"2: width: expected whole px, got 'forty'",
    ),
    (
        "csv-split",
        table(b"file,x1,y1,x2,y2,class,split\na.png,1,2,3,4,c,train\nb.png,1,2,3,4,c,\n"),
        C + r"3: split: expected the name of a split, got nothing",
    ),
    (
        "csv-classes-lack",
        classes("cat,0\ndog,1\n"),
        r"classes\.csv: expected all classes .*none named 'ant'",
    ),
    (
        "csv-classes-twice",
        classes("cat,0\ndog,0\nant,1\n"),
        r"classes\.csv: line 2: class 'dog' with the id 0",
    ),
    (
        "csv-two-tables",
        tables_without_split,
        r"expected one table of boxes, found one\.csv, two\.csv",
    ),
)


def test_the_corpus_is_large_and_has_every_format():
    names = [name for name, _, _ in CASES]
    assert len(set(names)) == len(names) >= 100
    for format in ("coco", "yolo", "voc", "csv"):
        assert sum(name.startswith(format) for name in names) >= 15


@pytest.mark.parametrize(("build", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_is_refused_with_one_line_that_names_the_place(build, said, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    path = build(folder)
    with pytest.raises(InputError, match=said) as caught:
        read_data_set(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    assert str(folder) in message, "it names a path of the data set"
