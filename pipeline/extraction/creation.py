"""The creation of a cache before its first shard, or the check of an existing one against the command."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from ...cache.codecs.calibration import calibration_digest, has_parameter_files
from ...cache.codecs.form import get_form
from ...cache.errors import InputError, KeyMismatch
from ...cache.format import header as header_file
from ...cache.format.annotation_copy import read_annotations
from ...cache.format.header import CacheHeader
from ...cache.format.records import record_name
from ...cache.key import CacheKey
from ...cache.layout import ImageEntry, Layout
from ...cache.stores import STORES
from ...cache.wording import counted
from ...cache.writer import create_cache
from ..backbones.fitting import fitting_rule
from ..backbones.frozen import FrozenBackbone
from ..dataset.check import check_images
from ..dataset.images.canvases import recipe_of
from ..dataset.images.decoding import INTERPOLATION
from ..dataset.images.depth import find_bits, recorded_bits
from ..dataset.images.names import normalised
from ..dataset.images.views import parse_views
from ..dataset.tiling import files_of
from ..machines.devices import environment
from ..machines.world import World
from .calibration import calibration_of, evenly, learn
from .checks import refuse_foreign_folder
from .layout import plan_layout
from .options import ExtractConfig

log = logging.getLogger(__name__)

# Stands in a planned key for a calibration that is not learnt yet.
UNKNOWN = "not yet known"


def planned_header(
    config: ExtractConfig,
    backbone: FrozenBackbone,
    images: Sequence[ImageEntry],
    device: torch.device,
) -> CacheHeader:
    """Return the header that the command asks for, except the calibration of the codec.

    Raises InputError where the backbone does not take the canvases, or maps of that size cannot be cached.
    """
    rule = fitting_rule(backbone, *config.sides, config.size is not None)
    views, form = parse_views(config.views), get_form(config.codec)
    key = CacheKey(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        weights_origin=backbone.weights_origin,
        mean=backbone.mean,
        std=backbone.std,
        short=rule.short,
        long=rule.long,
        square=rule.square,
        divisor=rule.divisor,
        interpolation=INTERPOLATION,
        bits=_bits(config, images),
        levels=backbone.spec,
        precision=config.precision,
        image_vector=backbone.image_vector,
        codec=form.name,
        calibration=UNKNOWN if form.calibrated else "",
        views=tuple(view.name for view in views),
        seed=config.seed,
        batch_size=config.batch_size or (1 if device.type == "cpu" else 16),
        **environment(device),
    ).in_container(STORES[config.store].versions())
    layout = plan_layout(
        images,
        rule,
        views,
        backbone.spec,
        form,
        config.shard_mb * 2**20,
        backbone.image_vector.nbytes if backbone.image_vector else 0,
    )
    try:
        return CacheHeader(key, layout, {}, config.store)
    except ValueError as error:
        flags = "--size" if config.size else "--short and --long"
        raise InputError(f"{flags}: {error}; choose smaller canvases") from error


def _bits(config: ExtractConfig, images: Sequence[ImageEntry]) -> int:
    """Return how many bits deep pixels have, as the key has it.

    It is what the command says, else what holds for the cache that is continued or taken from, else what the
    images show.
    """
    if config.bits is not None:
        return recorded_bits(config.bits)
    for cache in (config.out, config.update, config.calibration):
        if cache is not None and (cache / header_file.NAME).exists():
            return CacheHeader.read(cache).key.bits
    return find_bits(config.image_folder, files_of(images))


def created_or_resumed(
    config: ExtractConfig, world: World, header: CacheHeader, backbone: FrozenBackbone, raw: bytes
) -> CacheHeader:
    """Create the cache or resume the existing one; return the header on disk.

    A new cache is made only once the images have been checked.
    """
    refuse_foreign_folder(config.out)
    before = CacheHeader.read(config.out) if (config.out / header_file.NAME).exists() else None
    if before is not None:
        _refuse_other_inputs(config, header, before)
    # With a wrong --images the cache would be sealed with every remaining image failed.
    undone = [
        image
        for shard in header.layout.shards
        if world.owns(shard.number) and not (config.out / record_name(shard.name)).exists()
        for image in shard.images
    ]
    if undone:
        check_images(config.image_folder, undone)
    complete = before is not None and has_parameter_files(config.out, before.other_files)
    files = {} if complete else _codec_files(config, header, backbone)
    facts = {
        "parameters": backbone.parameters_count,
        "flops": {b.name: backbone.flops(b.canvas_hw) for b in header.layout.buckets},
    }
    key = replace(header.key, calibration=calibration_digest(files))
    made = before or replace(header, key=key, backbone=facts)
    found = create_cache(config.out, made, raw, files)
    # Another process may have created the cache first.
    _refuse_other_inputs(config, header, found)
    if read_annotations(config.out, found) != raw:
        log.warning(
            "%s keeps the annotations it was made with, which are not those of %s: give these to "
            "train-heads and evaluate with --annotations",
            config.out,
            config.annotations,
        )
    return found


def joined(config: ExtractConfig, header: CacheHeader) -> CacheHeader:
    """Return the header that another process has written. Raises InputError where it is not visible."""
    if not (config.out / header_file.NAME).exists():
        raise InputError(
            f"--out {config.out}: the cache that was begun there cannot be seen here; expected a folder on "
            "a file system that all nodes share"
        )
    found = CacheHeader.read(config.out)
    _refuse_other_inputs(config, header, found)
    return found


def _codec_files(
    config: ExtractConfig, header: CacheHeader, backbone: FrozenBackbone
) -> dict[str, bytes]:
    """Return the codec's calibration files, from another cache or learnt now; none where it needs none."""
    if not header.form.calibrated:
        return {}
    if config.calibration is not None:
        return calibration_of(config.calibration, header.key, "--calibration")
    if config.update is not None:
        # Features that are taken over were stored with the older cache's calibration.
        return calibration_of(config.update, header.key, "--update")
    images = evenly(header.layout.images, config.calibration_images)
    return learn(header.form, backbone, recipe_of(header.key, config.image_folder), images)


