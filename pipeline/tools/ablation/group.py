"""A group of trials in a process of its own: `python -m fdet.pipeline.tools.ablation.group JOB.json`.

How each of them ended, but for those that finished, stands in the answer beside the job. Exit status
0: every trial came to an end; 130: all have saved and left.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ....cache.disk.objects import located
from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError
from ....cache.format.sealed import canonical_json
from ...machines.launching import end_with_launcher
from ...runs.config import RunConfig, fixed
from ...sources.residence import Residence
from ...training.options import TrainOptions
from ...training.together import Ended, Run, train_together
from .pruning import Pruned, Pruning, PruningSettings, pruning_of
from .trials import Caches, Trial


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how groups are run."""

    device: str
    threads: int
    resident: Residence


def job_of(
    trials: Sequence[Trial],
    folders: Sequence[Path],
    comparable: Sequence[Sequence[Path]],
    place: Place,
    pruning: PruningSettings | None,
) -> bytes:
    """What the process is told: of settings that are "auto" a trial that was begun keeps its values, which
    another machine may not give it. comparable: run directories, for each trial.
    """
    runs = [
        {
            "config": trial.asked.to_mapping(),
            "epochs": fixed(trial.config.train.epochs),
            "paths": {name: str(path.absolute()) for name, path in trial.caches.paths.items()},
            "out": str(folder.absolute()),
            "comparable": [str(other.absolute()) for other in others],
        }
        for trial, folder, others in zip(trials, folders, comparable, strict=True)
    ]
    settings = None if pruning is None else asdict(pruning)
    return canonical_json({"runs": runs, "place": asdict(place), "pruning": settings})


def main(job: Path) -> int:
    """The exit status."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("fdet").setLevel(logging.INFO)
    told = json.loads(job.read_bytes())
    runs = [_run(run, Place(**told["place"]), pruning_of(told["pruning"])) for run in told["runs"]]
    try:
        ended: list[Ended] = train_together(runs)
    except KeyboardInterrupt:
        return 130
    except FdetError as error:  # of what all share
        ended = [error] * len(runs)
    content = {options.out.name: _said(end) for (_, options), end in zip(runs, ended, strict=True)}
    publish_bytes(answer_of(job), canonical_json(content), existing="replace")
    return 0


def _run(told: Mapping[str, Any], place: Place, pruning: PruningSettings | None) -> Run:
    config = RunConfig.from_mapping(told["config"])
    out = Path(told["out"])
    paths = {name: located(path) for name, path in told["paths"].items()}
    options: TrainOptions = Caches(**paths).options(
        out, **asdict(place), resume=(out / "run.json").is_file()
    )
    if pruning is not None:
        others = tuple(map(Path, told["comparable"]))
        options = replace(options, hooks=[Pruning(pruning, out, others, told["epochs"])])
    return config, options


def _said(end: Ended) -> list[str] | None:
    """Status and reason; None of a run that finished."""
    if not isinstance(end, Exception):
        return None
    kind = "" if isinstance(end, FdetError) else f"{type(end).__name__}: "
    return ["pruned" if isinstance(end, Pruned) else "failed", f"{kind}{end}"]


def answer_of(job: Path) -> Path:
    """Beside the job."""
    return job.with_suffix(".ended.json")


if __name__ == "__main__":
    end_with_launcher()
    sys.exit(main(Path(sys.argv[1])))
