"""Made-up runs, at which nothing is to be said unless a test changes them."""

import numpy as np

from fdet.pipeline.evaluation.errors import KINDS
from fdet.pipeline.runs.advice.facts import Facts, Scores
from fdet.pipeline.runs.advice.rules import advise

IMAGES, OBJECTS = 87, {"cell": 700, "dish": 300}
SIZES = {"small": 300, "medium": 400, "large": 300}
SEEDS = range(200)


def scores(ap=0.5, **more):
    values = {"ap50": 0.8, "ap75": 0.6, "ap_small": 0.4, "ap_medium": 0.5, "images": IMAGES}
    known = {"objects": OBJECTS, "sizes": SIZES, "per_class": {"cell": 0.6, "dish": 0.4}}
    return Scores(ap, **{**values, **known, **more})


def facts(aps=(), losses=(), **more):
    """A finished run of 6 epochs for each evaluation, on two views, at which nothing is to be said."""
    epochs = [6 * k for k in range(1, len(aps) + 1)]
    done = epochs[-1] if epochs else 60
    values = {
        "epochs": done,
        "done": done,
        "curve": tuple(zip(epochs, map(float, aps), strict=True)),
        "losses": tuple((k + 1, loss) for k, loss in enumerate(losses)),
        "scores": scores(),
        "classes": 2,
        "views": 2,
        "cached_views": 2,
        "size": {"short": 240, "long": 320},
        "head": "tal",
        "eval_every": 6,
    }
    return Facts(**{**values, **more})


SATURATED = tuple(0.5 * (1 - np.exp(-6 * t)) for t in np.linspace(0.1, 1, 10))
RISING = tuple(np.linspace(0.3, 0.5, 10))
PEAKED = (0.35, 0.48, 0.52, 0.51, 0.50, 0.48, 0.46, 0.45, 0.44, 0.43)
PEAKED_EARLY = (0.40, 0.52, 0.53, 0.51, 0.46, 0.44, 0.44, 0.445, 0.44, 0.44)
FALLING_LOSS = tuple(np.linspace(1, 0.1, 60))
GAINS = dict.fromkeys(KINDS, 0.02)
NOTHING = facts(SATURATED)
# Tenths of scores: the number of detections, their mean score and the share of hits.
LOW = (
    *((900, 0.05, 0.05), (300, 0.15, 0.2), (100, 0.25, 0.6), (100, 0.35, 0.85), (100, 0.55, 0.95)),
    *((0, 0.0, 0.0),) * 5,
)


def names(known):
    return [advice.rule for advice in advise(known)]
