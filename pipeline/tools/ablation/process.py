"""A trial in a separate process: `python -m fdet.pipeline.tools.ablation.process JOB.json`.

The answer, a file next to the job, gives the status and the reason of a trial that did not finish. The exit
status is 0 where the trial came to an end, and 130 where it was asked to stop and has saved.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ....cache.disk.objects import located
from ....cache.disk.publish import publish_bytes
from ....cache.errors import FdetError
from ....cache.format.sealed import canonical_json
from ...machines.launching import end_with_launcher
from ...runs.config import RunConfig, fixed
from ...sources.kinds import Residence
from ...training.options import TrainOptions
from ...training.train import train
from .combinations import Caches
from .pruning import Pruned, Pruning, PruningSettings, pruning_of
from .trials import Trial

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The device, the number of threads and the residence of samples with which a trial is run."""

    device: str
    threads: int
    resident: Residence


def job_of(
    trial: Trial,
    folder: Path,
    others: Sequence[Path],
    place: Place,
    pruning: PruningSettings | None,
) -> bytes:
    """Return the content of the job file for a process.

    It has the settings as the plan gives them: in place of "auto" a trial that was begun keeps its values,
    which another machine may not choose. others: the run directories of the trials that it is compared with.
    """
    job = {
        "config": trial.asked.to_mapping(),
        "epochs": fixed(trial.config.train.epochs),
        "paths": {name: str(path.absolute()) for name, path in trial.caches.paths.items()},
        "source": trial.caches.source,
        "weights": trial.caches.weights,
        "out": str(folder.absolute()),
        "others": [str(other.absolute()) for other in others],
        "place": asdict(place),
        "pruning": None if pruning is None else asdict(pruning),
    }
    return canonical_json(job)


def main(path: Path) -> int:
    """Train the trial of a job, write the answer, and return the exit status."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("fdet").setLevel(logging.INFO)
    job = json.loads(path.read_bytes())
    try:
        train(*_run(job, pruning_of(job["pruning"])))
    except KeyboardInterrupt:
        return 130
    except (FdetError, MemoryError, torch.OutOfMemoryError) as error:
        log.warning("%s", error)
        answer = canonical_json(_ending(error))
        publish_bytes(answer_of(path), answer, existing="replace")
    return 0


def _run(job: Mapping[str, Any], pruning: PruningSettings | None) -> tuple[RunConfig, TrainOptions]:
    config, out = RunConfig.from_mapping(job["config"]), Path(job["out"])
    paths = {name: located(path) for name, path in job["paths"].items()}
    caches = Caches(**paths, source=job["source"], weights=job["weights"])
    options = caches.options(out, **job["place"], resume=(out / "run.json").is_file())
    if pruning is not None:
        others = tuple(map(Path, job["others"]))
        options = replace(options, hooks=[Pruning(pruning, out, others, job["epochs"])])
    return config, options


def _ending(error: Exception) -> dict[str, str]:
    kind = "" if isinstance(error, FdetError) else f"{type(error).__name__}: "
    status = "pruned" if isinstance(error, Pruned) else "failed"
    return {"status": status, "reason": f"{kind}{error}"}


def answer_of(job: Path) -> Path:
    """Return the path of the answer, next to the job."""
    return job.with_suffix(".ended.json")


if __name__ == "__main__":
    end_with_launcher()
    sys.exit(main(Path(sys.argv[1])))
