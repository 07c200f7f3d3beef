"""The run directory at the start of a run: empty for a new run, or that of the same run with --resume.

A command that writes into a folder locks it before looking at its contents. Of two commands that start at
once, one is refused; they cannot both find the folder empty.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...cache.disk.publish import (
    is_leftover,
    only_writer,
    publish_bytes,
    remove_leftovers,
    storage_error,
)
from ...cache.errors import ConfigError, InputError
from .config import RunConfig, fixed
from .info import IMAGES, PROCESSES, STAGE_2, THREADS, RunInfo
from .older import REPEATED
from .pairing import differences
from .position import BEST, LAST, read_position

log = logging.getLogger(__name__)


def refuse_taken(out: Path, *, resume: bool) -> None:
    """Raise InputError where `out` holds a run already, or with `resume` where it holds none."""
    there = (out / "run.json").is_file()
    if there and not resume:
        raise InputError(
            f"--out {out}: it contains a run already; choose another, or add --resume to continue it"
        )
    if resume and not there:
        raise InputError(f"--resume: there is no run in {out}")


def refuse_unusable(out: Path, *, resume: bool) -> None:
    """Raise InputError where a run cannot begin in `out`, or continue in it with `resume`; change nothing.

    The folder need not be held: whoever holds it later looks again.
    """
    refuse_taken(out, resume=resume)
    if not resume:
        refuse_full(out)


def refuse_full(out: Path) -> None:
    """Raise InputError where `out` is no folder, or contains more than the lock of its holder."""
    try:
        if out.is_dir() and any(not is_leftover(p.name, aside=False) for p in out.iterdir()):
            raise InputError(f"--out {out}: the folder is not empty; choose another")
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out}: it is not a folder; choose another")
    except OSError as error:
        raise storage_error(out, error) from error


def prepare_folder(
    out: Path,
    info: RunInfo,
    codec_files: Mapping[str, bytes],
    *,
    resume: bool,
    extend: bool = False,
) -> RunInfo:
    """Write the first files of a run, and return what run.json says: with --resume what it said before.

    The caller holds the folder. codec_files: the codec's files of the training caches, by path, since
    `fdet predict` passes features through the codec. extend: whether the run may have more epochs than
    before, which run.json then states. Raises InputError, ConfigError (other settings), StorageError.
    """
    refuse_taken(out, resume=resume)
    current = info
    if resume:
        current = _continued(out, info, extend=extend)
    else:
        _take_empty(out)
        publish_bytes(out / "run.json", info.to_bytes())
    # These files are written on --resume too, since a kill may have come before them.
    for name, data in codec_files.items():
        publish_bytes(out / name, data)
    publish_bytes(out / "config.toml", info.config.to_toml().encode())
    return current


def _continued(out: Path, info: RunInfo, *, extend: bool) -> RunInfo:
    """Return what run.json says of a run that goes on, which may have more epochs with `extend`.

    info: what it would say of a new run. Raises InputError, ConfigError.
    """
    before = RunInfo.read(out)
    if before.format < REPEATED:
        start = f", or start a new --out from it with --start {out}"
        raise InputError(
            f"--resume: {out} was begun by an older fdet (format {before.format}), whose steps this one "
            f"does not repeat; use it as it is{start if (out / BEST).is_file() else ''}"
        )
    longer = extend and is_longer(before.config, info.config)
    if before.config != info.config and not longer:
        changes = changed_settings(before.config, info.config)
        raise ConfigError(f"--resume: the configuration has changed: {changes}; start a new --out")
    _refuse_other_data(out, before, info)
    return _extended(out, before, info.config) if longer else before


@contextmanager
def held_folder(out: Path) -> Iterator[None]:
    """Hold a folder, made where there is none, so that nobody else writes into it while the block runs.

    It is removed at the end where it is empty. Raises StorageError, also where another process holds it.
    """
    try:
        with only_writer(out):
            yield
    finally:
        with suppress(OSError):  # The folder may not be empty, or not exist.
            out.rmdir()


def _take_empty(out: Path) -> None:
    """Remove what a process that was killed before it had begun left. Raises as `refuse_full` does."""
    try:
        remove_leftovers(out)
    except OSError as error:
        raise storage_error(out, error) from error
    refuse_full(out)


def forget_folder(out: Path) -> None:
    """Remove all files of a run that could not begin, so that the same command can be repeated.

    Its lock is removed when the folder is released.
    """
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not is_leftover(path.name, aside=False):
            path.unlink(missing_ok=True)


def _refuse_other_data(out: Path, before: RunInfo, now: RunInfo) -> None:
    found = differences(before, now)
    changed = [str(d) for d in found if d.fatal]
    unknown = [name for name in IMAGES if name in now.data and name not in before.data]
    if unknown:
        log.warning(
            "--resume: %s does not say which image files its caches were made from; whether they are the "
            "same is not known",
            out,
        )
    # Changes of threads and processes are reported by training/threads.py.
    names = [
        name
        for name in (*now.data, *({STAGE_2} - now.data.keys()))
        if name not in (THREADS, PROCESSES, *unknown)
    ]
    changed += [name for name in names if before.data.get(name) != now.data.get(name)]
    if changed:
        raise InputError(
            f"--resume: {out} was trained on something else: {'; '.join(changed)}; give the command "
            "that it was started with"
        )
    for difference in found:
        log.warning("--resume: since the run was started, %s", difference)


def is_longer(before: RunConfig, now: RunConfig) -> bool:
    """Return whether the settings are those of the same run with more epochs."""
    same = replace(now, train=replace(now.train, epochs=before.train.epochs))
    return same == before and fixed(now.train.epochs) > fixed(before.train.epochs)


def _extended(out: Path, before: RunInfo, config: RunConfig) -> RunInfo:
    """Write a run.json with more epochs, in one step, and return what it says. Raises InputError."""
    if not before.sealed:
        raise InputError(
            f"--resume: {out} was begun by an older fdet (format {before.format}) and cannot have more "
            f"epochs; start a new --out from it with --start {out}"
        )
    last = out / LAST
    info = before.extended(config, read_position(last, before).step if last.is_file() else 0)
    publish_bytes(out / "run.json", info.to_bytes(), existing="replace")
    return info


def changed_settings(before: RunConfig, now: RunConfig) -> str:
    """Describe which settings have changed, with both values; "" for none."""
    old, new = before.to_mapping(), now.to_mapping()
    changed = [
        f"{section}.{name} was {old[section].get(name)}, is {value}"
        for section in new
        for name, value in new[section].items()
        if old[section].get(name) != value
    ]
    return "; ".join(changed)
