"""The loading of what a run has trained, ready to detect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...cache.codecs.codec import Codec, codec_of
from ...cache.pairs import PairedCodec
from ...heads.detector import Detector
from ..backbones.loading import load_backbone_of, random_backbone_of
from ..backbones.tail import AdaptedTail, Tail
from ..backbones.taps import HW
from ..backbones.trained import TrainedBackbone
from ..dataset.classes.embeddings import ClassEmbeddings
from ..dataset.images.canvases import recipe_of
from .checkpoint import load_weights
from .info import SECOND_FOLDER, RunInfo
from .model import Model, OwnBackbone, adapted_backbone, tail_of


def load_run(
    run: Path, checkpoint: str = "best", device: torch.device | str = "cpu"
) -> tuple[RunInfo, Detector]:
    """Load a run's trained detector in eval mode. checkpoint: "best" or "last".

    Raises InputError, also for a run that trained its backbone or adapters in it (`load_model` loads both),
    and CorruptCache.
    """
    info = RunInfo.read(run)
    info.check_frozen(run)
    return info, load_model(run, info, checkpoint, device).detector


def codec_of_run(run: Path, info: RunInfo, device: torch.device) -> Codec | PairedCodec | None:
    """Return the codec of the features that a run was trained on. Raises CorruptCache.

    It is None for a run that trained its backbone or adapters in it, and so used no cached features.
    """
    if info.own_backbone:
        return None
    codec = codec_of(run, info.key, device)
    if info.second is None:
        return codec
    return PairedCodec(codec, codec_of(run / SECOND_FOLDER, info.second, device))


def exchange_classes(info: RunInfo, detector: Detector, given: ClassEmbeddings) -> None:
    """Make a trained detector find the classes of `info` by the vectors given.

    The classes need not be those of its training. Raises InputError, and ConfigError for vectors of another
    length.
    """
    info.check_embeddings(given.source)
    detector.head.use_embeddings(torch.from_numpy(given.of(info.class_names)))


def load_model(
    run: Path,
    info: RunInfo,
    checkpoint: str,
    device: torch.device | str,
    canvases: Sequence[HW] = (),
    weights: str | None = None,
) -> Model:
    """Load the model of the run of `info` in eval mode; a trained or adapted backbone is part of it.

    canvases: all canvas sizes to come, for such a backbone. weights: the weights of a backbone or tail with
    adapters, as at extraction, where that took a file. Raises InputError, CorruptCache, and KeyMismatch for
    weights of another backbone.
    """
    path = run / f"{checkpoint}.safetensors"
    info.check_size(path)
    backbone: OwnBackbone | None = None
    if info.tail is not None:
        backbone = tail_of_run(info, torch.device(device), weights)
    elif info.trains_backbone:
        # The weights of the run then replace all of these.
        drawn = random_backbone_of(info.key, torch.device(device), info.config.train.seed)
        backbone = TrainedBackbone(drawn, canvases=canvases)
    elif info.own_backbone:
        frozen = load_backbone_of(info.key, torch.device(device), weights)
        backbone = adapted_backbone(info.config, frozen, canvases)
    model = Model(info.fresh_detector(), backbone)
    load_weights(path, model, info)
    return model.to(device).eval()


def tail_of_run(
    info: RunInfo, device: torch.device, weights: str | None
) -> Tail | AdaptedTail | None:
    """Make the tail of a run, None where it has none. The weights that it keeps are loaded afterwards.

    weights: those of the backbone, where the tail has adapters and extraction took a file. Raises InputError,
    KeyMismatch.
    """
    if info.tail is None:
        return None
    levels = info.tail.names
    canvases = [recipe_of(info.key, Path()).rule.canvas_hw((1, 1))]
    if info.config.backbone.adapters:
        frozen = load_backbone_of(info.key, device, weights, levels=lambda _: levels)
    else:
        frozen = random_backbone_of(info.key, device, info.config.train.seed, levels)
    return tail_of(info.config, frozen, canvases)
