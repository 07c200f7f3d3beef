"""Pascal VOC's data sets in the trees and dialects that programs write, read as their COCO form."""

from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set, splits_of
from fdet.pipeline.dataset.formats import voc, voc_xml
from fdet.pipeline.dataset.formats.voc_xml import elements_at, read_image
from fdet.pipeline.dataset.splits.named_splits import read_splits

from .builders import (
    ALPHABETICAL,
    SIZES,
    assert_same,
    draw,
    draw_all,
    write,
    write_voc,
    write_xml,
    xml,
)

OBJECT = (
    "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax>"
    "</bndbox></object>"
)


def beside(root: Path) -> None:
    write_xml(draw_all(root))


def own_folders(root: Path) -> None:
    write_voc(root)


def in_devkit(root: Path) -> None:
    write_voc(root / "VOCdevkit" / "VOC2007")


def annotations_xmls(root: Path) -> None:
    draw_all(root / "images")
    write_xml(root / "annotations" / "xmls")


def wrong_names(root: Path) -> None:
    draw_all(root)
    for name in SIZES:
        stem = Path(name).stem
        write(root / f"{stem}.xml", xml(name, f"C:\\photos\\{stem}.jpeg"))


def no_names(root: Path) -> None:
    draw_all(root)
    for name in SIZES:
        write(
            root / f"{Path(name).stem}.xml", xml(name).replace(f"<filename>{name}</filename>", "")
        )


def other_stems(root: Path) -> None:
    """The XML files have names of their own, and <filename> counts."""
    draw_all(root / "images")
    for k, name in enumerate(SIZES):
        write(root / f"{k}.xml", xml(name))


def without_sizes(root: Path) -> None:
    draw_all(root)
    for name in SIZES:
        size = "<size><width>0</width><height>0</height></size>" if name == "a.png" else ""
        write(root / f"{Path(name).stem}.xml", xml(name, size=size))


def with_others(root: Path) -> None:
    beside(root)
    write(root / "project.xml", "<?xml version='1.0'?><project><cell/></project>")


