"""Pascal VOC: an XML file for each image, beside it or in the folder Annotations for JPEGImages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath

from ....cache.errors import InputError
from ....cache.wording import counted, none_has
from ...machines.progress import progress_line
from ..images.files import SUFFIXES
from ..images.names import normal_name
from .assembly import ImageObjects, ObjectEntry, coco_form, numbered, spelling_remarks
from .files import (
    files_below,
    first_few,
    hidden_files,
    names_in,
    read_text,
    some_files,
    state_of,
)
from .format import Contents, Format
from .splits import (
    SPLITS,
    is_needed,
    refuse_unlabelled,
    split_folders,
    split_in,
    with_unlabelled,
)
from .voc_images import named_images
from .voc_xml import VocImage, is_other_xml, looks_like_voc, read_image

_XML = frozenset({".xml"})
# The list of the images of two others, which is no split besides these.
_UNION, _PARTS = "trainval", ("train", "val")
_LISTED = (*SPLITS, _UNION)
# How many XML files are looked at before a folder is taken for one without any of VOC's.
_TRIED = 20
# Of so many files the contents are kept for the next split of their data set, some 100 MB.
_MAX_KEPT = 100_000


def recognises(path: Path) -> bool:
    """Return whether a path is an XML file of VOC's form, or a folder in which such files lie."""
    if path.is_file():
        return path.suffix.lower() == ".xml"
    if not path.is_dir():
        return False
    return any(looks_like_voc(file) for file in islice(some_files(path, _XML), _TRIED))


def splits(path: Path) -> Sequence[str]:
    """Return the splits that ImageSets/Main lists, or for which there are folders of XML files."""
    if path.is_file():
        return ()
    further = further_splits(path)
    listed = tuple(s for s in _listed_splits(path) if s not in further)
    return listed or with_unlabelled(path, tuple(_folders_of_splits(path)))


def further_splits(path: Path) -> Sequence[str]:
    """Return the listed splits that are not to be read with the others: `trainval` beside its parts, and

    those without XML files that need none, unless none has any.
    """
    listed = _listed_splits(path)
    absent = [split for split, lists in listed.items() if not any(map(_has_xml, lists))]
    if len(absent) == len(listed):
        absent = []
    both = [_UNION] if {_UNION, *_PARTS} <= set(listed) else []
    return (*(split for split in absent if not is_needed(split) and split != _UNION), *both)


def _listed_splits(path: Path) -> dict[str, list[Path]]:
    """Return the lists of each split that ImageSets/Main has, in the usual order."""
    if path.is_file():
        return {}
    lists = [list_ for root in _devkits(path) for list_ in _lists(root)]
    found = {split: [list_ for list_ in lists if list_.stem == split] for split in _LISTED}
    return {split: those for split, those in found.items() if those}


def _has_xml(list_: Path) -> bool:
    """Return whether an image of a list has an XML file; a list that cannot be read is refused later."""
    try:
        return any(file.is_file() for file in _listed(list_))
    except InputError:
        return True


def read(path: Path, split: str | None, images: Path | None) -> Contents:
    """Read the XML files of a split. Raises InputError."""
    chosen, remarks = _xml_files(path, split)
    found, others = _read_all(sorted({*chosen, *_files_for_classes(path)}))
    parsed = [found[file] for file in chosen if file in found]
    if not parsed:
        raise InputError(f"{path}: expected XML files that begin with <annotation>, found none")
    if others:
        what = counted(len(others), "XML file is", "XML files are")
        remarks.append(f"{what} not of Pascal VOC: {first_few(others)}")
    if repeated := [text for image in parsed for text in image.repeated]:
        what = counted(len(repeated), "element stands", "elements stand")
        few = first_few(repeated)
        remarks.append(f"{what} twice where one belongs, and the first is read: {few}")
    remarks += spelling_remarks((o.name, o.written) for image in parsed for o in image.objects)
    ids = numbered(o.name for image in found.values() for o in image.objects)
    if not ids:
        raise InputError(
            f"{path}: expected objects with a class in <name>, found none in any XML file"
        )
    names, root, more = named_images(parsed, path, images, {file.stem for file in found})
    remarks += more
    difficult = sum(o.difficult for image in parsed for o in image.objects)
    if difficult:
        how = "neither as found nor as missed (iscrowd)"
        what = counted(
            difficult,
            f"object is marked as difficult: it counts {how}, and is not learnt",
            f"objects are marked as difficult: they count {how}, and are not learnt",
        )
        remarks.append(what)
    entries = [
        ImageObjects(name, image.hw, _entries(image, ids))
        for name, image in zip(names, parsed, strict=True)
    ]
    coco = coco_form(entries, {number: name for name, number in ids.items()})
    return Contents(coco, str(path), None, root, tuple(remarks), numbered=True)


def _entries(image: VocImage, ids: dict[str, int]) -> list[ObjectEntry]:
    return [ObjectEntry(ids[o.name], o.box, o.polygon, o.difficult) for o in image.objects]


def _read_all(files: Sequence[Path]) -> tuple[Mapping[Path, VocImage], Sequence[str]]:
    """Return what the XML files say, and the names of those that are something else.

    They are read once for all splits, until one changes. Raises InputError.
    """
    read = _read_once if len(files) <= _MAX_KEPT else _read_once.__wrapped__
    return read(tuple(files), tuple(state_of(file) for file in files))


