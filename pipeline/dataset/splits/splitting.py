"""`fdet dataset split`: one set of images made into training, validation and test sets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.wording import counted
from ..annotations import joined_annotations
from ..check import check_there
from ..coco.ids import whole_number
from ..coco.reading import decoded
from ..data_set import DataSet
from ..formats.files import first_few
from ..images.decoding import file_sha256
from ..images.threads import in_threads
from ..writing.conversion import write_split
from ..writing.whole_folder import refuse_no_folder, refuse_others, whole_folder
from .options import FOLDER, SplitOptions
from .partition import Group, joined_groups, lacking, partitioned


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A split that was made.

    images: the numbers of images and of groups of each split, by its name. classes: the number of objects
    of each class in each split. remarks: what is worth knowing.
    """

    images: Mapping[str, tuple[int, int]]
    classes: Mapping[str, list[int]]
    remarks: tuple[str, ...]


def split_data_set(data: DataSet, out: Path, options: SplitOptions, to: str) -> SplitResult:
    """Split a data set and write the splits in a format; image files are not copied.

    to: a row of WRITERS. Raises InputError, StorageError.
    """
    shares = _shares(options)
    refuse_no_folder(out)
    if to == "coco":
        refuse_others(out, {f"{name}.json" for name in shares})
    positions, groups, remarks = _grouped(data, options.group_by)
    if len(groups) < len(shares):
        raise InputError(
            f"{data.source}: {counted(len(groups), 'group')} of images that stay together cannot fill "
            f"{counted(len(shares), 'split')}; add images, or group by something finer"
        )
    splits = partitioned(groups, list(shares.values()), options.seed)
    members = {
        name: sorted(p for g, split in enumerate(splits) if split == k for p in positions[g])
        for k, name in enumerate(shares)
    }
    remarks += _write(data, members, out, to)
    return SplitResult(
        {name: (len(members[name]), splits.count(k)) for k, name in enumerate(shares)},
        _classes(groups, splits, len(shares)),
        (*_absent(groups, splits, len(shares)), *remarks),
    )


def _shares(options: SplitOptions) -> dict[str, float]:
    """Return the shares of the splits that get images, by name. Raises InputError."""
    train = 1 - options.val - options.test
    if options.val + options.test <= 0 or train <= 0:
        raise InputError(
            f"--val {options.val:g} and --test {options.test:g}: expected a sum above 0 and below 1"
        )
    shares = {"train": train, "val": options.val, "test": options.test}
    return {name: share for name, share in shares.items() if share > 0}


def _grouped(data: DataSet, group_by: str | None) -> tuple[list[list[int]], list[Group], list[str]]:
    """Return the images that stay together: their positions, the groups, and remarks on them.

    Raises InputError where images are missing, or --group-by fits none.
    """
    images = data.annotations.images
    folder = data.images or Path()
    key_of = _key_of(group_by)
    keys = [key_of(image.file_name) for image in images]
    if group_by is not None and not any(keys):
        raise InputError(f"--group-by {group_by!r}: no name fits, e.g. {images[0].file_name}")
    check_there(folder, images)
    digests = in_threads(
        "reading images", lambda image: file_sha256(folder / image.file_name), images
    )
    positions = joined_groups(
        [
            [
                ("name", image.file_name),
                *([("content", digest)] if digest else []),
                *([("key", key)] if key else []),
            ]
            for image, digest, key in zip(images, digests, keys, strict=True)
        ]
    )
    remarks = []
    if unread := digests.count(""):
        what = counted(
            unread, "image cannot be read; its name", "images cannot be read; their names"
        )
        remarks.append(f"{what} alone {'was' if unread == 1 else 'were'} looked at")
    if repeated := len(digests) - unread - len(set(digests) - {""}):
        what = counted(
            repeated,
            "image repeats the content of another, and stays with it",
            "images repeat the content of another, and stay with it",
        )
        remarks.append(what)
    if group_by is not None and (without := keys.count(())):
        what = counted(
            without,
            "name does not fit --group-by and is a group of its own",
            "names do not fit --group-by and are groups of their own",
        )
        remarks.append(what)
    return positions, [_group(data, those) for those in positions], remarks


