"""The checks of `fdet fit` before anything takes long: of options, settings, names and paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....cache.errors import InputError
from ...command import check_folder, check_ranges
from ...extraction.checks import check_extraction
from ...extraction.options import ExtractConfig
from ...runs.config import RunConfig, load_config
from .fixed import written_seconds
from .options import FitOptions
from .parts import named_parts
from .state import NAME

_SOME_SIZE = 640
# No machine starts all commands of a fit in less, seconds.
LEAST_TIME = 30.0


def check_fit(options: FitOptions) -> RunConfig:
    """Return the settings of the training, once options, names and paths are checked.

    Raises InputError, ConfigError.
    """
    check_ranges(options)
    if options.time is not None and options.time < LEAST_TIME:
        raise InputError(
            f"--time {written_seconds(options.time)}: starting its commands alone takes longer; give "
            "at least --time 1m"
        )
    check_folder("--val-images", options.val_images)
    train, _ = named_parts(options)
    check_extraction(extraction_of(options, train.split))
    config = load_config(options.config, assignments=options.assignments)
    check_free(options.out)
    return config


def extraction_of(options: FitOptions, split: str | None) -> ExtractConfig:
    """Return the extraction that the options ask for, at some size where none is given."""
    own: dict[str, Any] = {
        "views": options.views,
        "codec": options.codec,
        "backbone": options.backbone,
        "tiles": options.tiles,
        "overlap": options.overlap,
    }
    aspect = options.short is not None or options.long is not None
    return ExtractConfig(
        annotations=options.data,
        out=options.out / "train.fdet",
        images=options.images,
        format=options.format,
        split=split,
        size=_SOME_SIZE if options.size is None and not aspect else options.size,
        short=options.short,
        long=options.long,
        bits=options.bits,
        weights=options.weights,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        **{name: value for name, value in own.items() if value is not None},
    )


def check_free(out: Path) -> None:
    """Raise InputError where a folder holds something else than what an earlier `fdet fit` began there."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: it is not a folder; choose another")
    if not out.is_dir() or (out / NAME).exists():
        return
    others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if others:
        raise InputError(f"--out {out}: the folder holds other files ({others[0]}); choose another")
