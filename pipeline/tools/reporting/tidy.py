"""One table with a row for each run and a column for each variable, named alike in every format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.coco import FIGURES, GROUPS
from ...evaluation.errors import KINDS
from ...runs.rows import Row
from .axes import Axis, Group, shown
from .effects import Effect
from .records import RunRecord

# After these come the axes, "AP of CLASS" and "AP50 lost to KIND".
COLUMNS: Mapping[str, str] = {
    "run": "name, the shortest suffix of its path that no other run has",
    "folder": "run directory",
    "state": "finished, unfinished or unreadable",
    "note": "why it is not finished",
    "group": "runs that differ only in the seed",
    "seed": "train.seed",
    **dict.fromkeys(FIGURES, "COCO's, 0 to 1, of the best evaluation"),
    **dict.fromkeys(GROUPS, "AP over the classes of a frequency group, of that evaluation"),
    "mask_ap": "AP of masks at that evaluation, where the head finds some",
    "last_ap": "AP of the last evaluation",
    "best_epoch": "epoch of the best evaluation",
    "epochs": "epochs trained",
    "steps": "steps of the optimiser",
    "trained": "trained parameters",
    "total": "parameters of detector and backbone",
    "share": "trained / total",
    "seconds": "time of steps and of waiting for their data, without evaluations and start-up",
    "images_per_second": "mean over the training",
    "waiting": "share of the seconds spent waiting for data",
    "process_mb": "peak of the process, MiB",
    "device_mb": "peak of the accelerator, MiB",
    "digest": "sha256 of the configuration",
    "command": "the command that reproduces the run",
}


def tidy(
    records: Sequence[RunRecord],
    axes: Sequence[Axis],
    groups: Sequence[Group],
    commands: Sequence[str],
) -> list[Row]:
    """Return a row for each record, all with the same columns, with None for missing values."""
    group = {run: g.label for g in groups for run in g.runs}
    classes = dict.fromkeys(name for record in records for name in record.per_class)
    rows = []
    for k, (record, command) in enumerate(zip(records, commands, strict=True)):
        row = dict.fromkeys(COLUMNS) | dict(record.figures)
        row |= {"run": record.name, "folder": str(record.folder), "state": record.state}
        row |= {"note": record.note, "group": group.get(k), "seed": record.seed, "command": command}
        if record.info is not None:
            row["digest"] = record.info.config.digest
        if (p := record.parameters) is not None:
            row |= {"trained": p.trained, "total": p.total, "share": p.share}
        row |= {axis.name: _plain(axis.values[k]) for axis in axes}
        row |= {f"AP of {name}": record.per_class.get(name) for name in classes}
        row |= {f"AP50 lost to {kind}": record.errors.get(kind) for kind in KINDS}
        rows.append(row)
    return rows


def _plain(value: Any) -> Any:
    return shown(value) if isinstance(value, tuple) else value


def to_json(rows: Sequence[Row], effects: Sequence[Effect]) -> str:
    """Return {"columns": their descriptions, "runs": the rows, "effects": ...} as JSON."""
    found = [effect.to_json() for effect in effects]
    return json.dumps({"columns": dict(COLUMNS), "runs": list(rows), "effects": found})
