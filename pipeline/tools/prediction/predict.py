"""`fdet predict`: backbone, neck and head applied to image files and to the frames of videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ....cache.disk.publish import remove_leftovers
from ....cache.errors import FeatureError, InputError
from ....cache.wording import counted, none_could
from ...dataset.images.decoding import ImageError
from ...runs.folder import held_folder
from .files import CROPS, PICTURES, put
from .journal import NAME as JOURNAL
from .journal import Line, lines_in
from .options import PredictOptions
from .plan import Kept, Plan, kept_of, make_plan
from .results import FORMS, Results
from .stages import Stages
from .state import State
from .summary import PredictSummary

if TYPE_CHECKING:
    from PIL import Image

    from ....heads.types import Detections

DEFAULTS = PredictOptions()
log = logging.getLogger(__name__)


def predict(
    run: Path, paths: Sequence[Path], out: Path, options: PredictOptions = DEFAULTS
) -> PredictSummary:
    """Detect objects in image files, in the images of folders and in the frames of videos.

    Writes a line for each image to detections.jsonl as it goes, pictures, and at the end the form of results
    that the options name. The same call goes on where an earlier one was interrupted. The maps pass through
    the codec of the training cache where the run used one, so the detections are those of `fdet evaluate` on
    a cache whose codec has the same scales. With annotations, the ids come from them and the pictures show
    the ground truth next to the detections. Raises InputError, KeyMismatch, CorruptCache, StorageError.
    """
    plan = make_plan(run, paths, out, options)
    stages, failed = Stages(), dict[str, str]()
    with held_folder(out):
        remove_leftovers(out)
        kept = kept_of(plan)
        state = plan.state if kept is None else kept.state
        if kept is None or not all(map(kept.has, plan.jobs)):
            state, stages = _find(plan, kept, failed)
        if not stages.images and (kept is None or not kept.done):
            raise InputError(
                f"{none_could(len(plan.jobs), 'image', 'be read')}: {next(iter(failed.values()))}"
            )
        _write_results(plan, state)
        images, detections, drawn = _counts(plan)
    return PredictSummary(
        out,
        images,
        detections,
        drawn,
        plan.thresholds.shown,
        failed,
        stages.images,
        stages.milliseconds,
        stages.rate,
        _written(plan),
    )


def _find(plan: Plan, kept: Kept | None, failed: dict[str, str]) -> tuple[State, Stages]:
    """Predict what is not done; return the state of the folder and the times. failed: gets the reasons."""
    # Only here is torch needed.
    from ...evaluation.merging import found_in_tiles
    from ...machines.devices import use_threads
    from .finder import load_finder
    from .recorder import Recorder
    from .shots import Shots

    options, info = plan.options, plan.info
    tiling = plan.tiling
    if tiling is not None:
        own = " (as in training; --tiles none for whole images)" if options.tiles is None else ""
        log.info("larger images are looked at in %s%s", tiling, own)
    done = frozenset[str]() if kept is None else kept.done
    if kept is not None and done:
        again = f"; {counted(kept.damaged, 'image')} again, cut off before" if kept.damaged else ""
        log.info("%s: %s done before, going on%s", plan.out, counted(len(done), "image"), again)
    # On a CPU the last bits of a feature depend on the number of threads, so use the cache's.
    use_threads(options.threads if options.threads is not None else info.key.threads or None)
    finder = load_finder(
        plan.run,
        info,
        checkpoint=options.checkpoint,
        device=options.device,
        weights=options.weights,
        second_weights=options.second_weights,
        known=plan.known,
        embeddings=plan.embeddings,
    )
    recorder, stages = Recorder(plan, kept), Stages(finder.wait, models=finder.stages)
    shots = Shots(
        plan.jobs,
        done,
        {} if kept is None else kept.videos,
        options.every,
        info.key.bits,
        stages,
        failed,
        recorder.video_done,
        tiled=tiling is not None,
    )
    agnostic = finder.known.config.head.suppression == "agnostic"

    def find(image: Image.Image) -> Detections:
        return finder.find(image, stages.timed)

    try:
        for job, photograph in shots:
            try:
                found = found_in_tiles(photograph, tiling, find, agnostic=agnostic)
            except (FeatureError, ImageError) as error:
                failed[f"{job.path} ({job.shown})" if job.is_video else str(job.path)] = str(error)
                continue
            with stages.timed("output"):
                recorder.add(job, photograph, found)
            stages.next_image()
    finally:
        recorder.close()
    return recorder.state, stages


def _write_results(plan: Plan, state: State) -> None:
    """Write the form of results that is asked for, and those asked for before that lack something."""
    asked = plan.options.format
    unfinished = [name for name, complete in state.formats.items() if not complete]
    if asked not in state.formats:
        unfinished.append(asked)
    results = Results(
        plan.out,
        partial(_lines, plan.out),
        plan.known.class_ids,
        plan.known.class_names,
        dict(zip(plan.known.class_ids, plan.thresholds.scores, strict=True)),
        partial(put, plan.out),
    )
    for name in unfinished:
        state.with_format(name, complete=False).write(plan.out)
        FORMS[name].write(results)
        state = state.with_format(name, complete=True)
        state.write(plan.out)


def _lines(out: Path) -> Iterator[Line]:
    return (line for line in lines_in(out) if line is not None)


def _counts(plan: Plan) -> tuple[int, int, int]:
    """Return the numbers of images, of detections, and of those that reach their thresholds."""
    limits = dict(zip(plan.known.class_ids, plan.thresholds.scores, strict=True))
    lines = list(_lines(plan.out))
    drawn = sum(len(line.above(limits)) for line in lines)
    return len(lines), sum(len(line.detections) for line in lines), drawn


def _written(plan: Plan) -> tuple[str, ...]:
    """Return the files and folders that the prediction wrote for its user."""
    options = plan.options
    pictures = [f"{PICTURES}/"] if options.pictures != "none" else []
    crops = [f"{CROPS}/"] if options.save_crops and (plan.out / CROPS).is_dir() else []
    return (JOURNAL, *FORMS[options.format].shown, *pictures, *crops)
