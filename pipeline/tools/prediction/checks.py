"""What can be refused of a prediction before torch is imported: options, names, paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ...backbones.known import check_weights
from ...command import check_file, check_path, check_ranges
from ...dataset.presence import check_data
from ...machines.choices import check_device, check_threads
from ...runs.folder import refuse_full
from ...runs.info import RunInfo
from ...runs.position import check_there
from .options import PredictOptions


def check_prediction(
    run: Path, paths: Sequence[Path], out: Path, options: PredictOptions
) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked. Raises InputError, CorruptCache."""
    check_device(options.device)
    check_threads(options.threads)
    check_ranges(options)
    info = RunInfo.read(run)
    check_weights("--weights", options.weights)
    check_weights("--with-weights", options.second_weights)
    if options.second_weights is not None and info.second is None:
        raise InputError(f"--with-weights: {run} was trained on one cache alone; leave it out")
    if options.weights is not None and info.trains_backbone:
        raise InputError(f"--weights: {run} has a backbone of its own and needs none")
    check_file("--class-embeddings", options.class_embeddings)
    if options.class_embeddings is not None:
        info.check_embeddings(options.class_embeddings)
    check_data(options.data)
    for path in paths:
        check_path(path)
    check_there(run / f"{options.checkpoint}.safetensors")
    refuse_full(out)
    return info
