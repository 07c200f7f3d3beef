"""From settings to a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cache.pyramid import PyramidSpec
from .dense import DENSE_HEADS
from .detector import Detector
from .necks import NECKS
from .roi import ROI_HEADS

HEADS: Mapping[str, tuple[type[Any], type[Any]]] = {**DENSE_HEADS, **ROI_HEADS}


def build_detector(spec: PyramidSpec, classes: int, neck: Any, head: Any) -> Detector:
    """A detector with fresh weights, drawn from torch's global generator.

    spec: the cached levels. neck, head: settings, e.g. FPNSettings(channels=96) and
    RetinaNetSettings(). Raises ConfigError when the cache lacks a level that they need.
    """
    built_neck = NECKS[neck.name][0](spec, neck)
    return Detector(built_neck, HEADS[head.name][0](built_neck.spec, classes, head))