@lru_cache(maxsize=1)
def _read_once(
    files: Sequence[Path], states: Sequence[tuple[int, int]]
) -> tuple[Mapping[Path, VocImage], Sequence[str]]:
    found, others = {}, []
    alone = len(files) == 1
    with progress_line("reading XML files", len(files)) as progress:
        for file in files:
            progress.advance()
            if alone or not is_other_xml(file):
                found[file] = read_image(file)
            else:
                others.append(file.name)
    return found, others


def _xml_files(path: Path, split: str | None) -> tuple[list[Path], list[str]]:
    """Return the XML files of a split, and sentences on those left out."""
    if path.is_file():
        return [path], []
    lists = _listed_splits(path)
    if split in lists:
        return _xml_of_lists(lists[split], [name for name in further_splits(path) if name != split])
    folders = _folders_of_splits(path)
    left_out = refuse_unlabelled(path, split, folders, "an XML file for each of them")
    folder = path if split is None else folders[split]
    hidden = [file for file in hidden_files(folder, _XML) if looks_like_voc(file)]
    what = counted(
        len(hidden),
        "hidden XML file is left out; rename it to use it",
        "hidden XML files are left out; rename them to use them",
    )
    few = first_few([file.name for file in hidden])
    remarks = [f"{what}: {few}"] if hidden else []
    return list(files_below(folder, _XML)), [*left_out, *remarks, *_unread_lists(path)]


def _unread_lists(path: Path) -> list[str]:
    """Return a sentence on lists of splits that do not lie where VOC has them, where there are some."""
    sets = path / "ImageSets"
    places = [path, sets, *(sets / name for name in names_in(sets))]
    there = [place / name for place in places for name in names_in(place)]
    lists = [
        file.relative_to(path).as_posix()
        for file in there
        if file.suffix == ".txt" and file.stem.removesuffix("_list") in _LISTED and file.is_file()
    ]
    what = counted(len(lists), "list of a split is not read", "lists of splits are not read")
    expected = "expected them in ImageSets/Main, such as ImageSets/Main/train.txt"
    return [f"{what}: {first_few(lists)}; {expected}"] if lists else []


def _xml_of_lists(lists: Sequence[Path], further: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the XML files of the lists of a split, each once, and sentences on those left out.

    further: the splits that are not read with the others.
    """
    rows = [file for list_ in lists for file in _listed(list_)]
    there = {file: file.is_file() for file in rows}
    files = [file for file, found in there.items() if found]
    lost = [file.stem for file, found in there.items() if not found]
    if not files:
        first = next(iter(there), lists[0])
        raise InputError(
            f"{lists[0]}: {none_has(len(lost), 'image', 'an XML file')}, such as {first}; "
            "correct the list, or take it away where there is no such split"
        )
    said = []
    if lost:
        what = counted(
            len(lost),
            "image of the list has no XML file and is left out",
            "images of the list have no XML file and are left out",
        )
        said.append(f"{what}: {first_few(lost)}")
    if twice := [file.stem for file, count in Counter(rows).items() if count > 1]:
        what = counted(len(twice), "image is", "images are")
        said.append(f"{what} listed twice: each is taken once: {first_few(twice)}")
    for name in (name for name in further if name != _UNION):
        said.append(f"{name}: no image of its list has an XML file: this split is left out")
    return files, said


def _files_for_classes(path: Path) -> Iterator[Path]:
    """Yield all XML files of the data set, so that each split gives its classes the same ids."""
    if path.is_file():
        return
    yield from files_below(path, _XML)
    if split_in(path.name):
        above = path.absolute().parent
        for name in split_folders(above).values():
            yield from (file for file in files_below(above / name, _XML) if looks_like_voc(file))


def _devkits(path: Path) -> list[Path]:
    """Return the folders of VOC's own form, such as VOC2007, in a folder."""
    kits = [base / name for base in (path, path / "VOCdevkit") for name in names_in(base)]
    tried = [path, *(kit for kit in kits if kit.name.startswith("VOC"))]
    return [
        p for p in tried if (p / "Annotations").is_dir() and (p / "ImageSets" / "Main").is_dir()
    ]


def _lists(root: Path) -> list[Path]:
    """Return the lists of splits: train.txt, but not those of one class, such as cat_train.txt."""
    main = root / "ImageSets" / "Main"
    files = [main / name for name in names_in(main) if name.endswith(".txt")]
    return [
        file for file in files if file.stem in _LISTED and file.is_file() and file.stat().st_size
    ]


def _listed(list_: Path) -> Iterator[Path]:
    """Yield the XML files of the images of a list.

    A row has the name of an image, which may be that of its file (JPEGImages/a.jpg), and a 1 or -1 may stand
    behind it.
    """
    folder = list_.parents[2] / "Annotations"
    for line, row in enumerate(read_text(list_).splitlines(), 1):
        if not row.strip():
            continue
        try:
            given = [normal_name(text) for text in (row.strip(), row.split()[0])]
        except ValueError as error:
            expected = "the name of an image"
            raise InputError(
                f"{list_}: line {line}: expected {expected}, got {row.strip()[:80]!r}"
            ) from error
        tried = [folder / f"{name}.xml" for name in (*given, *map(_without_file, given))]
        yield next((file for file in tried if file.is_file()), tried[1])


def _without_file(name: str) -> str:
    """Return the name of an image without the folder and the suffix of its file."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _folders_of_splits(path: Path) -> dict[str, Path]:
    """Return the folders that are named after splits and hold XML files."""
    for base in (path, path / "Annotations", path / "annotations"):
        named = split_folders(base)
        found = {split: base / name for split, name in named.items() if recognises(base / name)}
        if found:
            return found
    return {}


VOC = Format("Pascal VOC (folder of XML files)", recognises, splits, read, further_splits)