def _refuse_other_inputs(config: ExtractConfig, wanted: CacheHeader, found: CacheHeader) -> None:
    out = config.out
    if wanted.store != found.store:
        raise KeyMismatch(
            f"{out} is a {found.store} cache, this command makes a {wanted.store} one: add --store "
            f"{found.store}, choose another --out, or use `fdet cache convert`"
        )
    if found.key.converted:
        raise KeyMismatch(
            f"{out} was converted from {found.key.converted[-1]}: go on with `fdet cache convert`, or "
            "choose another --out"
        )
    differences = _wanted_key(config, wanted, found).explain(found.key, "resume")
    if differences:
        raise KeyMismatch(
            f"{out} was made from other inputs: {'; '.join(map(str, differences))} (here: this "
            "command, there: the cache); repeat the command it was made with, or choose another --out"
        )
    there = _with_normal_names(found.layout)
    if wanted.layout not in (found.layout, there):
        mine, theirs = set(wanted.layout.images), set(there.images)
        raise KeyMismatch(
            f"{out} was planned for another data set: {counted(len(mine - theirs), 'image')} only "
            f"here, {len(theirs - mine)} only there, or another --shard-mb; choose another --out (with "
            f"--update {out} it takes over what has not changed)"
        )


def _with_normal_names(layout: Layout) -> Layout:
    """Return the layout with names as they are read today."""
    buckets = [
        replace(bucket, images=tuple(map(normalised, bucket.images))) for bucket in layout.buckets
    ]
    return replace(layout, buckets=tuple(buckets))


def _wanted_key(config: ExtractConfig, wanted: CacheHeader, found: CacheHeader) -> CacheKey:
    """Return the key that the existing cache should have.

    A calibration that was learnt once is not learnt again, so the existing one is right; one that the
    command names has to be the same.
    """
    if wanted.key.calibration != UNKNOWN or found.key.codec != wanted.key.codec:
        return wanted.key
    if config.calibration is None:
        return replace(wanted.key, calibration=found.key.calibration)
    named = calibration_of(config.calibration, wanted.key, "--calibration")
    return replace(wanted.key, calibration=calibration_digest(named))
