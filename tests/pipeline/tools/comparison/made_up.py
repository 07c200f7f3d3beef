"""Figures of sources that nobody trained."""

from fdet.pipeline.runs.figures import RunFigures
from fdet.pipeline.tools.comparison.extraction import Extraction
from fdet.pipeline.tools.comparison.figures import SourceFigures

EXTRACTION = Extraction(60.0, 200, 64, "an id", "cpu", 1)


def run(source="cached", seed=0, ap=0.4, seconds=100.0, **more):
    figures = {
        **{"best_ap": ap, "last_ap": ap - 0.01, "epochs": 2, "images": 400.0, "waiting": 0.1},
        **{
            "process_mb": 1000.0,
            "device_mb": None,
            "learning_curve": ((seconds / 2, ap), (seconds, ap)),
        },
    }
    return RunFigures(source=source, seed=seed, seconds=seconds, **{**figures, **more})


def source(name="cached", aps=(0.4,), seconds=100.0, extraction=0.0, disk=0, **more):
    runs = tuple(run(name, seed, ap, seconds, **more) for seed, ap in enumerate(aps))
    return SourceFigures(name, runs, extraction, disk)