LAYOUTS = (
    *(beside, own_folders, in_devkit, annotations_xmls, wrong_names, no_names, other_stems),
    *(without_sizes, with_others),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_every_layout_is_the_coco_form(layout, tmp_path):
    layout(tmp_path / "set")
    assert assert_same(tmp_path / "set", ALPHABETICAL, tmp_path).format == "voc"


def test_the_folder_of_the_xml_files_finds_its_images(tmp_path):
    write_voc(tmp_path / "set")
    read = assert_same(tmp_path / "set" / "Annotations", ALPHABETICAL, tmp_path)
    assert read.images == tmp_path / "set" / "JPEGImages"
    assert read.annotations.warnings() == []


def test_one_file_is_a_data_set_of_one_image(tmp_path):
    beside(tmp_path)
    annotations = read_data_set(tmp_path / "b.xml").annotations
    assert [i.file_name for i in annotations.images] == ["b.png"]
    assert annotations.class_names == ("ant", "dog")


def test_images_elsewhere_are_found_where_it_is_told(tmp_path):
    write_xml(tmp_path / "set")
    draw_all(tmp_path / "photos")
    assert_same(tmp_path / "set", ALPHABETICAL, tmp_path, images=tmp_path / "photos")
    with pytest.raises(
        InputError, match=r"its images, such as a.png, are in none of .*; give --images"
    ):
        read_data_set(tmp_path / "set")


def test_annotations_alone_need_no_images(tmp_path):
    write_xml(tmp_path)
    annotations, _ = load_annotations(tmp_path)
    assert [(i.file_name, i.hw[::-1]) for i in annotations.images] == list(SIZES.items())


def lists(root: Path) -> None:
    write_voc(root)
    write(root / "ImageSets" / "Main" / "train.txt", "a\nb  1\n")
    write(root / "ImageSets" / "Main" / "val.txt", "c -1\n")
    write(root / "ImageSets" / "Main" / "cat_train.txt", "a 1\n")


def folders(root: Path) -> None:
    for split, names in (("train", ["a.png", "b.png"]), ("valid", ["c.png"])):
        for name in names:
            draw(root / split / name)
            write(root / split / f"{Path(name).stem}.xml", xml(name))


def annotation_folders(root: Path) -> None:
    for split, names in (("train", ["a.png", "b.png"]), ("val", ["c.png"])):
        for name in names:
            draw(root / "JPEGImages" / split / name)
            write(root / "Annotations" / split / f"{Path(name).stem}.xml", xml(name))


@pytest.mark.parametrize("layout", [lists, folders, annotation_folders], ids=lambda f: f.__name__)
def test_splits_share_the_ids_of_all_classes(layout, tmp_path):
    layout(tmp_path)
    assert len(splits_of(tmp_path)) == 2
    train, val = (read_data_set(tmp_path, split=split) for split in ("train", "val"))
    assert [i.file_name for i in train.annotations.images] == ["a.png", "b.png"]
    assert [i.file_name for i in val.annotations.images] == ["c.png"]
    for read in (train, val):
        assert read.annotations.class_names == ("ant", "cat", "dog")
        assert (read.images / read.annotations.images[0].file_name).is_file()


def test_the_folder_of_one_split_has_the_classes_of_all(tmp_path):
    folders(tmp_path)
    assert read_data_set(tmp_path / "valid").annotations.class_names == ("ant", "cat", "dog")


def test_images_of_a_list_without_xml_are_counted(tmp_path):
    lists(tmp_path)
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\nb\nlost\n")
    assert read_data_set(tmp_path, split="train").annotations.warnings() == [
        "1 image of the list has no XML file and is left out: lost"
    ]


def test_images_without_xml_are_counted(tmp_path):
    beside(tmp_path)
    draw(tmp_path / "d.png", (9, 9))
    assert read_data_set(tmp_path).annotations.warnings() == [
        "1 image has no XML file and is left out: d.png"
    ]


def one(folder: Path, content: str | bytes) -> Path:
    """A data set of one image of 40 x 30 px with this XML."""
    draw(folder / "a.png")
    return write(folder / "a.xml", content)


def annotation(objects: str, size: str = "") -> str:
    return f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"


@pytest.mark.parametrize(
    "content",
    [
        annotation(OBJECT),
        "\ufeff" + annotation(OBJECT),
        '<?xml version="1.0" encoding="utf-8"?>\n<!-- a note -->\n' + annotation(OBJECT),
        ('<?xml version="1.0" encoding="utf-16"?>' + annotation(OBJECT)).encode("utf-16"),
        # What is declared and what the bytes are may differ.
        ('<?xml version="1.0" encoding="utf-16"?>' + annotation(OBJECT)).encode(),
        ("<?xml version='1.0' encoding='UTF-16LE'?>" + annotation(OBJECT)).encode("utf-8-sig"),
        ('<?xml version="1.0" encoding="utf-8"?>' + annotation(OBJECT)).encode("utf-16"),
        ('<?xml version="1.0" encoding="utf-8"?>' + annotation(OBJECT)).encode("utf-16-le"),
        annotation(OBJECT).encode("utf-16-be"),
        annotation(OBJECT)
        .replace("<", "<v:")
        .replace("<v:/", "</v:")
        .replace("<v:annotation>", "<v:annotation xmlns:v='http://example.org'>"),
        annotation(OBJECT).replace("<annotation>", "<annotation xmlns='http://example.org'>"),
        annotation(OBJECT).replace("object>", "Object>").replace("annotation>", "Annotation>"),
        annotation(
            "<object><part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>" + OBJECT[8:]
        ),
        annotation(
            "<object><bndbox><ymax>12</ymax><xmax>11.0</xmax><ymin> 2 </ymin><xmin>1e0</xmin></bndbox>"
            "<difficult>0</difficult><name>\n cat </name></object>"
        ),
        annotation(OBJECT, "<size><height>30.0</height><width>40</width><depth>3</depth></size>"),
        annotation(OBJECT, "<imagesize><nrows>30</nrows><ncols>40</ncols></imagesize>"),
        annotation(OBJECT + "<object><name>x</name><deleted>1</deleted></object>"),
    ],
)
def test_ways_to_write_an_object(content, tmp_path):
    annotations = read_data_set(one(tmp_path, content)).annotations
    assert annotations.packed.boxes.tolist() == [[1, 2, 11, 12]]
    assert annotations.class_names == ("cat",)
    assert annotations.images[0].hw == (30, 40)


@pytest.mark.parametrize(
    ("encoding", "name"), [("ISO-8859-1", "é"), ("GBK", "猫"), ("windows-1251", "кот")]
)
def test_declared_encodings(encoding, name, tmp_path):
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + annotation(OBJECT.replace("cat", name))
    assert read_data_set(one(tmp_path, text.encode(encoding))).annotations.class_names == (name,)


@pytest.mark.parametrize(
    ("flag", "difficult"),
    [("Unspecified", False), ("0.0", False), ("No", False), ("True", True), ("1.0", True)],
)
def test_ways_to_write_a_flag(flag, difficult, tmp_path):
    flagged = OBJECT.replace("<bndbox>", f"<difficult>{flag}</difficult><bndbox>")
    annotations = read_data_set(one(tmp_path, annotation(OBJECT + flagged))).annotations
    assert annotations.packed.crowd.tolist() == [False, difficult]


def test_difficult_objects_count_neither_as_found_nor_as_missed(tmp_path):
    hard = OBJECT.replace("<bndbox>", "<difficult>1</difficult><bndbox>")
    annotations = read_data_set(one(tmp_path, annotation(OBJECT + hard))).annotations
    assert annotations.packed.crowd.tolist() == [False, True]
    assert "1 object is marked as difficult" in annotations.warnings()[0]


LABELME = (
    "<polygon>"
    + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 2), (11, 2), (11, 12)))
    + "</polygon>"
)
ROBOFLOW = "<polygon><x1>1</x1><y1>2</y1><x2>11</x2><y2>2</y2><x3>11</x3><y3>12</y3></polygon>"


