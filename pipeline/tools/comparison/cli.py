"""fdet compare: its options as the command line knows them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ....cache.disk.objects import located
from ...command import echo, opt


def compare_command(
    config: Annotated[
        Path,
        typer.Argument(help="TOML file of settings or name of a preset, the same for all sources"),
    ],
    cache: Annotated[Path, opt("training cache")],
    val: Annotated[Path, opt("validation cache")],
    out: Annotated[Path, opt("folder for the runs and the report, or to go on in")],
    images: Annotated[
        Path | None, opt("image folder: for a backbone in the loop, and to measure extraction")
    ] = None,
    val_images: Annotated[Path | None, opt("of the validation images; default: --images")] = None,
    sources: Annotated[
        str, opt("of cached, online, finetune, scratch")
    ] = "cached,online,finetune,scratch",
    seeds: Annotated[str, opt("each source is trained with each of them")] = "0",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="section.name=value, e.g. train.epochs=20")
    ] = None,
    weights: Annotated[str | None, opt("as at extraction, where that took a file")] = None,
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, opt("of torch on a CPU; default: torch's")] = None,
    extraction_seconds: Annotated[
        float | None, opt("what making the training cache took; default: measured on a part of it")
    ] = None,
) -> None:
    """Train one configuration from several sources: what each reaches, and what each costs.

    Each run is kept; the same command goes on where it was interrupted.
    """
    from .compare import compare
    from .options import CompareOptions, parsed_seeds
    from .runs import RunEnded

    logging.getLogger("fdet").setLevel(logging.INFO)
    names: list[Any] = [name.strip() for name in sources.split(",") if name.strip()]
    options = CompareOptions(
        config=config,
        cache=located(cache),
        val=located(val),
        out=out,
        sources=names,
        seeds=parsed_seeds(seeds),
        assignments=assignments or (),
        images=images,
        val_images=val_images,
        weights=weights,
        device=device,
        threads=threads,
        extraction_seconds=extraction_seconds,
    )
    try:
        report = compare(options)
    except RunEnded as ended:
        raise typer.Exit(ended.status) from ended
    echo(report.to_markdown())
    echo(f"written: {out / 'compare.md'}, compare.json, compare.png")
