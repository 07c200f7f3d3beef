"""Results as one tidy table: a row for each evaluation of each trial, and the same columns in every format.

`fdet report` has a row for each run; a column that both tables have bears the same name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ....cache.disk.publish import publish_bytes
from ....cache.format.header import CacheHeader
from ....cache.format.manifest import Manifest
from ...evaluation.coco import FIGURES, GROUPS
from ...runs.figures import Spread
from ...runs.history import History, Steps, read_history
from ...runs.rows import Row, to_csv
from .state import Entry, State
from .trials import Trial

# After these columns come the axes, "AP of CLASS", figures of masks as "mask_ap", and every setting.
COLUMNS: Mapping[str, str] = {
    "run": "the trial, by the start of its digest",
    "folder": "run directory",
    "state": "waiting, finished, failed or pruned",
    "note": "why it failed or was pruned",
    "digest": "sha256 of settings, caches, annotations and source",
    "seed": "train.seed",
    "epoch": "the evaluated epoch, counted from 1; empty where none was evaluated",
    "best": "whether it is the trial's best evaluation",
    **dict.fromkeys(FIGURES, "COCO metric of this evaluation, 0 to 1"),
    **dict.fromkeys(GROUPS, "AP over the classes of a frequency group, of this evaluation"),
    "loss": "mean over the epochs since the previous evaluation",
    "trained": "trained parameters",
    "total": "parameters of detector and backbone",
    "share": "trained / total",
    "seconds": "time of steps and of waiting for their data, up to this evaluation",
    "images_per_second": "mean since the previous evaluation",
    "waiting": "share of these seconds without data",
    "process_mb": "peak of the process so far, MiB; trials in one pass share it",
    "device_mb": "peak of the accelerator so far, MiB",
    "cache_bytes": "size of the training and the validation cache on the disk",
}


def rows_of(trials: Sequence[Trial], state: State) -> list[Row]:
    """Return the rows in the plan's order; a trial that was never evaluated has one row."""
    sizes: dict[Path, int] = {}
    found = [row for trial in trials for row in _rows_of_trial(trial, state, sizes)]
    names = dict.fromkeys([*COLUMNS, *(name for row in found for name in row)])
    settings = [name for name in names if "." in name and " " not in name]
    ordered = [*(name for name in names if name not in settings), *settings]
    return [{name: row.get(name) for name in ordered} for row in found]


def _rows_of_trial(trial: Trial, state: State, sizes: dict[Path, int]) -> Iterator[Row]:
    entry, folder = state.entries[trial.digest], state.folder(trial)
    columns = _trial_columns(trial, entry, folder)
    columns["cache_bytes"] = sum(_bytes(c, sizes) for c in {trial.caches.cache, trial.caches.val})
    evaluated = list(_evaluations(read_history(folder)))
    best = max(evaluated, key=lambda row: row["ap"] or 0.0, default=None)
    for row in evaluated or [Row()]:
        yield {**columns, **row, "best": row is best if evaluated else None}


def _trial_columns(trial: Trial, entry: Entry, folder: Path) -> Row:
    axes = {axis: label for axis, label in trial.labels.items() if "." not in axis}
    return {
        **{"run": trial.id, "folder": str(folder), "state": entry.status, "note": entry.reason},
        **{"digest": trial.digest, "seed": trial.seed, **axes},
        **{"trained": trial.trained, "total": trial.total, "share": trial.trained / trial.total},
        **{name: _cell(value) for name, value in entry.settings.items()},
    }


def _evaluations(history: History) -> Iterator[Row]:
    seconds, since = 0.0, list[Steps]()
    process, device = 0.0, None
    for entry in history:
        if isinstance(entry, Steps):
            since.append(entry)
            process = max(process, entry.process_memory_mb)
            device = entry.device_memory_mb if entry.device_memory_mb is not None else device
            continue
        own = sum(steps.seconds for steps in since)
        seconds += own
        metrics = entry.metrics
        losses = [loss for steps in since if (loss := steps.loss) is not None]
        masks = metrics.get("masks") or {}
        yield {
            "epoch": entry.epoch,
            **{name: metrics[name] for name in FIGURES},
            **{name: metrics.get(name) for name in GROUPS},
            **{f"mask_{name}": value for name, value in masks.items()},
            **{f"AP of {name}": ap for name, ap in metrics["per_class"].items()},
            "loss": fmean(losses) if losses else None,
            "seconds": round(seconds, 3),
            "images_per_second": _mean(((s.images_per_second, s.seconds) for s in since), own),
            "waiting": _mean(((s.waiting, s.seconds) for s in since), own),
            "process_mb": process,
            "device_mb": device,
        }
        since = []


def _mean(values: Iterable[tuple[float, float]], seconds: float) -> float | None:
    """Return the mean of values that each held for some seconds, or None where these are 0 in all."""
    return sum(value * own for value, own in values) / seconds if seconds else None


def _bytes(cache: Path, sizes: dict[Path, int]) -> int:
    if cache not in sizes:
        manifest = Manifest.read(cache, CacheHeader.read(cache))
        sizes[cache] = 0 if manifest is None else manifest.stored_bytes
    return sizes[cache]


def _cell(value: Any) -> Any:
    """Return lists and mappings as text, since a cell holds one value."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def write_results(out: Path, rows: Sequence[Row]) -> None:
    """Write results.csv, results.json, and results.parquet where pyarrow is installed."""
    text = json.dumps({"columns": dict(COLUMNS), "rows": list(rows)})
    publish_bytes(out / "results.csv", to_csv(rows).encode(), existing="replace")
    publish_bytes(out / "results.json", f"{text}\n".encode(), existing="replace")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns_of(rows)), sink)
    publish_bytes(out / "results.parquet", sink.getvalue().to_pybytes(), existing="replace")


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the values of each column in the rows' order.

    A column is all text where words stand among numbers, such as "image" among normalisers.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    for name, values in columns.items():
        if any(isinstance(value, str) for value in values):
            columns[name] = [None if value is None else str(value) for value in values]
    return columns


class Line:
    """Trials that differ only in their seed. ap: the AP of the best evaluations of those that finished."""

    def __init__(
        self, labels: Mapping[str, str], rows: Sequence[Row], states: Sequence[str]
    ) -> None:
        self.labels, self.states = labels, states
        aps = [row["ap"] or 0.0 for row in rows if row["best"]]
        self.ap = Spread.of(aps) if aps else None
        self.seeds = len(aps)
        self.trained: int = rows[0]["trained"]
        self.share: float = rows[0]["share"]
        lasts = {row["run"]: row["seconds"] for row in rows if row["seconds"] is not None}
        self.seconds = fmean(lasts.values()) if lasts else None


def lines_of(trials: Sequence[Trial], rows: Sequence[Row]) -> list[Line]:
    """Return the lines, the best first and those without a finished trial last."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial.labels.values()), []).append(trial)
    lines = []
    for members in groups.values():
        own = [row for row in rows if row["digest"] in {trial.digest for trial in members}]
        states = list({row["run"]: row["state"] for row in own}.values())
        finished = [row if row["state"] == "finished" else {**row, "best": None} for row in own]
        lines.append(Line(members[0].labels, finished, states))
    return sorted(lines, key=lambda line: -line.ap.mean if line.ap else 1.0)
