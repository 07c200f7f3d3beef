"""The command line of `fdet dataset`, to check, convert and split data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...cache.errors import InputError
from ...cache.wording import counted
from ..command import Format, Program, argument, check_ranges, echo, opt, takes
from .splits.options import SplitOptions

if TYPE_CHECKING:
    from .data_set import DataSet

dataset_app = Program(no_args_is_help=True, help="Check data sets, convert and split them.")

# Of `check`, by the rank of the worst finding: note, warning, error.
_EXIT_CODES = (0, 3, 2)
_DATA_HELP = "data set: a COCO JSON, YOLO, VOC or CSV file or folder"
_Several = Annotated[
    Sequence[Path], argument(f"{_DATA_HELP}; several are splits of one set", metavar="DATA...")
]
_Splits = Annotated[
    Sequence[str], opt("only this split, e.g. train; may be repeated; default: all", "--split")
]
_Images = Annotated[Path | None, opt("folder of the images; default: found beside the annotations")]
_ImagesOfEach = Annotated[
    Sequence[Path],
    opt(
        "folder of the images, or one for each DATA, in their order; default: found beside the annotations",
        "--images",
    ),
]
_Out = Annotated[Path, opt("folder to make")]
_BoxesOnly = Annotated[
    bool, opt("leave outlines out, so that every box is kept as it is", "--boxes-only")
]
_To = Annotated[str, opt("format to write: coco, yolo or voc")]


@dataset_app.command("check")
@takes
def check_command(
    data: _Several,
    images: _ImagesOfEach = (),
    format: Format = None,
    split: _Splits = (),
    full: Annotated[
        bool,
        opt(
            "read all of every image, or its header alone: no duplicates, no damage",
            "--full/--quick",
        ),
    ] = True,
    short: Annotated[
        int | None, opt("also find boxes that are small where images have this shorter side, px")
    ] = None,
    long: Annotated[
        int | None, opt("limit of the longer side, px; default: 1333/800 of --short")
    ] = None,
    as_json: Annotated[bool, opt("print JSON, for programs", "--json")] = False,
) -> None:
    """Look for what is wrong with a data set, and say what to do about it.

    Exit 0: nothing, or notes. 3: warnings. 2: errors, from which training or evaluation would suffer, or
    annotations that cannot be read.
    """
    from .doctor.examine import examine
    from .doctor.rules import Depth
    from .doctor.subject import Split
    from .doctor.summary import summarise
    from .doctor.text import as_json as json_of
    from .doctor.text import as_lines
    from .images.sides import chosen_long, usual_long
    from .images.views import ResizeRule
    from .splits.named_splits import read_splits

    if short is None and long is not None:
        raise InputError("--long is the limit of --short; give both, or --short alone")
    if line := chosen_long(short, long):
        echo(line, err=True)
    resize = None if short is None else ResizeRule(short, long or usual_long(short), False, 1)
    read = read_splits(data, images, format=format, names=split, whole=False)
    splits = [Split(name, found) for name, found in read.items()]
    findings = examine(splits, Depth.pixels if full else Depth.headers, resize)
    summary = summarise(splits)
    if as_json:
        import json

        echo(json.dumps(json_of(summary, findings), indent=2))
    else:
        echo("\n".join(as_lines(summary, findings)))
    worst = max((finding.severity.rank for finding in findings), default=0)
    if _EXIT_CODES[worst]:
        raise typer.Exit(_EXIT_CODES[worst])


@dataset_app.command("convert")
@takes
def convert_command(
    data: _Several,
    out: _Out,
    to: _To,
    images: _Images = None,
    format: Format = None,
    split: _Splits = (),
    boxes_only: _BoxesOnly = False,
) -> None:
    """Write a data set in another format, with its images as links, or as copies where there are no links.

    What reading left out or assumed, and what the format cannot keep, is printed.
    """
    from .classes.numbering import listed_alike
    from .data_set import splits_of
    from .splits.named_splits import read_splits
    from .writing.conversion import check_format, convert_data_set, with_outlines

    check_format(to)

    def read(outlines: bool) -> dict[str, DataSet]:
        return read_splits(data, images, format=format, names=split, outlines=outlines)

    found, listed = listed_alike(read(False) if boxes_only else with_outlines(read))
    several = len(data) > 1 or bool(splits_of(data[0], format))
    named = {name if several else None: part for name, part in found.items()}
    remarks = convert_data_set(named, out, to)
    for name, part in found.items():
        for remark in part.annotations.warnings():
            echo(f"{name}: {remark}" if len(found) > 1 else remark, err=True)
    for remark in (*listed, *remarks):
        echo(remark, err=True)
    counts = ", ".join(
        f"{counted(len(d.annotations.images), 'image')} of {n}" for n, d in found.items()
    )
    echo(f"{counts}, {out}")


@dataset_app.command("split")
@takes
def split_command(
    data: Annotated[Path, argument(_DATA_HELP)],
    out: _Out,
    options: SplitOptions,
    to: _To = "coco",
    images: _Images = None,
    format: Format = None,
    split: Annotated[str | None, opt("split of the data set to split further")] = None,
    boxes_only: _BoxesOnly = False,
) -> None:
    """Split a data set into train, val and test, with each class in all of them as far as possible.

    Images of the same content stay together. As COCO, the splits are JSON files, whose names of images are
    relative to the same folder as before; the other formats get links to the images, or copies.
    """
    from .data_set import read_data_set
    from .doctor.text import class_lines, table
    from .splits.splitting import split_data_set
    from .writing.conversion import check_format, with_outlines

    check_ranges(options)
    check_format(to)

    def read(outlines: bool) -> DataSet:
        return read_data_set(data, images, format=format, split=split, outlines=outlines)

    found = read(False) if boxes_only or to == "coco" else with_outlines(read)
    result = split_data_set(found, out, options, to)
    counts = [[n, str(images), str(groups)] for n, (images, groups) in result.images.items()]
    lines = table([["split", "images", "groups"], *counts])
    echo("\n".join([*lines, "", *class_lines(list(result.images), result.classes), ""]))
    # Files of COCO keep all boxes, also those that count for nothing.
    read_so = found.annotations.remarks if to == "coco" else found.annotations.warnings()
    for remark in (*read_so, *result.remarks):
        echo(remark, err=True)
    echo(f"{out}: the images are in {found.images} (--images)" if to == "coco" else f"{out}")
