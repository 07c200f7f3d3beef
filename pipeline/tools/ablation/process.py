"""A group of trials in a separate process: `python -m fdet.pipeline.tools.ablation.group JOB.json`.

The answer, a file next to the job, gives the status and the reason of each trial that did not finish. The
exit status is 0 where every trial came to an end, and 130 where all have saved and left.
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
from ...sources.kinds import Residence
from ...training.options import TrainOptions
from ...training.together import Ended, Run, train_together
from .combinations import Caches
from .pruning import Pruned, Pruning, PruningSettings, pruning_of
from .trials import Trial


@dataclass(frozen=True, slots=True)
class Place:
    """The device, the number of threads and the residence of samples with which a group is run."""

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
    """Return the content of the job file for a process.

    It has the settings as the plan gives them: in place of "auto" a trial that was begun keeps its values,
    which another machine may not choose. comparable: for each trial, the run directories of those that it is
    compared with.
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
    """Train the trials of a job, write the answer, and return the exit status."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("fdet").setLevel(logging.INFO)
    request = json.loads(job.read_bytes())
    runs = [
        _run(run, Place(**request["place"]), pruning_of(request["pruning"]))
        for run in request["runs"]
    ]
    try:
        ended: list[Ended] = train_together(runs)
    except KeyboardInterrupt:
        return 130
    except FdetError as error:  # from data or settings that all trials share
        ended = [error] * len(runs)
    content = {
        options.out.name: _ending(end) for (_, options), end in zip(runs, ended, strict=True)
    }
    publish_bytes(answer_of(job), canonical_json(content), existing="replace")
    return 0


def _run(request: Mapping[str, Any], place: Place, pruning: PruningSettings | None) -> Run:
    config = RunConfig.from_mapping(request["config"])
    out = Path(request["out"])
    paths = {name: located(path) for name, path in request["paths"].items()}
    options: TrainOptions = Caches(**paths).options(
        out, **asdict(place), resume=(out / "run.json").is_file()
    )
    if pruning is not None:
        others = tuple(map(Path, request["comparable"]))
        options = replace(options, hooks=[Pruning(pruning, out, others, request["epochs"])])
    return config, options


def _ending(end: Ended) -> list[str] | None:
    """Return the status and the reason, or None for a run that finished."""
    if not isinstance(end, Exception):
        return None
    kind = "" if isinstance(end, FdetError) else f"{type(end).__name__}: "
    return ["pruned" if isinstance(end, Pruned) else "failed", f"{kind}{end}"]


def answer_of(job: Path) -> Path:
    """Return the path of the answer, next to the job."""
    return job.with_suffix(".ended.json")


if __name__ == "__main__":
    end_with_launcher()
    sys.exit(main(Path(sys.argv[1])))
