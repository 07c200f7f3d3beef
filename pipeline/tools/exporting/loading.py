"""A trained run as it is exported, and as the file is compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from ....cache.codecs.codec import Codec
from ....cache.pairs import PairedCodec
from ....heads.detector import Detector
from ...backbones.paired import PairedBackbone
from ...evaluation.detecting import load_trained
from ...exported.description import HW
from ...runs.info import RunInfo
from ...runs.loading import codec_of_run
from ...sources.live import Backbone
from .options import ExportOptions


class Loaded(NamedTuple):
    """A run's detector, the backbone below it, and the codec of its features.

    The codec is None for a run that trained its backbone or adapters in it.
    """

    detector: Detector
    backbone: Backbone | PairedBackbone
    codec: Codec | PairedCodec | None


def load(run: Path, info: RunInfo, canvas_hw: HW, options: ExportOptions) -> Loaded:
    """Load a run on the CPU, for canvases of one size. Raises InputError, CorruptCache."""
    cpu = torch.device("cpu")
    detector, backbone = load_trained(
        run, info, options.checkpoint, cpu, options.weights, options.second_weights, canvas_hw
    )
    return Loaded(detector, backbone, codec_of_run(run, info, cpu))
