"""fdet: run a frozen backbone once, keep its feature maps, and train detection heads on them.

The names below are the public interface; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.codecs.codec import codec_of
    from .cache.errors import FdetError
    from .cache.loader import load_batch
    from .cache.reader import FeatureCache
    from .heads.build import build_detector
    from .pipeline.evaluation.evaluate import evaluate_run
    from .pipeline.evaluation.options import EvaluateOptions
    from .pipeline.extraction.extract import extract
    from .pipeline.extraction.options import ExtractConfig
    from .pipeline.runs.config import RunConfig, load_config
    from .pipeline.runs.loading import load_run
    from .pipeline.tools.prediction.options import PredictOptions
    from .pipeline.tools.prediction.predict import predict
    from .pipeline.tools.prediction.predictor import load
    from .pipeline.training.options import TrainOptions
    from .pipeline.training.train import train

__version__ = "0.1.0"

__all__ = [
    "EvaluateOptions",
    "ExtractConfig",
    "FdetError",
    "FeatureCache",
    "PredictOptions",
    "RunConfig",
    "TrainOptions",
    "build_detector",
    "codec_of",
    "evaluate_run",
    "extract",
    "load",
    "load_batch",
    "load_config",
    "load_run",
    "predict",
    "train",
]

_HOMES = {
    "EvaluateOptions": ".pipeline.evaluation.options",
    "ExtractConfig": ".pipeline.extraction.options",
    "FdetError": ".cache.errors",
    "FeatureCache": ".cache.reader",
    "PredictOptions": ".pipeline.tools.prediction.options",
    "RunConfig": ".pipeline.runs.config",
    "TrainOptions": ".pipeline.training.options",
    "build_detector": ".heads.build",
    "evaluate_run": ".pipeline.evaluation.evaluate",
    "extract": ".pipeline.extraction.extract",
    "codec_of": ".cache.codecs.codec",
    "load": ".pipeline.tools.prediction.predictor",
    "load_batch": ".cache.loader",
    "load_config": ".pipeline.runs.config",
    "load_run": ".pipeline.runs.loading",
    "predict": ".pipeline.tools.prediction.predict",
    "train": ".pipeline.training.train",
}


# The options of the functions that take some.
_OPTIONS = {
    "evaluate_run": "EvaluateOptions",
    "extract": "ExtractConfig",
    "predict": "PredictOptions",
    "train": "TrainOptions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fdet' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name], __name__), name)
    if isfunction(found):
        from .api import public

        options = _OPTIONS.get(name)
        found = public(found, __getattr__(options) if options else None)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
