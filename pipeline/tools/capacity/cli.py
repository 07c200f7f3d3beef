"""The command line of `fdet model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ...command import MASKS, Assignments, argument, cache_opt, echo, opt, takes


@takes
def model_command(
    model: Annotated[Path, argument("run directory, TOML file, or name of a preset")],
    cache: Annotated[Path, cache_opt("cache with the levels, classes and canvases to assume")],
    masks: Annotated[bool, opt(MASKS)] = False,
    assignments: Assignments = (),
) -> None:
    """Count the parameters and FLOPs of backbone, neck and head, and the activations of a training step.

    Also shows the share of the parameters that is trained.
    """
    from ....cache.errors import InputError
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
    is_run = (model / "run.json").is_file()
    if is_run and RunInfo.read(model).tail is not None:
        raise InputError(
            f"{model}: it has a tail, which is not counted yet; give the configuration of a run on a cache"
        )
    from .measure import measure
    from .report import capacity_lines

    for line in capacity_lines(measure(config, header, len(annotations.class_ids))):
        echo(line)
    if config.backbone.adapters:
        echo(
            "note: what the backbone keeps for the backward pass to its adapters is not among the activations"
        )
    if not is_run:
        return
    info = RunInfo.read(model)
    if info.trains_backbone:
        echo(
            f"note: with --source {info.source} the run trained its backbone too, which is frozen here"
        )
    if info.second is not None:
        echo(f"note: the run had a second cache, of {info.second.backbone}, which is not counted")
