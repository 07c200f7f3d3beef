"""`fdet audit`: heads that have not seen an image say which of its labels are probably wrong."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ....cache.disk.publish import remove_leftovers
from ....cache.errors import InputError
from ....cache.joined import open_caches
from ....heads.types import Detections
from ...dataset.annotations import Annotations
from ...dataset.classes.long_tail import known_classes
from ...evaluation.coco import unique_names
from ...evaluation.matching import Bools, all_matches
from ...machines.devices import pick_device, use_threads
from ...runs.config import RunConfig, load_config
from ...runs.folder import changed_settings, held_folder
from ...runs.kept_options import read_options
from ...sources.data import Data, open_cached
from ...sources.epochs import sampler_of
from ...training.data import chosen
from .checks import check_audit
from .confidence import confidences
from .drawing import clear_pictures, draw_entries
from .entries import entries_of, without_crowds
from .finding import Look, found_in_fold
from .folds import Fold, folds_of, objects_by_class
from .options import AuditOptions
from .page import write_page
from .paths import SETTINGS
from .results import Results, write_lists
from .state import State
from .suspicion import Seen, first_of_each, suspicions
from .training import Training, train_folds, write_inputs

DEFAULTS = AuditOptions()
log = logging.getLogger(__name__)

# The number of objects of a class below which a head is not said to have learnt it.
_SEEN = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """An audit that can begin. config: the settings of the heads. steps: those of each fold."""

    run: Path
    cache: Path
    options: AuditOptions
    config: RunConfig
    look: Look
    folds: Sequence[Fold]
    steps: Mapping[int, int]
    state: State

    @property
    def out(self) -> Path:
        return self.look.out

    @property
    def known(self) -> Annotations:
        """The labels that are audited."""
        return self.look.data.truth


def audit(run: Path, cache: Path, out: Path, options: AuditOptions = DEFAULTS) -> Results:
    """List the objects of a cache whose labels are probably wrong.

    For each part of the images a head with the settings of the run is trained on the other parts; what it
    finds in this part is compared with the labels. Writes audit.json, audit.csv, audit.html and pictures.
    The same call goes on where an earlier one was interrupted. Raises InputError, KeyMismatch, CorruptCache,
    StorageError.
    """
    plan = make_plan(run, cache, out, options)
    with held_folder(out):
        remove_leftovers(out)
        before = State.read(out)
        if before is None:
            plan.state.write(out)
        else:
            _check_same(before, plan)
        write_inputs(out, plan.config, plan.folds, plan.known)
        train_folds(Training(cache, out, options, plan.state.source, plan.folds, plan.steps))
        found: dict[int, Detections] = {}
        for fold in plan.folds:
            found |= found_in_fold(plan.look, fold)
        results = _results(plan, found)
        write_lists(out, results)
        write_page(out, results)
    return results


def _check_same(before: State, plan: Plan) -> None:
    """Raise InputError where the folder has another audit than the plan's.

    Its settings decide, not their digest: those that a newer fdet has added have their defaults.
    """
    kept = plan.out / SETTINGS
    changed = changed_settings(load_config(kept), plan.config) if kept.is_file() else ""
    if kept.is_file() and not changed:
        before = replace(before, config=plan.state.config)
    before.check_same(plan.state, plan.out, changed)


def make_plan(run: Path, cache: Path, out: Path, options: AuditOptions) -> Plan:
    """Check and open everything that an audit needs. Raises as `audit` does."""
    info = check_audit(run, cache, out, options)
    device = pick_device(options.device)
    use_threads(options.threads)
    # Nothing is evaluated while the heads train, so none of them can run out of patience.
    config = replace(info.config, train=replace(info.config.train, patience=0))
    seconds = [] if options.second is None else [options.second]
    data = open_cached(
        [cache],
        options.data,
        device,
        second=seconds,
        workers=config.train.workers,
        prefetch=config.train.prefetch,
        masks=config.masks,
    )
    contents = open_caches([cache]).image_files
    folds = folds_of(
        data.truth, data.truth_ids, _by_image(data, contents), options.folds, options.seed
    )
    state = State(
        config.digest,
        data.header.id,
        "none" if data.second is None else data.second.id,
        data.fingerprint.split()[-1],
        options.folds,
        options.seed,
        info.cached_source,
    )
    steps = {fold.number: _steps(config, data, fold) for fold in folds}
    look = Look(data, device, out, options.weights)
    return Plan(run, cache, options, config, look, folds, steps, state)


def _by_image(data: Data, contents: Mapping[int, str]) -> Mapping[int, str]:
    """Return the sha256 of the file of each image, from those of the samples."""
    return {i: contents.get(next(iter(data.samples_of([i]))), "") for i in data.truth_ids}


def _steps(config: RunConfig, data: Data, fold: Fold) -> int:
    """Return the number of steps of a fold. Raises InputError where its images have no object."""
    part = chosen(config, replace(data, image_ids=data.samples_of(fold.trained)))
    return sampler_of(part, config.train).steps


def _results(plan: Plan, found: Mapping[int, Detections]) -> Results:
    """Return the list, with pictures where the images are there."""
    options, known = plan.options, plan.known
    names = unique_names(known)
    seen, few = _seen(plan, found)
    confidence = confidences(all_matches(known, found), len(names))
    reached = [s for s in suspicions(seen, confidence) if s.score >= options.above]
    entries = entries_of(first_of_each(reached, options.top), known, found, names)
    images = None if options.pictures == "none" else _images(plan)
    clear_pictures(plan.out)
    pictures: dict[int, str] = {}
    if images is not None:
        pictures = draw_entries(
            plan.out,
            images,
            entries,
            {image.id: image for image in known.images},
            names,
            known.class_ids,
            options.pictures,
            plan.look.data.header.key.bits,
        )
    return Results(
        plan.run,
        plan.cache,
        plan.state,
        options.above,
        names,
        entries,
        Counter(s.kind for s in reached),
        len(seen),
        sum(len(each.objects) for each in seen),
        [names[k] for k in np.flatnonzero(few)],
        pictures,
    )


def _seen(plan: Plan, found: Mapping[int, Detections]) -> tuple[list[Seen], Bools]:
    """Return the images with labels and detections, and the classes, (K,), that a head saw too seldom."""
    few = np.zeros(len(plan.known.class_ids), dtype=bool)
    there = objects_by_class(plan.known, plan.look.data.truth_ids) > 0
    images = []
    for fold in plan.folds:
        judged = objects_by_class(plan.known, fold.trained) >= _SEEN
        few |= there & ~judged
        images += [_with_labels(plan.known, i, found[i], judged) for i in fold.held_out]
    return images, few


def _with_labels(known: Annotations, image_id: int, d: Detections, judged: Bools) -> Seen:
    objects, everything = known.of_image(image_id), np.ones(len(known.class_ids), dtype=bool)
    looked_for, whole = everything, everything
    if known.coverage is not None:
        looked_for = known_classes(known, image_id)
        partial = list(known.coverage[image_id].partial)
        whole = looked_for & ~np.isin(np.arange(len(everything)), partial)
    return Seen(
        image_id,
        without_crowds(objects),
        objects.boxes[objects.crowd],
        d.boxes.double().numpy(),
        d.scores.double().numpy(),
        d.labels.numpy(),
        looked_for,
        whole,
        judged,
    )


def _images(plan: Plan) -> Path | None:
    """Return the folder of the images: that of --images, or one that the run names and that has them."""
    if plan.options.images is not None:
        folders = [plan.options.images]
    else:
        kept = read_options(plan.run)
        named = (kept.get(name) for name in ("images", "val_images"))
        folders = [Path(each) for each in named if isinstance(each, str)]
    first = plan.known.image(plan.look.data.truth_ids[0]).file_name
    for folder in folders:
        if (folder / first).is_file():
            return folder
    if plan.options.images is not None:
        raise InputError(
            f"--images {plan.options.images}: it has no {first}, an image of the cache"
        )
    log.warning("no pictures are drawn, as the folder of the images is not known; give --images")
    return None