@pytest.mark.parametrize("polygon", [LABELME, ROBOFLOW])
def test_polygons_are_outlines(polygon, tmp_path):
    file = one(tmp_path, annotation(f"<object><name>cat</name>{polygon}</object>"))
    packed = read_data_set(file, outlines=True).annotations.packed
    assert packed.boxes.tolist() == [[1, 2, 11, 12]]
    assert packed.area.tolist() == [50]
    assert packed.outlines.coco(0, (30, 40)) == [[1, 2, 11, 2, 11, 12]]


def test_floats_are_kept(tmp_path):
    file = one(tmp_path, annotation(OBJECT.replace(">11<", ">11.3<").replace(">1<", ">0.1<")))
    box = read_data_set(file).annotations.packed.boxes[0].tolist()
    assert box == pytest.approx([0.1, 2, 11.3, 12], abs=1e-9)


def test_two_files_of_one_image_are_refused(tmp_path):
    write(tmp_path / "b.xml", annotation(OBJECT))
    one(tmp_path, annotation(OBJECT))
    with pytest.raises(
        InputError, match=r"b\.xml: filename: 'a.png' means the image .*a\.png, and so does"
    ):
        read_data_set(tmp_path)


def test_an_entity_is_never_expanded_and_no_file_opened(tmp_path):
    secret = write(tmp_path / "secret", "secret")
    for doctype in (
        f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]>',
        '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        "<!DOCTYPE annotation>",
    ):
        file = write(tmp_path / "a.xml", doctype + annotation(OBJECT.replace("cat", "&x;")))
        with pytest.raises(InputError, match="<!DOCTYPE> and <!ENTITY> are not accepted"):
            read_image(file)


def test_a_file_of_many_tags_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("fdet.pipeline.dataset.formats.voc_xml._MAX_TAGS", 10)
    with pytest.raises(InputError, match="expected at most 10 tags, got 18"):
        read_image(one(tmp_path, annotation(OBJECT)))


@pytest.mark.parametrize("layout", [lists, folders, annotation_folders], ids=lambda f: f.__name__)
def test_each_file_is_read_once_for_all_splits(layout, tmp_path, monkeypatch):
    layout(tmp_path)
    read = []
    monkeypatch.setattr(voc, "read_image", lambda file: (read.append(file), read_image(file))[1])
    assert len(read_splits([tmp_path])) == 2
    assert sorted(read) == sorted(tmp_path.rglob("*.xml"))
    write(read[0], read[0].read_text().replace("<name>cat", "<name>lynx"))
    write(read[1], read[1].read_text().replace("<name>cat", "<name>lynx"))
    (changed, _) = read_splits([tmp_path]).values()
    assert "lynx" in changed.annotations.class_names


class Counted(str):
    """A text that counts how many characters searches have passed."""

    passed = 0

    def find(self, sub, start=0):
        found = super().find(sub, start)
        Counted.passed += (len(self) if found < 0 else found) - start
        return found


HOSTILE = ("<!--", "<!-->", "<?", "<?a?>", "<!DOCTYPE", "<!DOCTYPE[", "<!DOCTYPE []>", "<!---->")


