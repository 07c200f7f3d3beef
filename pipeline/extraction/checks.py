"""What can be refused of an extraction before torch is imported: options, names, paths."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from ...cache.codecs.form import StoredForm, get_form
from ...cache.disk.files import is_there
from ...cache.disk.objects import ObjectPath
from ...cache.errors import InputError, did_you_mean
from ...cache.format.header import NAME, read_key
from ...cache.stores import STORES
from ..backbones.known import check_backbone, check_weights
from ..command import check_folder, check_ranges, flag_of
from ..dataset.data_name import DataName, check_path
from ..dataset.images.views import ResizeRule, parse_views
from ..dataset.presence import check_data
from ..dataset.tiling_option import AUTO, check_tiles
from ..machines.choices import check_device, check_engine, check_precision, check_threads
from ..machines.ray_cluster import RayOptions
from ..machines.world import World, find_world
from .options import ExtractConfig


def check_extraction(config: ExtractConfig) -> None:
    """Raise InputError for what is wrong with the options, and for names and paths that do not exist."""
    check_ranges(config)
    check_device(config.device)
    check_threads(config.threads)
    check_precision(config.precision)
    parse_views(config.views)
    refuse_unused(get_form(config.codec), config.calibration)
    _check_size(config)
    check_tiles(config.tiles, config.overlap, config.whole, AUTO)
    _check_features(config)
    if config.store not in STORES:
        raise InputError(f"--store {config.store!r}{did_you_mean(config.store, STORES)}")
    _check_engine(config, find_world(config.rank, config.world, os.environ))
    _check_update(config)
    # Whether a path or a backbone is there is known sooner than what a data set is.
    check_path(config.annotations)
    check_backbone(config.backbone)
    check_data(DataName(config.annotations, config.format, config.split))
    check_weights("--weights", config.weights)
    if config.calibration is not None:
        read_key(config.calibration)
    # A cache that is finished already needs neither of these, and a prefix is not looked at.
    if not isinstance(config.out, ObjectPath) and not is_there(config.out / NAME):
        check_folder("--images", config.images)
        if config.update is not None:
            read_key(config.update)


def check_out(out: Path) -> None:
    """Raise InputError where no cache can be begun or continued in a folder; a prefix is not looked at."""
    if not isinstance(out, ObjectPath) and out.is_dir():
        refuse_foreign_folder(out)


def _check_size(config: ExtractConfig) -> None:
    if config.short is None and config.long is not None:
        raise InputError("--long is the limit of --short; give both, or --short alone")
    if (config.size is not None) == (config.short is not None):
        raise InputError("give either --size N (square) or --short N, with --long M or without")
    ResizeRule(*config.sides, square=False, divisor=1)


def _check_features(config: ExtractConfig) -> None:
    """Raise InputError for options of levels and vectors that do not go together."""
    if config.tokens and config.image_vectors:
        raise InputError("--tokens and --image-vectors: a cache keeps one of both; leave one out")
    if config.taps is None:
        return
    if config.levels is not None:
        raise InputError("--taps and --levels both name the levels to keep; leave one out")
    for number in config.taps.split(","):
        if not number.strip().isdecimal():
            raise InputError(
                f"--taps: expected numbers of blocks such as 8 or 3,8, got {number.strip()!r}; other levels "
                "are named with --levels"
            )


def _check_engine(config: ExtractConfig, world: World) -> None:
    check_engine(config.engine)
    if config.engine == "ray":
        _check_ray(config, world)
        return
    for f in fields(config):
        if f.name.startswith("ray_") and getattr(config, f.name) != f.default:
            raise InputError(f"{flag_of(f.name)}: belongs to --engine ray")


def _check_ray(config: ExtractConfig, world: World) -> None:
    ray = RayOptions(config.ray_address, config.ray_workers, config.ray_cpus, config.ray_gpus)
    ray.check("--ray-cpus", "--ray-gpus")
    if world.size > 1:
        raise InputError(
            f"--engine ray: this is {world}; one process gives the shards to Ray: leave out --rank and "
            "--world, or start it without srun and torchrun"
        )
    if isinstance(config.out, ObjectPath):
        raise InputError(
            f"--out {config.out}: --engine ray writes to a folder that all nodes share; copy the cache "
            "from there with `fdet cache copy`"
        )


def _check_update(config: ExtractConfig) -> None:
    if config.update is not None and config.update.resolve() == config.out.resolve():
        raise InputError(
            "--update names the older cache, which is left as it is: choose another --out"
        )
    if config.update is not None and config.calibration is not None:
        raise InputError("--calibration: --update takes that of the older cache; leave it out")


def refuse_unused(form: StoredForm, calibration: Path | None) -> None:
    """Raise InputError where a codec that has no scales is to take those of another cache."""
    if calibration is not None and not form.calibrated:
        raise InputError(
            f"--calibration {calibration}: codec {form.name} has no scales; leave it out"
        )


def refuse_foreign_folder(out: Path) -> None:
    """Raise InputError where a folder, or a prefix, holds other files and no cache."""
    # The folder is listed before looking for a header, which another process may be writing.
    others = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    if others and not (out / NAME).exists():
        raise InputError(
            f"{out}: the folder is not empty ({others[0]}, ...) and holds no cache; choose another"
        )
