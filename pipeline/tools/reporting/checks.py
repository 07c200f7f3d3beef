"""The runs in the folders of a report, and what can be refused of it before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....cache.errors import InputError
from ....cache.format.header import read_key
from ...command import check_folder
from ...machines.choices import check_device, check_threads
from ...runs.finding import find_runs


def check_report(
    paths: Sequence[Path],
    out: Path | None,
    val: Path | None,
    images: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Raise InputError for what is wrong with the options, and for paths that are not there.

    The parameters are those of `assemble`.
    """
    check_device(device)
    check_threads(threads)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"--out {out}: expected a file in a folder that exists")
    if val is not None:
        read_key(val)
    check_folder("--images", images)
    if images is not None and out is None and val is None:
        raise InputError("--images is for the page or for --val: give --out FILE, or leave it out")
    find_runs(paths, quiet=True)
