"""The run directory at the start: new for a new run; with --resume, the same run or nothing.

Whoever writes into a folder holds it before looking at what is there: of two commands that begin at once, one
is told, and neither finds it empty because the other has only looked so far.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ...cache.disk.publish import (
    is_leftover,
    only_writer,
    publish_bytes,
    remove_leftovers,
    storage_error,
)
from ...cache.errors import ConfigError, InputError
from .config import RunConfig
from .info import IMAGES, PROCESSES, STAGE_2, THREADS, RunInfo
from .older import REPEATED

log = logging.getLogger(__name__)


def refuse_taken(out: Path, *, resume: bool) -> None:
    """Raises InputError where a new run finds one, and where one to go on with is not there."""
    there = (out / "run.json").is_file()
    if there and not resume:
        raise InputError(
            f"--out {out}: a run stands there already; choose another, or add --resume to go on "
            "with it"
        )
    if resume and not there:
        raise InputError(f"--resume: there is no run in {out}")


def prepare_folder(
    out: Path, info: RunInfo, codec_files: Mapping[str, bytes], *, resume: bool
) -> RunInfo:
    """What run.json then says, which with --resume is what it said. The caller holds the folder.
    codec_files: of the training caches, by path; `fdet predict` passes features through its
    codec.

    Raises InputError, ConfigError (other settings), StorageError.
    """
    refuse_taken(out, resume=resume)
    stands = info
    if resume:
        stands = before = RunInfo.read(out)
        if before.format < REPEATED:
            raise InputError(
                f"--resume: {out} was begun by an older fdet (format {before.format}), whose steps this one "
                f"does not repeat; it can be evaluated and used, or begun with: --start {out}, a new --out"
            )
        if before.config != info.config:
            changes = changed_settings(before.config, info.config)
            raise ConfigError(
                f"--resume: the configuration has changed: {changes}; start a new --out"
            )
        _refuse_other_data(out, before, info)
    else:
        _refuse_full(out)
        publish_bytes(out / "run.json", info.to_bytes())
    # A kill may have come in between.
    for name, data in codec_files.items():
        publish_bytes(out / name, data)
    publish_bytes(out / "config.toml", info.config.to_toml().encode())
    return stands


@contextmanager
def held_folder(out: Path) -> Iterator[None]:
    """A folder, made where there is none, that nobody else writes into while the block runs; gone again
    where nothing is in it then. Raises StorageError, also where another process has it.
    """
    try:
        with only_writer(out):
            yield
    finally:
        with suppress(OSError):  # not empty, or not there
            out.rmdir()


@contextmanager
def new_folder(out: Path) -> Iterator[None]:
    """A held folder in which nothing is. Raises InputError, StorageError."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: it is not a folder; choose another")
    with held_folder(out):
        _refuse_full(out)
        yield


def _refuse_full(out: Path) -> None:
    """Raises InputError where something lies in a folder beside the lock of whoever holds it."""
    try:
        remove_leftovers(out)  # of a process that was killed before it had begun
        if any(not is_leftover(path.name, aside=False) for path in out.iterdir()):
            raise InputError(f"--out {out}: the folder is not empty; choose another")
    except OSError as error:
        raise storage_error(out, error) from error


def forget_folder(out: Path) -> None:
    """Of a run that could not begin: all that it made, so that the same command can be repeated. Its lock
    goes when the folder is let go.
    """
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not is_leftover(path.name, aside=False):
            path.unlink(missing_ok=True)


def _refuse_other_data(out: Path, before: RunInfo, now: RunInfo) -> None:
    differences = before.differences(now)
    changed = [str(d) for d in differences if d.fatal]
    unknown = [name for name in IMAGES if name in now.data and name not in before.data]
    if unknown:
        log.warning(
            "--resume: %s does not say which image files its caches were made from; whether they are the "
            "same is not known",
            out,
        )
    # Of threads and processes lines of their own tell (training/threads.py).
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
    for difference in differences:
        log.warning("--resume: since the run was started, %s", difference)


def changed_settings(before: RunConfig, now: RunConfig) -> str:
    """Which settings had another value, and which; "" for none."""
    old, new = before.to_mapping(), now.to_mapping()
    changed = [
        f"{section}.{name} was {old[section].get(name)}, is {value}"
        for section in new
        for name, value in new[section].items()
        if old[section].get(name) != value
    ]
    return "; ".join(changed)
