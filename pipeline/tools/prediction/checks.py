"""What can be refused of a prediction before torch is imported: options, names, paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ....heads.family import Suppression
from ...backbones.known import check_weights
from ...command import check_file, check_path, check_ranges
from ...dataset.presence import check_data
from ...dataset.tiling import Tiling
from ...dataset.tiling_option import tiling_from
from ...exported.opening import check_weights_there, read_detector, refuse_fixed
from ...machines.choices import check_device, check_threads
from ...runs.folder import refuse_full
from ...runs.info import RunInfo
from .inputs import check_decoder
from .options import PredictOptions
from .state import NAME


def check_prediction(
    run: Path, paths: Sequence[Path], out: Path, options: PredictOptions
) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked. Raises InputError, CorruptCache."""
    check_ranges(options)
    options.check_choices()
    info = check_detector(
        run,
        options.checkpoint,
        options.device,
        options.weights,
        options.second_weights,
        options.threads,
        options.nms,
    )
    check_file("--class-embeddings", options.class_embeddings)
    refuse_fixed(run, class_embeddings=options.class_embeddings)
    if options.class_embeddings is not None:
        info.check_embeddings(options.class_embeddings)
    check_data(options.data)
    for path in paths:
        check_path(path)
    check_decoder(paths)
    if not (out / NAME).exists():
        refuse_full(out)
    return info


def check_detector(
    run: Path,
    checkpoint: str,
    device: str,
    weights: str | None,
    second_weights: str | None,
    threads: int | None = None,
    nms: Suppression | None = None,
) -> RunInfo:
    """Return the info of a run whose detector can be loaded as these say. Raises InputError, CorruptCache."""
    check_device(device)
    check_threads(threads)
    refuse_fixed(run, weights=weights, with_weights=second_weights, nms=nms)
    info = read_detector(run).with_nms(nms)
    check_weights("--weights", weights)
    check_weights("--with-weights", second_weights)
    if second_weights is not None and info.second is None:
        raise InputError(f"--with-weights: {run} was trained on one cache alone; leave it out")
    if weights is not None and info.trains_backbone:
        raise InputError(f"--weights: {run} has a backbone of its own and needs none")
    check_weights_there(run, checkpoint)
    return info


def tiling_for(
    info: RunInfo, tiles: int | str | None, overlap: float | None, whole: bool
) -> Tiling | None:
    """Return the tiles that a prediction uses: those that the options name, else those of the run's training.

    None stands for whole images.
    """
    return info.tiling if tiles is None else tiling_from(tiles, overlap, whole)
