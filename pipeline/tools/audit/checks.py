"""What can be refused of an audit before torch is imported: options, names, paths, a run that cannot be."""

from __future__ import annotations

from pathlib import Path

from ....cache.errors import InputError
from ....cache.format.header import read_key
from ...backbones.known import check_weights
from ...command import check_folder
from ...dataset.presence import check_data
from ...machines.choices import check_device, check_threads
from ...runs.folder import refuse_full
from ...runs.info import RunInfo
from ...runs.pairing import check_features
from .options import AuditOptions
from .state import NAME


def check_audit(run: Path, cache: Path, out: Path, options: AuditOptions) -> RunInfo:
    """Return the run's info, once all that needs no torch is checked.

    Raises InputError, KeyMismatch (the cache holds other features), CorruptCache.
    """
    options.check()
    check_device(options.device)
    check_threads(options.threads)
    info = RunInfo.read(run)
    if info.own_backbone:
        raise InputError(
            f"{run} has trained its backbone or adapters in it, and an audit trains heads on cached maps; "
            "give a run that was trained on a cache alone"
        )
    if refine := info.config.head.refine:
        raise InputError(
            f"{run}: head.refine={refine}, and an audit trains whole heads, by the settings of the run; give "
            "the run that the refiner began with"
        )
    if options.weights is not None and info.tail is None:
        raise InputError(
            f"--weights {options.weights}: {run} has no tail, so no backbone is loaded; leave it out"
        )
    check_weights("--weights", options.weights)
    if info.embedding:
        raise InputError(
            f"{run} knows its classes by --class-embeddings, which an audit does not take; give a run "
            "without them"
        )
    check_data(options.data)
    second_key = None if options.second is None else read_key(options.second)
    check_features(info, read_key(cache), cache, second_key, options.second)
    check_folder("--images", options.images)
    if not (out / NAME).exists():
        refuse_full(out)
    return info
