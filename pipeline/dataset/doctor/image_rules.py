"""Rules on image files: missing, unreadable, of another size, rotated, grey, deep, without objects, twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ....cache.wording import counted
from ..formats.format import MISSING_REMEDY
from ..images.depth import bits_of
from .finding import Finding, Severity, found
from .subject import Split, Subject

# From this share of a split on, images that are in another split too make its AP wrong.
_LEAK_SHARE = 0.01
# From this share on, images that cannot be read are no exception: an extraction goes on without a few.
_UNREADABLE_SHARE = 0.05


def missing(subject: Subject) -> Finding | None:
    """Find annotated images of which there is no file, also those that reading the data set left out."""
    left_out = [
        (subject.label(split, name), count)
        for split in subject.splits
        for name, count in split.data.missing.items()
    ]
    listed = [
        (subject.label(split, image.file_name), int(count))
        for split in subject.splits
        for image, count in zip(split.images, split.counts, strict=True)
        if (file := subject.files.get(split.path(image))) is not None and file.missing
    ]
    objects = sum(count for _, count in (*left_out, *listed))
    return found(
        Severity.error,
        [name for name, _ in (*left_out, *listed)],
        subject.image_count + len(left_out),
        f"annotated images are missing, with {counted(objects, 'object')}",
        MISSING_REMEDY,
    )


def unreadable(subject: Subject) -> Finding | None:
    """Find image files that cannot be read, also those that reading the data set left out."""
    faults = [
        subject.label(split, f"{name}: {why}")
        for split in subject.splits
        for name, why in split.data.unread.items()
    ]
    count = subject.image_count + len(faults)
    faults += [
        subject.label(split, f"{image.file_name}: {file.fault}")
        for split, image, file in subject.known
        if file.fault
    ]
    many = len(faults) >= _UNREADABLE_SHARE * count
    return found(
        Severity.error if many else Severity.warning,
        faults,
        count,
        "images cannot be read",
        "restore or remove them; an extraction goes on without them",
    )


def other_size(subject: Subject) -> Finding | None:
    """Find images whose size is not the one that the annotations name."""
    return found(
        Severity.error,
        [
            subject.label(
                split,
                f"{image.file_name}: file {_size(header.upright_hw)}, annotations {_size(image.hw)}",
            )
            for split, image, _, header in subject.readable()
            if header.rotate(image.hw) is None
        ],
        subject.image_count,
        "images differ in size from the annotations",
        "find the images that were annotated: boxes do not fit others",
    )


def rotated(subject: Subject) -> Finding | None:
    """Find images that their EXIF orientation turns or mirrors."""
    return found(
        Severity.note,
        [
            subject.label(split, f"{image.file_name}: orientation {header.orientation}")
            for split, image, _, header in subject.readable()
            if header.rotate(image.hw)
        ],
        subject.image_count,
        "images are rotated or mirrored by EXIF",
        "nothing: boxes are taken for those of the upright image",
    )


def not_rotated(subject: Subject) -> Finding | None:
    """Find images whose EXIF orientation does not fit the size that the annotations name."""
    return found(
        Severity.warning,
        [
            subject.label(split, f"{image.file_name}: orientation {header.orientation}")
            for split, image, _, header in subject.readable()
            if header.orientation != 1 and header.rotate(image.hw) is False
        ],
        subject.image_count,
        "images have an EXIF rotation that the annotations do not follow",
        "it is ignored, since the annotations name the size before it; look at some with their boxes",
    )


def grey(subject: Subject) -> Finding | None:
    """Find images without colours."""
    return found(
        Severity.note,
        [subject.label(s, image.file_name) for s, image, file in subject.known if file.grey],
        subject.image_count,
        "images are grey",
        "nothing: their values are used for all three colours",
    )


def deep(subject: Subject) -> Finding | None:
    """Find images that store more than 8 bits for a value."""
    files = [(s, image, f) for s, image, f, header in subject.readable() if header.deep]
    highs = [file.deep.high for _, _, file in files if file.deep is not None]
    reach = f" and reach {max(highs):.6g}" if highs else ""
    return found(
        Severity.note,
        [
            subject.label(split, image.file_name)
            + ("" if file.deep is None else f": up to {file.deep.high:.6g}")
            for split, image, file in files
        ],
        subject.image_count,
        f"images have values of more than 8 bits{reach}",
        "see that the number of bits which `fdet extract` logs is right; --bits to change it",
    )


def other_range(subject: Subject) -> Finding | None:
    """Find splits whose deep pixels have a range that an extraction refuses."""
    examples, mended, count = [], True, 0
    for split in subject.splits:
        known = {image.file_name: subject.files.get(split.path(image)) for image in split.images}
        ranges = [replace(f.deep, name=name) for name, f in known.items() if f and f.deep]
        result = bits_of(ranges)
        if result.problem:
            examples.append(subject.label(split, result.problem))
            count += len(ranges)
            mended = mended and result.mended
    return found(
        Severity.warning if mended else Severity.error,
        examples,
        subject.image_count,
        "images have deep pixels of a range that `fdet extract` refuses",
        "convert them; where --bits is named, it does as well",
        count=count,
    )


def without_objects(subject: Subject) -> Finding | None:
    """Find images that have no objects."""
    empty = [
        subject.label(split, split.images[k].file_name)
        for split in subject.splits
        for k in (split.counts == 0).nonzero()[0]
    ]
    if not any(split.objects_of_class.any() for split in subject.splits):
        empty = [subject.label(split, image.file_name) for split, image in subject.entries()]
        advice = "nothing can be learnt from them, nor measured: check the annotations"
        return found(Severity.error, empty, subject.image_count, "images have no objects", advice)
    advice = "they teach what is background; were any forgotten?"
    return found(Severity.note, empty, subject.image_count, "images have no objects", advice)


def duplicates(subject: Subject) -> Finding | None:
    """Find files of one content within a split."""
    examples = []
    first: dict[tuple[str, str], str] = {}
    seen = set[tuple[str, str]]()
    for split, image, file in subject.known:
        if not file.sha256 or (split.name, image.file_name) in seen:
            continue
        seen.add((split.name, image.file_name))
        before = first.setdefault((split.name, file.sha256), image.file_name)
        if before != image.file_name:
            examples.append(subject.label(split, f"{image.file_name} = {before}"))
    return found(
        Severity.warning,
        examples,
        subject.image_count,
        "images repeat the content of another one of their split",
        "keep one of them, with all its boxes",
    )


def leak(subject: Subject) -> Finding | None:
    """Find images that are in several splits, by content or, where files were not read, by path."""
    splits_of: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for k, split in enumerate(subject.splits):
        for key, name in _keys(split, subject):
            splits_of[key].setdefault(k, name)
    shared = {key: names for key, names in splits_of.items() if len(names) > 1}
    examples = [
        " = ".join(f"{subject.splits[k].name}: {name}" for k, name in names.items())
        for names in shared.values()
    ]
    share = _largest_share(subject, shared)
    return found(
        Severity.error if share >= _LEAK_SHARE else Severity.warning,
        examples,
        len(splits_of),
        "images are in more than one split",
        "what was trained on says nothing in validation: split again with `fdet dataset split`",
    )


def _keys(split: Split, subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield what identifies each image across splits, and its name."""
    for image in split.images:
        path = split.path(image)
        file = subject.files.get(path)
        yield (file.sha256 if file and file.sha256 else str(path.absolute())), image.file_name


def _largest_share(subject: Subject, shared: Mapping[str, Mapping[int, str]]) -> float:
    """Return the largest share of a split's images that are in another split too."""
    counts = [sum(k in names for names in shared.values()) for k in range(len(subject.splits))]
    sizes = [len(split.images) for split in subject.splits]
    return max(count / size for count, size in zip(counts, sizes, strict=True))


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[1]}x{hw[0]}"
