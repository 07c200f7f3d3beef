"""From runs to a report and its page. What can be refused is refused before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from ...runs.finding import find_runs
from .checks import check_report
from .gallery import Gallery, choose_of_cache, choose_of_files, gallery_of_cache, gallery_of_files
from .page import page
from .records import read_records
from .report import Report, make_report
from .scores import with_errors


def assemble(
    paths: Sequence[Path],
    out: Path | None = None,
    val: Path | None = None,
    images: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Report:
    """Return the report on the runs in some folders, after making the evaluations that are missing.

    out: the file that a page is to go to, if any. val, images: the options of `fdet report`. Raises
    InputError, CorruptCache.
    """
    check_report(paths, out, val, images, device, threads)
    _check_images(out, val, images)
    records = with_errors(read_records(find_runs(paths)), val, images, device, threads)
    report = make_report(records, [] if val is None else [val])
    if out is None or images is None:
        return report
    return replace(report, gallery=_gallery(report, val, images, device, threads))


def _check_images(out: Path | None, val: Path | None, images: Path | None) -> None:
    """Raise InputError where the gallery's images cannot be chosen."""
    if out is not None and images is not None:
        if val is not None:
            choose_of_cache(val, images)
        else:
            choose_of_files(images, quiet=True)


def _gallery(
    report: Report, val: Path | None, images: Path, device: str, threads: int | None
) -> Gallery:
    if val is None:
        return gallery_of_files(report.best_runs, images, device, threads)
    return gallery_of_cache(report.best_runs, val, images)


def write_page(report: Report, path: Path) -> None:
    """Publish the page in place of any older one. Raises StorageError."""
    publish_bytes(path, page(report).encode(), existing="replace")