@pytest.mark.parametrize("unit", [*HOSTILE, "<!DOCTYPE a [ ", " \n", "\ufeff", "<", "-->", "<!"])
def test_a_hostile_beginning_is_looked_through_once(unit, tmp_path):
    text = Counted(unit * (2**20 // len(unit)))
    Counted.passed = 0
    assert 0 <= elements_at(text) <= len(text)
    assert Counted.passed <= len(text)
    file = write(tmp_path / "a.xml", text.encode())
    with pytest.raises(InputError, match=r"not XML|not accepted"):
        read_image(file)


def test_what_stands_before_the_first_element_is_skipped():
    for before in (
        "",
        "<?xml version='1.0'?>\n",
        "<!-- <a> -->",
        "<!DOCTYPE a>",
        "<!DOCTYPE a [<b>]>",
    ):
        text = f"\ufeff {before} <!-- - --> <annotation>"
        assert text[elements_at(text) :] == "<annotation>"


def test_a_polygon_of_many_corners_is_read_corner_by_corner(tmp_path, monkeypatch):
    corners = "".join(f"<x{k}>{k}</x{k}><y{k}>{k % 7}</y{k}>" for k in range(1, 10_001))
    file = write(
        tmp_path / "a.xml",
        f"<annotation><object><name>cat</name><polygon>{corners}</polygon></object></annotation>",
    )
    looked = []
    monkeypatch.setattr(voc_xml, "_coordinate", lambda *given: looked.append(given))
    (found,) = read_image(file).objects
    assert not looked, "no search among all corners for each"
    assert found.polygon[-2:] == (10_000.0, 10_000.0 % 7) and len(found.polygon) == 20_000


def said(root: Path) -> list[str]:
    return read_data_set(root).annotations.warnings()


@pytest.mark.parametrize(
    ("first", "more", "where"),
    [
        ("</bndbox>", "<bndbox><xmin>1</xmin></bndbox>", "object 1: <bndbox>"),
        ("</name>", "<name>cat</name>", "object 1: <name>"),
        ("</xmin>", "<xmin>7</xmin>", "object 1: bndbox: <xmin>"),
        ("</filename>", "<filename>a.png</filename>", "<filename>"),
        ("</size>", "<size><width>1</width></size>", "<size>"),
    ],
)
def test_an_element_that_stands_twice_is_said(first, more, where, tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "b.xml"
    assert first in file.read_text()
    file.write_text(file.read_text().replace(first, first + more, 1))
    read = assert_same(tmp_path, ALPHABETICAL, tmp_path / "coco")
    what = "1 element stands twice where one belongs, and the first is read"
    assert read.annotations.warnings() == [f"{what}: b.xml: {where}"]


def test_classes_that_differ_in_blanks_are_one_and_it_is_said(tmp_path):
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "b.xml"
    file.write_text(file.read_text().replace("<name>dog<", "<name> dog\n<"))
    read = assert_same(tmp_path, ALPHABETICAL, tmp_path / "coco")
    what = "1 class is written with different blanks around it, and is taken for one"
    assert read.annotations.warnings() == [f"{what}: 'dog'"]


def test_the_same_blanks_everywhere_are_not_said(tmp_path):
    write_voc(tmp_path)
    for file in (tmp_path / "Annotations").iterdir():
        file.write_text(
            file.read_text().replace("<name>", "<name>\n").replace("</name>", "\n</name>")
        )
    assert said(tmp_path) == []


@pytest.mark.parametrize("name", [".h.xml", ".trash/h.xml"])
def test_hidden_files_are_said(name, tmp_path):
    write_voc(tmp_path)
    write(tmp_path / "Annotations" / name, xml("a.png", "h.png"))
    write(tmp_path / "Annotations" / "._a.xml", b"\0\x05\x16\7")
    what = "1 hidden XML file is left out; rename it to use it"
    assert said(tmp_path) == [f"{what}: {Path(name).name}"]


def test_a_backslash_is_a_letter_where_there_is_such_a_file(tmp_path):
    write_voc(tmp_path)
    draw(tmp_path / "JPEGImages" / "x\\y.png", (40, 30))
    write(tmp_path / "Annotations" / "x\\y.xml", xml("a.png", "x\\y.png"))
    data = read_data_set(tmp_path)
    assert [i.file_name for i in data.annotations.images] == ["a.png", "b.png", "c.png", "x\\y.png"]
    assert "1 image has a backslash in its name: x\\y.png" in data.annotations.warnings()
