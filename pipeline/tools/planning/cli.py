"""The command line of `fdet plan`: the options of `fdet extract`, and some of its own."""

from __future__ import annotations

import json
from typing import Annotated

from ...command import echo, opt, takes
from ...dataset.images.sides import chosen_long
from .options import PlanOptions


@takes
def plan_command(
    options: PlanOptions,
    as_json: Annotated[bool, opt("print JSON, for programs", "--json")] = False,
) -> None:
    """Estimate the disk space and the time that `fdet extract` would take with the same options.

    Also estimates after how many epochs the cache has paid for itself. Tries some images and the target disk,
    and leaves nothing there.
    """
    from ...extraction.checks import check_extraction

    options.check()
    check_extraction(options.extraction)
    if line := chosen_long(options.extraction.short, options.extraction.long):
        echo(line, err=True)
    from .measure import make_plan
    from .report import plan_lines

    plan = make_plan(options)
    if as_json:
        echo(json.dumps(plan.to_json(), indent=2))
        return
    for line in plan_lines(plan):
        echo(line)
