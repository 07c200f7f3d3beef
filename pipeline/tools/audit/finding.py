"""What the head of each fold finds in the images that it has not seen, down to low scores."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ....cache.disk.publish import publish_bytes, remove_files
from ....cache.sampler import plain_batches
from ....heads.family import NMSSettings
from ....heads.types import Detections
from ...evaluation.detecting import detect
from ...evaluation.merging import in_whole_images
from ...runs.config import RunConfig
from ...runs.evaluations import file_digest
from ...runs.info import RunInfo
from ...runs.loading import load_model
from ...sources.data import Data
from .folds import Fold
from .paths import FoldPaths

# A label where no detection has even this score counts as not found.
LOWEST_SCORE = 0.01
# The maximum number of detections of an image.
_MAX_DETECTIONS = 300


@dataclass(frozen=True, slots=True)
class Look:
    """The images that the heads look at, the device that they run on, and the folder of the audit.

    weights: the file of the backbone's weights, where it is needed for a tail.
    """

    data: Data
    device: torch.device
    out: Path
    weights: str | None = None


def found_in_fold(look: Look, fold: Fold) -> Mapping[int, Detections]:
    """Return what a fold's head finds in the images held out from it, by image id, in image px.

    It is kept beside the run, so that the list can be made once more without a model. Raises InputError,
    CorruptCache, StorageError.
    """
    paths = FoldPaths.of(look.out, fold.number)
    path = paths.found(file_digest(paths.run / "best.safetensors"))
    kept = _read(path, fold)
    if kept is not None:
        return kept
    info = RunInfo.read(paths.run)
    wide = replace(info, config=at_low_scores(info.config))
    model = load_model(paths.run, wide, "best", look.device, weights=look.weights)
    settings = info.config.train
    samples = look.data.samples_of(fold.held_out)
    batches = plain_batches(look.data.header.layout, samples, settings.batch_size)
    title = f"fold {fold.number}"
    each = detect(model.detector, look.data.source, batches, settings.precision, title=title)
    part = replace(look.data, image_ids=samples)
    found = in_whole_images(part, each, agnostic=False)
    remove_files(list(paths.folder.glob("found-*.npz")))
    publish_bytes(path, _bytes(found))
    return found


def at_low_scores(config: RunConfig) -> RunConfig:
    """Return the settings with detections of low scores, each class by itself."""
    head = config.head
    wide = replace(
        head,
        score_threshold=min(head.score_threshold, LOWEST_SCORE),
        max_detections=max(head.max_detections, _MAX_DETECTIONS),
    )
    if isinstance(wide, NMSSettings):
        wide = replace(wide, nms="class")
    return replace(config, head=wide)


def _bytes(found: Mapping[int, Detections]) -> bytes:
    file = io.BytesIO()
    parts = list(found.values())
    np.savez(
        file,
        ids=np.array(list(found), dtype=np.int64),
        counts=np.array([len(d) for d in parts], dtype=np.int64),
        boxes=torch.cat([d.boxes.float() for d in parts]).numpy(),
        scores=torch.cat([d.scores.float() for d in parts]).numpy(),
        labels=torch.cat([d.labels for d in parts]).numpy(),
    )
    return file.getvalue()


def _read(path: Path, fold: Fold) -> dict[int, Detections] | None:
    """Return what was found before, None where it was not, or is not whole."""
    try:
        # From bytes, as numpy leaves a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            arrays = [torch.from_numpy(kept[name]) for name in ("boxes", "scores", "labels")]
            ids, counts = kept["ids"].tolist(), kept["counts"].tolist()
        each = zip(*(torch.split(x, counts) for x in arrays), strict=True)
        found = {i: Detections(*parts) for i, parts in zip(ids, each, strict=True)}
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile):
        return None
    return found if set(found) == set(fold.held_out) else None
