"""fdet plan: the options of fdet extract, and its own."""

from __future__ import annotations

import json
from typing import Annotated

from ...command import echo, opt, takes
from .options import PlanOptions


@takes
def plan_command(
    options: PlanOptions,
    as_json: Annotated[bool, opt("for programs", "--json")] = False,
) -> None:
    """Say what room and time `fdet extract` with the same options would take, and after how many epochs the
    cache has paid for itself. Tries some images and the disk that --out lies on; leaves nothing there.
    """
    from .measure import make_plan
    from .report import plan_lines

    plan = make_plan(options)
    if as_json:
        echo(json.dumps(plan.to_json(), indent=2))
        return
    for line in plan_lines(plan):
        echo(line)
