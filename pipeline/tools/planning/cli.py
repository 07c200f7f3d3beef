"""fdet plan: the options of fdet extract, and its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ....cache.errors import InputError
from ...command import defaults_of, echo, opt, with_options_of
from ...extraction.cli import extract_command
from ...extraction.options import ExtractConfig
from .options import PlanOptions

_D = defaults_of(PlanOptions)


@with_options_of(extract_command)
def plan_command(
    budget: Annotated[
        str | None, opt("room the cache may have, e.g. 200GB; default: what is free")
    ] = _D["budget"],
    epochs: Annotated[int, opt("of a training run on the cache")] = _D["epochs"],
    trial_images: Annotated[int, opt("most images to try")] = _D["trial_images"],
    write_trial: Annotated[
        str | None,
        opt("how much to write on the target disk, e.g. 100GB; default: 10 s, at most 8 GiB"),
    ] = _D["write_trial"],
    nodes: Annotated[int, opt("machines like this one that extract beside each other")] = _D[
        "nodes"
    ],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    **extraction: Any,
) -> None:
    """What `fdet extract` with the same options would take in room and time, and after how many epochs
    the cache has paid for itself. Tries some images and the disk that --out lies on; leaves nothing there.
    """
    from ....cache.disk.objects import ObjectPath, located
    from ....cache.disk.sizes import parse_bytes

    if isinstance(located(extraction["out"]), ObjectPath):
        raise InputError(
            "fdet plan measures a disk: give --out a folder, e.g. one that is copied later"
        )
    options = PlanOptions(
        extraction=ExtractConfig(**extraction),
        budget=None if budget is None else parse_bytes(budget, "--budget"),
        epochs=epochs,
        trial_images=trial_images,
        nodes=nodes,
        write_trial=None if write_trial is None else parse_bytes(write_trial, "--write-trial"),
    )
    from .measure import make_plan
    from .report import plan_lines

    plan = make_plan(options)
    if as_json:
        import json

        echo(json.dumps(plan.to_json(), indent=2))
        return
    for line in plan_lines(plan):
        echo(line)
