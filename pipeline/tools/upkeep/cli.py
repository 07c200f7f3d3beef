"""The command line of `fdet cache`, to inspect, check, compare, convert, copy and delete caches."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from ....cache.disk.objects import ObjectPath
from ....cache.disk.sizes import megabytes
from ....cache.errors import InputError
from ....cache.wording import counted
from ...command import Program, argument, cache_argument, cache_opt, echo, opt, takes
from ...extraction.options import CALIBRATION_IMAGES

cache_app = Program(
    no_args_is_help=True, help="Look at caches, check, convert, copy and clean them."
)

_Cache = Annotated[Path, cache_argument("a cache: a folder, or s3://bucket/prefix")]
_Out = Annotated[Path, cache_argument("cache to make or to continue")]


@cache_app.command("info")
@takes
def info_command(
    cache: _Cache,
    as_json: Annotated[
        bool, opt("print JSON, for programs: numbers, not texts; sizes in bytes and px", "--json")
    ] = False,
) -> None:
    """Show what a cache holds and what it was made from."""
    from .info import aligned, cache_facts, fact_lines

    facts = cache_facts(cache)
    if as_json:
        import json

        echo(json.dumps(facts, indent=2))
        return
    columns = get_terminal_size().columns if sys.stdout.isatty() else None
    for line in aligned(fact_lines(facts), columns):
        echo(line)


@cache_app.command("verify")
@takes
def verify_command(cache: _Cache) -> None:
    """Read every byte and compare it with what was committed.

    Exit 0: whole and sound. 1: something is wrong, or not finished; each damaged file is named.
    """
    from .verify import verify_cache

    result = verify_cache(cache)
    for damage in result.damages:
        echo(str(damage))
    for name in result.leftovers:
        echo(f"left over: {name} (`fdet cache rm --leftovers` removes it)", err=True)
    size = f"{megabytes(result.bytes)} read"
    if result.missing:
        echo(f"unfinished: {counted(result.missing, 'shard is', 'shards are')} not written yet")
    if not result.sound:
        echo(f"{cache}: {counted(len(result.damages), 'damage')}, {size}")
        if result.damages and not isinstance(cache, ObjectPath):
            echo(
                f"`fdet cache rm --damaged {cache}` takes damaged shards out; the command that made "
                "the cache then makes just these again"
            )
        raise typer.Exit(1)
    echo(f"{cache}: sound, {size}")


@cache_app.command("diff")
@takes
def diff_command(first: _Cache, second: _Cache) -> None:
    """Show in what the inputs of two caches differ, and what that forbids.

    Exit 0: the same inputs. 1: something differs.
    """
    from ....cache.diff import differences

    lines = differences(first, second)
    for line in lines or ["made from the same inputs"]:
        echo(line)
    if lines:
        raise typer.Exit(1)


@cache_app.command("convert")
@takes
def convert_command(
    cache: _Cache,
    out: _Out,
    store: Annotated[str | None, opt("new store: zarr or hdf5; default: the cache's")] = None,
    codec: Annotated[
        str | None,
        opt(
            "coarser codec: fp16, bf16, int8, int6, int5, int4, q2, q1.5, q1, or with principal components, "
            "e.g. int5+pca, int5+pca64; default: the cache's"
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        cache_opt("cache whose scales the new codec takes over, so that both read as one"),
    ] = None,
    calibration_images: Annotated[
        int, opt("number of images of the cache that decide the new codec's scales")
    ] = CALIBRATION_IMAGES,
) -> None:
    """Write a finished cache in another store, or in a coarser codec, or both.

    Needs no backbone; every sample is checked as it is read. The same command goes on where it stopped.
    """
    from .checks import Conversion, check_conversion

    wanted = Conversion(
        store=store, codec=codec, calibration=calibration, calibration_images=calibration_images
    )
    check_conversion(cache, out, wanted)
    from .convert import convert

    samples, size = convert(cache, out, wanted)
    echo(f"{counted(samples, 'sample')}, {megabytes(size)}, {out}")


@cache_app.command("copy")
@takes
def copy_command(
    cache: _Cache,
    out: _Out,
    levels: Annotated[str | None, opt("only these levels, comma-separated, e.g. c4,c5")] = None,
    images_from: Annotated[
        Path | None, opt("only the images of this annotation file, which the copy then carries")
    ] = None,
    limit: Annotated[int | None, opt("only the first N images")] = None,
) -> None:
    """Copy a finished cache, or a part of it, which is then a cache of its own.

    Every byte is checked on its way. The same command goes on where it stopped.
    """
    from .checks import Part, check_copy

    names = None if levels is None else tuple(levels.split(","))
    part = Part(levels=names, images_from=images_from, limit=limit)
    check_copy(cache, out, part)
    from .copy import copy

    samples, size = copy(cache, out, part)
    echo(f"{counted(samples, 'sample')}, {megabytes(size)}, {out}")


@cache_app.command("annotations")
@takes
def annotations_command(
    cache: _Cache, out: Annotated[Path, argument("file to write, e.g. val.json")]
) -> None:
    """Write the annotations that a cache keeps, as COCO JSON, with the names and sizes of the image files."""
    from .annotations import write_annotations

    size = write_annotations(cache, out)
    echo(f"{megabytes(size)}, {out}")


@cache_app.command("rm")
@takes
def rm_command(
    cache: _Cache,
    leftovers: Annotated[
        bool, opt("delete only what killed runs left, and files set aside", "--leftovers")
    ] = False,
    damaged: Annotated[
        bool, opt("delete only shards in which `verify` finds damage", "--damaged")
    ] = False,
    yes: Annotated[bool, opt("do not ask for confirmation", "--yes")] = False,
) -> None:
    """Delete a cache, or what is left over or damaged in it, but never files that are not the cache's."""
    from .rm import remove_cache, remove_damaged, remove_scratch_files

    if leftovers and damaged:
        raise InputError("--leftovers and --damaged exclude each other")
    if leftovers:
        removed, size = remove_scratch_files(cache)
    elif damaged:
        removed, size = remove_damaged(cache)
    else:
        if not yes:
            typer.confirm(f"delete {cache} and all features in it?", abort=True)
        removed, size = remove_cache(cache)
    echo(f"{counted(removed, 'file')} removed, {megabytes(size)}")
