"""The command line of `fdet model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ...command import MASKS, Assignments, argument, cache_opt, echo, opt, takes
from ...sources.kinds import CACHED, SOURCES


@takes
def model_command(
    model: Annotated[Path, argument("run directory, TOML file, or name of a preset")],
    cache: Annotated[Path, cache_opt("cache with the levels, classes and canvases to assume")],
    masks: Annotated[bool, opt(MASKS)] = False,
    source: Annotated[
        str | None,
        opt(
            "source of the maps, as train-heads has it; default: that of the run, else cached",
            metavar="|".join(SOURCES),
        ),
    ] = None,
    assignments: Assignments = (),
) -> None:
    """Count the parameters and FLOPs of backbone, neck and head, and the activations of a training step.

    Also shows the share of the parameters that is trained.
    """
    from ....cache.errors import InputError, did_you_mean
    from ....cache.format.annotation_copy import read_annotations
    from ....cache.format.header import CacheHeader
    from ...dataset.coco.reading import parse_annotations
    from ...runs.config import load_config
    from ...runs.info import RunInfo

    if model.is_dir() and not (model / "config.toml").is_file():
        raise InputError(f"{model}: a folder, but no run: it has no config.toml")
    path = model / "config.toml" if model.is_dir() else model
    config = load_config(path, masks=masks, assignments=assignments)
    header = CacheHeader.read(cache)
    annotations = parse_annotations(read_annotations(cache, header), f"{cache}'s annotations")
    info = RunInfo.read(model) if (model / "run.json").is_file() else None
    chosen = source or (info.source if info else CACHED)
    if chosen not in SOURCES:
        raise InputError(f"--source {chosen!r}{did_you_mean(chosen, SOURCES)}")
    from .measure import measure
    from .report import capacity_lines

    for line in capacity_lines(measure(config, header, len(annotations.class_ids), chosen)):
        echo(line)
    if config.backbone.adapters and not SOURCES[chosen].tail:
        echo(
            "note: what the backbone keeps for the backward pass to its adapters is not among the activations"
        )
    if SOURCES[chosen].trains:
        echo(f"note: with --source {chosen} the backbone is trained too, which is frozen here")
    if info is not None and info.second is not None:
        echo(f"note: the run had a second cache, of {info.second.backbone}, which is not counted")
