"""What can be refused of an evaluation before torch is imported: options, names, paths, the wrong cache."""

from __future__ import annotations

from pathlib import Path

from ...cache.errors import InputError, did_you_mean
from ...cache.format.header import read_key
from ..backbones.known import check_weights
from ..command import check_file, check_folder
from ..dataset.data_name import DataName
from ..dataset.presence import check_data
from ..machines.choices import check_device, check_threads
from ..runs.info import RunInfo
from ..runs.position import check_there
from .engines import ENGINES


def check_evaluation(
    run: Path,
    cache: Path,
    *,
    second: Path | None,
    annotations: DataName | Path | None,
    images: Path | None,
    weights: str | None,
    checkpoint: str,
    device: str,
    threads: int | None,
    engine: str,
    class_embeddings: Path | None,
) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked; the parameters are `evaluate_run`'s.

    Raises InputError, KeyMismatch (the cache holds other features), CorruptCache.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine {engine!r}{did_you_mean(engine, ENGINES)}")
    check_device(device)
    check_threads(threads)
    info = RunInfo.read(run)
    if weights is not None and not info.config.backbone.adapters:
        raise InputError(
            f"--weights: {run} has no adapters in a frozen backbone and needs none; leave it out"
        )
    check_weights("--weights", weights)
    check_file("--class-embeddings", class_embeddings)
    if class_embeddings is not None:
        info.check_embeddings(class_embeddings)
    check_data(annotations)
    info.check_pairs(read_key(cache), cache)
    info.check_second(None if second is None else read_key(second), second)
    _check_images(run, info, images)
    check_there(run / f"{checkpoint}.safetensors")
    return info


def _check_images(run: Path, info: RunInfo, images: Path | None) -> None:
    """Raise InputError where images are missing, not needed, or not there."""
    if images is None:
        info.check_frozen(run)
    elif not info.own_backbone:
        raise InputError(f"--images: {run} is evaluated on cached maps and needs no images")
    check_folder("--images", images)
