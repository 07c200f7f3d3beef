"""What is to be predicted, and what of it a folder holds already; all of it without torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....cache.errors import InputError
from ...dataset.annotations import Annotations
from ...dataset.classes.embeddings import ClassEmbeddings, read_embeddings
from ...dataset.data_set import load_annotations
from ...dataset.images.decoding import file_sha256
from ...dataset.tiling import Tiling
from ...exported.opening import detector_thresholds, weights_of
from ...runs.evaluations import file_digest
from ...runs.folder import refuse_full
from ...runs.info import RunInfo
from ...runs.pairing import labelled, with_classes
from ...runs.thresholds import Thresholds
from .checks import check_prediction, tiling_for
from .inputs import find_files
from .jobs import Job, find_jobs
from .journal import lines_in
from .options import PredictOptions
from .state import Source, State, touched


@dataclass(frozen=True, slots=True)
class Plan:
    """A prediction that can begin.

    info: the run. known: the run with the classes that are looked for. embeddings: the vectors of these,
    where they are given. thresholds: the scores from which on detections are drawn. jobs: images, then
    videos. state: what the prediction is made of, without progress. tiling: the tiles of large images.
    """

    run: Path
    out: Path
    options: PredictOptions
    info: RunInfo
    known: RunInfo
    embeddings: ClassEmbeddings | None
    thresholds: Thresholds
    jobs: tuple[Job, ...]
    state: State
    tiling: Tiling | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a folder holds of a prediction. done: the names of the images whose lines and files are whole.

    videos: the number of frames of each video that is done. damaged: the number of lines that are not whole,
    or whose files are missing.
    """

    state: State
    done: frozenset[str]
    videos: Mapping[str, int]
    damaged: int

    def has(self, job: Job) -> bool:
        """Return whether an image is done, or all frames of a video."""
        return job.shown in (self.videos if job.is_video else self.done)


def make_plan(run: Path, paths: Sequence[Path], out: Path, options: PredictOptions) -> Plan:
    """Check and find everything that a prediction needs. Raises InputError, CorruptCache."""
    info = check_prediction(run, paths, out, options)
    annotations, digest = _annotations(info, options)
    embeddings = None
    known = info
    if options.class_embeddings is not None:
        embeddings = read_embeddings(options.class_embeddings)
        known = with_classes(info, embeddings, annotations)
    if annotations is not None:
        annotations = labelled(known, annotations, str(options.data))
    files = find_files(paths, recursive=options.recursive, every=options.every)
    suffix = ".jpg" if options.pictures == "none" else f".{options.pictures}"
    jobs = find_jobs(files, suffix, annotations, options.data)
    thresholds = detector_thresholds(run, known, options.checkpoint, options.threshold)
    tiling = tiling_for(info, options.tiles, options.overlap, options.whole)
    state = State(
        info.digest,
        file_digest(weights_of(run, options.checkpoint)),
        _options_of(options, digest, thresholds, tiling),
        tuple(map(_source_of, jobs)),
    )
    return Plan(run, out, options, info, known, embeddings, thresholds, tuple(jobs), state, tiling)


def kept_of(plan: Plan) -> Kept | None:
    """Return what the folder holds of this prediction, None where it is to be made from the start.

    Raises InputError where it holds something else, CorruptCache, StorageError.
    """
    if plan.options.overwrite or (before := State.read(plan.out)) is None:
        if not (plan.out / "prediction.json").exists():
            refuse_full(plan.out)
        return None
    _refuse_different(plan, before)
    done: set[str] = set()
    changed = _changed(plan, before)
    damaged = 0
    for line in lines_in(plan.out):
        if line is None or not all(_is_whole(plan.out / name) for name in line.files):
            damaged += 1
            continue
        sha256 = changed.get(line.file_name)
        if sha256 is not None and sha256 != line.file_sha256:
            raise _refusal(plan.out, [f"{line.file_name} has changed since"])
        done.add(line.file_name)
    return Kept(before, frozenset(done), _whole_videos(plan, before, done), damaged)


def _whole_videos(plan: Plan, before: State, done: Collection[str]) -> dict[str, int]:
    """Return the number of frames of each video that was ended and whose frames are all done."""
    frames = Counter(name.rpartition("/")[0] for name in done)
    videos = [job for job in plan.jobs if job.is_video and job.shown in before.videos]
    return {
        job.shown: frames[job.name]
        for job in videos
        if frames[job.name] == before.videos[job.shown]
    }


def _refuse_different(plan: Plan, before: State) -> None:
    found = before.differences(plan.state)
    videos = {job.shown for job in plan.jobs if job.is_video}
    found += [f"{name} has changed since" for name in touched(before, plan.state) if name in videos]
    if found:
        raise _refusal(plan.out, found)


def _refusal(out: Path, found: Sequence[str]) -> InputError:
    return InputError(
        f"--out {out}: it holds another prediction: {'; '.join(found)}; choose another, or --overwrite "
        "deletes that one"
    )


def _changed(plan: Plan, before: State) -> dict[str, str]:
    """Return the sha256 of the images that were touched since they were first looked at, by name."""
    names = set(touched(before, plan.state))
    return {job.shown: file_sha256(job.path) for job in plan.jobs if job.shown in names}


def _is_whole(path: Path) -> bool:
    """Return whether a file is there; a power cut may leave it empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _annotations(info: RunInfo, options: PredictOptions) -> tuple[Annotations | None, str]:
    """Return the annotations and a part of their sha256, "none" without any. Raises InputError."""
    if options.data is None:
        return None, "none"
    annotations, raw = load_annotations(options.data, outlines=info.config.masks)
    return annotations, hashlib.sha256(raw).hexdigest()[:12]


def _options_of(
    options: PredictOptions, annotations: str, thresholds: Thresholds, tiling: Tiling | None
) -> dict[str, str]:
    """Return the options that lines, pictures and crops depend on, by flag."""
    vectors = options.class_embeddings
    return {
        "--annotations": annotations,
        "--class-embeddings": "none" if vectors is None else file_digest(vectors)[:12],
        "--every": str(options.every),
        "--nms": options.nms or "none",
        "--pictures": options.pictures,
        "--save-crops": "given" if options.save_crops else "none",
        "--threshold": thresholds.described,
        "--tiles": "none" if tiling is None else tiling.to_text(),
    }


def _source_of(job: Job) -> Source:
    try:
        status = job.path.stat()
    except OSError:  # It is reported when it is read.
        return Source(job.shown, job.image_id, 0, 0)
    return Source(job.shown, job.image_id, status.st_size, status.st_mtime_ns)
