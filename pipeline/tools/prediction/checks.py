"""What can be refused of a prediction before torch is imported: options, names, paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ...backbones.known import check_weights
from ...command import check_file, check_path
from ...dataset.data_name import DataName
from ...dataset.presence import check_data
from ...machines.choices import check_device, check_threads
from ...runs.folder import refuse_full
from ...runs.info import RunInfo
from ...runs.position import check_there


def check_prediction(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    annotations: DataName | Path | None,
    weights: str | None,
    second_weights: str | None,
    class_embeddings: Path | None,
    checkpoint: str,
    draw_above: float,
    device: str,
    threads: int | None,
) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked; the parameters are `predict`'s.

    Raises InputError, CorruptCache.
    """
    check_device(device)
    check_threads(threads)
    if not 0 <= draw_above <= 1:
        raise InputError(f"--draw-above: expected a score from 0 to 1, got {draw_above}")
    info = RunInfo.read(run)
    check_weights("--weights", weights)
    check_weights("--with-weights", second_weights)
    if second_weights is not None and info.second is None:
        raise InputError(f"--with-weights: {run} was trained on one cache alone; leave it out")
    if weights is not None and info.trains_backbone:
        raise InputError(f"--weights: {run} has a backbone of its own and needs none")
    check_file("--class-embeddings", class_embeddings)
    if class_embeddings is not None:
        info.check_embeddings(class_embeddings)
    check_data(annotations)
    for path in paths:
        check_path(path)
    check_there(run / f"{checkpoint}.safetensors")
    refuse_full(out)
    return info
