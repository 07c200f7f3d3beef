"""fdet plan: a trial on the data set, the backbone and the disk, and the plan that follows from it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ....cache.codecs.calibration import Parameters, parameters_of
from ....cache.format import header as header_file
from ....cache.format.header import CacheHeader
from ....cache.format.records import table_dtype
from ....cache.wording import counted
from ...backbones.tail import levels_before_tail
from ...dataset.check import check_images
from ...dataset.images.canvases import recipe_of
from ...extraction.calibration import calibration_of
from ...extraction.options import ExtractConfig
from ...extraction.preparation import Prepared, prepared, with_data
from ...extraction.reuse import open_older
from ...machines.disk import Disk, existing_folder, measure_disk
from ...machines.world import find_world
from .codec_trial import try_codecs
from .options import PlanOptions
from .plan import Contents, Machine, online_epoch, plan_codec
from .report import Plan, disk_notes
from .trial import BackboneTrial, choose, try_backbone, values_of

# Zarr and HDF5 both keep offset, length and checksum of each chunk, and each file has a header.
_INDEX_BYTES, _FILE_HEADER_BYTES = 20, 128


def make_plan(options: PlanOptions) -> Plan:
    """Make a trial and return the plan; nothing is left on the disk, however it ends.

    Raises InputError and KeyMismatch as an extraction does, StorageError where the target disk cannot
    be written, FeatureError for a value that the codec cannot store.
    """
    options.check()
    config = options.extraction
    folder = existing_folder(config.out)
    config, data = with_data(config)
    if options.train_from:
        config = _before_tail(config, options.train_from)
        options = replace(options, extraction=config)
    begun = prepared(config, find_world(config.rank, config.world, os.environ), data)
    header = begun.header
    given = _given_calibration(config, header)
    images = choose(header, options.trial_images)
    check_images(config.image_folder, images)
    recipe = recipe_of(header.key, config.image_folder)
    trial = try_backbone(header, begun.backbone, recipe, images)
    codecs, refused = try_codecs(trial.samples, header.form, given, begun.device)
    disk = measure_disk(folder, options.write_trial)
    contents = contents_of(header)
    machine = _machine(options, begun, trial, contents)
    usual = max(header.layout.buckets, key=lambda bucket: len(bucket.images))
    return Plan(
        contents=contents,
        canvases={bucket.name: len(bucket.images) for bucket in header.layout.buckets},
        levels={v.name: v.shape(usual.canvas_hw) for v in header.key.levels.levels},
        tried=len(trial.samples),
        machine=machine,
        disk=disk,
        budget=options.budget,
        epochs=options.epochs,
        asked=header.form.name,
        online_epoch=online_epoch(contents, machine),
        codecs=tuple(plan_codec(contents, machine, c, disk, options.budget) for c in codecs),
        notes=tuple(_notes(options, trial, refused, disk)),
    )


def _before_tail(config: ExtractConfig, train_from: str) -> ExtractConfig:
    """Return the options of a cache that a tail is trained on. Raises ConfigError, InputError."""
    names, tokens = levels_before_tail(
        config.backbone, config.level_names, train_from, config.sides, config.size is not None
    )
    return replace(config, levels=",".join(names), taps=None, tokens=tokens)


def _given_calibration(config: ExtractConfig, header: CacheHeader) -> Parameters | None:
    """Return the calibration of another cache, where the extraction would take it."""
    if config.update is not None:
        open_older(config.update, header)
    named = {"--calibration": config.calibration, "--update": config.update}
    for option, root in named.items():
        if header.form.calibrated and root is not None:
            files = calibration_of(root, header.key, option)
            return parameters_of(root, files, header.form, header.key.levels)
    return None


def contents_of(header: CacheHeader) -> Contents:
    """Return what an extraction would put into the cache."""
    layout, spec = header.layout, header.key.levels
    images = sum(len(bucket.images) for bucket in layout.buckets)
    views = len(layout.views)
    values = sum(len(b.images) * values_of(spec, b.canvas_hw) for b in layout.buckets)
    return Contents(
        images=images,
        views=views,
        levels=len(spec.levels),
        values=values / images,
        overhead=_overhead(header) / (images * views),
        shard_bytes=max(
            layout.slots(b)
            * (sum(header.raw_bytes(v, b) for v in spec.levels) + header.vector_bytes)
            for b in layout.buckets
        ),
    )


def _overhead(header: CacheHeader) -> int:
    """Return the bytes in addition to the frames: tables of samples, indices, vectors."""
    layout, levels = header.layout, len(header.key.levels.levels)
    samples = sum(len(b.images) for b in layout.buckets) * len(layout.views)
    each = table_dtype(levels).itemsize + levels * _INDEX_BYTES + header.vector_bytes
    return samples * each + len(layout.shards) * _FILE_HEADER_BYTES


def _machine(
    options: PlanOptions, begun: Prepared, trial: BackboneTrial, contents: Contents
) -> Machine:
    return Machine(
        decode=trial.decode,
        forward=trial.forward * contents.values,
        cores=len(os.sched_getaffinity(0)),
        workers=options.extraction.workers,
        threads=begun.header.key.threads,
        nodes=options.nodes,
    )


def _notes(
    options: PlanOptions, trial: BackboneTrial, refused: Mapping[str, str], disk: Disk
) -> Iterator[str]:
    config = options.extraction
    if options.train_from:
        tokens = " --tokens" if config.tokens else ""
        yield (
            f"This is a cache for --source tail --set backbone.train_from={options.train_from}, extracted "
            f"with --levels {config.levels}{tokens}; the tail costs the same with the backbone in the loop, "
            "and is not counted."
        )
    yield from disk_notes(disk)
    if options.budget is not None and options.budget > disk.free:
        yield f"The budget is more than the {disk.free / 1e9:.4g} GB that are free."
    if (config.out / header_file.NAME).exists():
        yield f"There is a cache at {config.out} already; this plan is of a new one."
    elif config.out.is_dir() and any(config.out.iterdir()):
        yield f"{config.out} is not empty and holds no cache: fdet extract will refuse it."
    if config.update is not None:
        yield f"What {config.update} saves is not counted."
    for name, why in refused.items():
        yield f"{name} cannot store these features: {why}."
    if trial.failed:
        name, why = next(iter(trial.failed.items()))
        yield f"{counted(len(trial.failed), 'image')} of the trial could not be read, e.g. {name}: {why}."
