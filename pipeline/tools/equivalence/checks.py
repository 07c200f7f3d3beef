"""The settings of the steps, and what can be refused of the check before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ....cache.codecs.form import get_form
from ....cache.errors import InputError, did_you_mean
from ....cache.format.header import read_key
from ....cache.key import CacheKey
from ...backbones.known import check_weights
from ...command import check_folder, check_ranges
from ...dataset.presence import check_data
from ...machines.choices import check_device, check_threads
from ...runs.config import RunConfig, load_config
from ...sources.kinds import CACHED, ON_CACHES, SOURCES
from ...training.checks import check_settings
from ...training.options import TrainOptions
from .options import EquivalenceOptions

# Differing bits show in a small detector as well as in a large one.
_SMALL = ("neck.channels=64", "train.batch_size=4")
# A trained backbone gets one image in a pass, as extraction had it.
_SINGLE = ("train.accumulate=4",)


def check_options(cache: Path, options: EquivalenceOptions) -> None:
    """Raise InputError for an impossible value, for paths that are not there, and for a converted cache."""
    check_ranges(options)
    if options.device is not None:
        check_device(options.device)
    check_threads(options.threads)
    check_folder("--images", options.images)
    check_data(options.annotations)
    check_weights("--weights", options.weights)
    if options.source not in ON_CACHES:
        raise InputError(f"--source {options.source!r}{did_you_mean(options.source, ON_CACHES)}")
    _refuse_converted(cache, read_key(cache))


def train_options(cache: Path, source: str, weights: str | None = None) -> TrainOptions:
    """Return the options of a training run on the cache."""
    given = weights if SOURCES[source].runs_backbone else None
    return TrainOptions(cache=cache, out=Path(), source=source, weights=given)


def _refuse_converted(path: Path, key: CacheKey) -> None:
    """Raise InputError where integer codes came before: what these lost, only their own cache knows."""
    if any(get_form(name).calibrated for name in key.converted):
        raise InputError(
            f"{path}: converted from {' and '.join(key.converted)}, whose scales it does not have: check the "
            "cache that it was converted from"
        )


def steps_config(
    cache: Path, path: Path | None, assignments: Sequence[str], source: str = CACHED
) -> RunConfig:
    """Return the configuration of a small detector on all levels of a cache, or that of a given file.

    Raises ConfigError, InputError.
    """
    if path is not None:
        config = load_config(path, assignments=assignments)
    else:
        finest = read_key(cache).levels.strides[0]
        above_all = f"neck.min_level={round(math.log2(finest))}"
        single = _SINGLE if SOURCES[source].tail else ()
        config = load_config(assignments=[*_SMALL, *single, above_all, *assignments])
    if config.backbone.adapters:
        raise InputError(
            "backbone.adapters: cached maps have not passed through adapters, so nothing can be compared; "
            "add --set backbone.adapters=false"
        )
    if config.backbone.frozen_tail:
        raise InputError(
            "backbone.frozen_tail: finetune trains what a frozen tail does not, so nothing can be compared; "
            "add --set backbone.frozen_tail=false"
        )
    check_settings(config, train_options(cache, source), 1)
    return _in_fp32(config)


def _in_fp32(config: RunConfig) -> RunConfig:
    """Return the configuration in fp32 unless it asks for another precision, since bits are compared."""
    if config.train.precision != "auto":
        return config
    return replace(config, train=replace(config.train, precision="fp32"))