def _key_of(group_by: str | None) -> Callable[[str], tuple[str, ...]]:
    """Return the function from a name to what images of a group share; () for an image that has none.

    Raises InputError where the regular expression is none.
    """
    if group_by is None:
        return lambda name: ()
    if group_by == FOLDER:
        return lambda name: (str(PurePosixPath(name).parent),)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(
            f"--group-by {group_by!r}: expected {FOLDER!r} or a regular expression: {error}"
        ) from error

    def key(name: str) -> tuple[str, ...]:
        match = pattern.search(name)
        if match is None:
            return ()
        return tuple(text or "" for text in match.groups()) or (match[0],)

    return key


def _group(data: DataSet, positions: Sequence[int]) -> Group:
    """Return the group of the images at these positions."""
    annotations = data.annotations
    images = [annotations.images[p] for p in positions]
    counts: dict[str, int] = {}
    for p in positions:
        part = slice(int(annotations.starts[p]), int(annotations.starts[p + 1]))
        labels = annotations.packed.labels[part][~annotations.packed.crowd[part]]
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            name = annotations.class_names[label]
            counts[name] = counts.get(name, 0) + int(count)
    return Group(min(image.file_name for image in images), len(images), counts)


def _write(data: DataSet, members: Mapping[str, Sequence[int]], out: Path, to: str) -> list[str]:
    """Write each split in a format and return what that does not keep."""
    with whole_folder(out) as scratch:
        if to == "coco":
            coco = decoded(data.raw, data.source)
            for name, positions in members.items():
                publish_bytes(scratch / f"{name}.json", json.dumps(_part(coco, positions)).encode())
            return []
        remarks: dict[str, None] = {}
        for name, positions in members.items():
            ids = {data.annotations.images[p].id for p in positions}
            part = joined_annotations([(data.annotations, ids)])
            for remark in write_split(data, part, scratch, name, to):
                remarks[remark] = None
    return list(remarks)


def _part(coco: Mapping[str, Any], positions: Sequence[int]) -> dict[str, Any]:
    """Return the COCO form of some images, with all fields of their entries as they are."""
    images = [coco["images"][p] for p in positions]
    texts = {str(image["id"]) for image in images}
    everything = {str(image["id"]) for image in coco["images"]}
    numbers = {whole_number(image["id"]) for image in images}

    def inside(image_id: object) -> bool:
        # "07" and 7 are two ids only where both are listed.
        text = str(image_id)
        return text in texts if text in everything else whole_number(image_id) in numbers

    part = {**coco, "images": images}
    if coco.get("annotations") is not None:
        part["annotations"] = [a for a in coco["annotations"] if inside(a["image_id"])]
    return part


def _classes(groups: Sequence[Group], splits: Sequence[int], count: int) -> dict[str, list[int]]:
    """Return the number of objects of each class in each split, the most frequent class first."""
    table: dict[str, list[int]] = {}
    for group, split in zip(groups, splits, strict=True):
        for name, number in group.objects.items():
            table.setdefault(name, [0] * count)[split] += number
    return dict(sorted(table.items(), key=lambda item: (-sum(item[1]), item[0])))


def _absent(groups: Sequence[Group], splits: Sequence[int], count: int) -> list[str]:
    """Describe the classes that some split lacks."""
    absent = lacking(groups, splits, count)
    few = [name for name, number in absent.items() if number < count]
    entangled = [name for name in absent if name not in few]
    remarks = []
    if few:
        what = counted(len(few), "class has", "classes have")
        remarks.append(f"{what} too few groups of images for all splits: {first_few(few, 5)}")
    if entangled:
        what = counted(
            len(entangled),
            "class lacks in a split, since others need its images",
            "classes lack in a split, since others need their images",
        )
        remarks.append(f"{what}: {first_few(entangled, 5)}")
    return remarks
