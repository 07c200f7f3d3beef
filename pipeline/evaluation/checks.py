"""What can be refused of an evaluation before torch is imported: options, names, paths, the wrong cache."""

from __future__ import annotations

from pathlib import Path

from ...cache.errors import InputError, did_you_mean
from ...cache.format.header import CacheHeader, read_key
from ..backbones.known import check_weights
from ..command import check_file, check_folder
from ..dataset.presence import check_data
from ..exported.opening import check_weights_there, read_detector, refuse_fixed
from ..exported.runtimes import is_exported
from ..machines.choices import check_device, check_threads
from ..runs.info import RunInfo
from ..runs.pairing import check_features
from .engines import ENGINES
from .options import EvaluateOptions


def check_evaluation(run: Path, cache: Path, options: EvaluateOptions) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked.

    Raises InputError, KeyMismatch (the cache holds other features), CorruptCache.
    """
    if options.engine not in ENGINES:
        raise InputError(f"--engine {options.engine!r}{did_you_mean(options.engine, ENGINES)}")
    check_device(options.device)
    check_threads(options.threads)
    refuse_fixed(
        run,
        weights=options.weights,
        with_=options.second,
        class_embeddings=options.class_embeddings,
        nms=options.nms,
    )
    info = read_detector(run).with_nms(options.nms)
    if options.weights is not None and not info.config.backbone.adapters:
        raise InputError(
            f"--weights: {run} has no adapters in a frozen backbone and needs none; leave it out"
        )
    check_weights("--weights", options.weights)
    check_file("--class-embeddings", options.class_embeddings)
    if options.class_embeddings is not None:
        info.check_embeddings(options.class_embeddings)
    check_data(options.data)
    if is_exported(run):
        CacheHeader.read(cache)
        if options.images is None:
            raise InputError(f"{run} takes images, not cached maps; give --images")
        check_folder("--images", options.images)
    else:
        second_key = None if options.second is None else read_key(options.second)
        check_features(info, read_key(cache), cache, second_key, options.second)
        _check_images(run, info, options.images)
    check_weights_there(run, options.checkpoint)
    if options.compare is not None:
        _check_other(run, info, options.compare, options)
    return info


def _check_other(run: Path, info: RunInfo, other: Path, options: EvaluateOptions) -> None:
    """Raise InputError where a run cannot be compared with another."""
    theirs = read_detector(other)
    check_weights_there(other, options.checkpoint)
    if options.class_embeddings is not None:
        theirs.check_embeddings(options.class_embeddings)
        return
    mine, others = (list(zip(i.class_ids, i.class_names, strict=True)) for i in (info, theirs))
    if mine != others:
        odd = sorted(set(mine) ^ set(others))[:3]
        raise InputError(
            f"--compare {other}: its classes are not those of {run}; only one of them has (id, name): "
            f"{', '.join(map(str, odd)) or 'none, but their order differs'}"
        )


def _check_images(run: Path, info: RunInfo, images: Path | None) -> None:
    """Raise InputError where images are missing, not needed, or not there."""
    if images is None:
        info.check_frozen(run)
    elif not info.own_backbone:
        raise InputError(f"--images: {run} is evaluated on cached maps and needs no images")
    check_folder("--images", images)
