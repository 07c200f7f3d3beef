"""The inputs of the class layers of box heads for all training images, from one pass over the cache."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....cache.disk.publish import storage_error
from ....cache.disk.sizes import megabytes
from ....cache.sampler import SampleId, batches_by_bucket
from ....heads.feature_augment import augmented
from ....heads.roi.last_layer import SeenRoIs, seen_rois
from ....heads.roi.two_stage import TwoStage
from ....heads.types import Targets
from ...dataset.classes.long_tail import class_images, known_classes
from ...machines.devices import autocast
from ...machines.progress import progress_line
from ...runs.config import RunConfig
from ...runs.model import Model
from ...sources.data import Data
from ...sources.residence import free_memory
from ...training.step import image_seed

log = logging.getLogger(__name__)

# The share of the free memory that a pool may take; the step, the page cache and other processes need
# the rest.
_RAM_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class PooledBatch:
    """B samples, as a step of the class layers takes them.

    seen: the RoIs of each image with the inputs of the class layers. targets: which classes count; they
    have no boxes.
    """

    image_ids: tuple[int, ...]
    seen: tuple[SeenRoIs, ...]
    targets: tuple[Targets, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """The inputs of the class layers for all R samplings of all samples, with S stages.

    rows: the row of the first sampling of each sample. samplings: the number of samplings of a sample.
    vectors: the inputs (R, S, N, C). labels: the labels (R, S, N); where there are fewer than N RoIs, those
    of the first stage are below 0.
    """

    rows: Mapping[SampleId, int]
    samplings: int
    vectors: Tensor
    labels: Tensor

    def put(self, sample: SampleId, sampling: int, seen: SeenRoIs) -> None:
        """Store the RoIs of a sample."""
        row, count = self.rows[sample] + sampling, seen.labels.shape[1]
        self.vectors[row, :, :count] = seen.vectors.cpu()
        self.labels[row, :, :count] = seen.labels.cpu().to(self.labels.dtype)

    def seen(self, sample: SampleId, sampling: int) -> SeenRoIs:
        """Return the stored RoIs of a sample."""
        row = self.rows[sample] + sampling
        count = int((self.labels[row, 0] >= 0).sum())
        return SeenRoIs(self.vectors[row, :, :count], self.labels[row, :, :count].long())

    def batches(
        self,
        parts: Sequence[Sequence[SampleId]],
        epoch: int,
        data: Data,
        device: torch.device,
    ) -> Iterator[PooledBatch]:
        """Yield the batches of the steps of an epoch, on the device."""
        counts = torch.from_numpy(class_images(data.annotations, data.image_ids)).float().to(device)
        for part in parts:
            image_ids = tuple(image_id for image_id, _ in part)
            seen = tuple(self.seen(s, epoch % self.samplings).to(device) for s in part)
            yield PooledBatch(image_ids, seen, tuple(_targets(data, i, counts) for i in image_ids))


def _targets(data: Data, image_id: int, counts: Tensor) -> Targets:
    known = None
    if data.annotations.coverage is not None:
        known = torch.from_numpy(known_classes(data.annotations, image_id)).to(counts.device)
    nothing = counts.new_zeros(0, 4), counts.new_zeros(0, dtype=torch.int64)
    return Targets(*nothing, known_classes=known, class_images=counts)


def pooled(
    config: RunConfig,
    model: Model,
    data: Data,
    samplings: int,
    device: torch.device,
    scratch: Path,
) -> Pool:
    """Return the pool of all training views of all images, each of which is read once.

    A view passes through the frozen part once for each sampling. What is drawn comes from (seed, view and
    sampling, image). scratch: the folder of a pool that does not fit in memory. Raises StorageError, and what
    reading the cache raises.
    """
    train = config.train
    views = train.views or len(data.header.layout.views)
    samples = [(image_id, view) for view in range(views) for image_id in data.image_ids]
    pool = _empty(model, data, samples, samplings, scratch)
    size = max(1, train.batch_size // train.accumulate)
    batches = [
        batch
        for view in range(views)
        for batch in batches_by_bucket(
            data.header.layout, [s for s in samples if s[1] == view], size
        )
    ]
    given = data.batches(batches, device, train.min_visible)
    with progress_line("pool", len(samples)) as progress:
        for batch, loaded in zip(batches, given, strict=True):
            for sampling in range(samplings):
                number = batch[0][1] * samplings + sampling
                seeds = [image_seed(train.seed, number, image_id) for image_id, _ in batch]
                with torch.no_grad(), autocast(device, train.precision):
                    pyramid = augmented(loaded.pyramid(), config.augment, seeds)
                    where = loaded.placements, loaded.targets
                    of_images = seen_rois(model.detector, pyramid, *where, seeds)
                for sample, seen in zip(batch, of_images, strict=True):
                    pool.put(sample, sampling, seen)
            progress.advance(len(batch))
    return pool


def _empty(
    model: Model, data: Data, samples: Sequence[SampleId], samplings: int, scratch: Path
) -> Pool:
    head = model.detector.head
    assert isinstance(head, TwoStage)
    objects = int(np.diff(data.annotations.starts).max(initial=0))
    rois = min(head.settings.sampled, head.settings.rpn_top_train[1] + objects)
    shape = len(samples) * samplings, len(head.stages), rois
    vectors = _allocated((*shape, head.settings.fc_channels), scratch)
    rows = {sample: k * samplings for k, sample in enumerate(samples)}
    return Pool(rows, samplings, vectors, torch.full(shape, -1, dtype=torch.int32))


def _allocated(shape: tuple[int, ...], scratch: Path) -> Tensor:
    """Return a float32 tensor in memory, or else in an unnamed file that disappears with the process."""
    size = 4 * math.prod(shape)
    if size <= _RAM_SHARE * free_memory(torch.device("cpu")):
        log.info("the inputs of the class layer stay in memory: %s", megabytes(size))
        return torch.empty(shape)
    log.info(
        "the inputs of the class layer, %.1f GB, go to a scratch file in %s", size / 1e9, scratch
    )
    try:
        with tempfile.TemporaryFile(dir=scratch) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=shape))
    except OSError as error:
        raise storage_error(scratch, error) from error
