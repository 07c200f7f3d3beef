"""What is converted or copied of a cache, and what can be refused of it before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ....cache.codecs.form import StoredForm, get_form, parse_form
from ....cache.errors import InputError, did_you_mean
from ....cache.format.header import read_key
from ....cache.pyramid import PyramidSpec
from ....cache.stores import STORES
from ...dataset.presence import check_data
from ...extraction.checks import check_out, refuse_unused
from ...extraction.options import CALIBRATION_IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The form that a cache is converted to.

    store, codec: the new ones, None to keep those of the source. calibration: a cache whose scales a new
    codec takes; without it they are learnt from `calibration_images` images of the source.
    """

    store: str | None = None
    codec: str | None = None
    calibration: Path | None = None
    calibration_images: int = CALIBRATION_IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a cache that is copied.

    levels: the names of its levels. images_from: an annotation file with its images, which the copy then
    carries. limit: the number of images, of which the first are copied. None stands for all.
    """

    levels: tuple[str, ...] | None = None
    images_from: Path | None = None
    limit: int | None = None


def check_conversion(cache: Path, out: Path, wanted: Conversion) -> None:
    """Raise InputError where a cache is not there, or cannot be converted as it is wanted."""
    wanted_form(cache, parse_form(read_key(cache).codec), wanted)
    if wanted.calibration is not None:
        read_key(wanted.calibration)
    check_out(out)


def check_copy(cache: Path, out: Path, part: Part) -> None:
    """Raise InputError where a cache is not there, or the part is not one of its parts."""
    copied_levels(read_key(cache).levels, part)
    check_data(part.images_from)
    check_out(out)


def wanted_form(root: Path, current: StoredForm, wanted: Conversion) -> StoredForm:
    """Return the wanted stored form. Raises InputError where it cannot be made from the cache below `root`.

    current: the stored form of that cache.
    """
    if wanted.store is None and wanted.codec is None:
        raise InputError("nothing to convert: give --store, --codec or both")
    if wanted.store is not None and wanted.store not in STORES:
        raise InputError(f"--store {wanted.store!r}{did_you_mean(wanted.store, STORES)}")
    if wanted.calibration_images < 1:
        raise InputError(
            f"--calibration-images: expected at least 1, got {wanted.calibration_images}"
        )
    form = current if wanted.codec is None else get_form(wanted.codec)
    if form != current and not form.coarser_than(current):
        raise InputError(
            f"--codec {form.name}: {root} has {current.name}, whose losses cannot be undone; "
            "extract again instead"
        )
    refuse_unused(form, wanted.calibration)
    if form == current and wanted.calibration is not None:
        raise InputError(
            f"--calibration {wanted.calibration}: {root} is {current.name} already, and its codes "
            "stay as they are; leave it out"
        )
    return form


def copied_levels(spec: PyramidSpec, part: Part) -> PyramidSpec:
    """Return the levels that are copied. Raises InputError for one that is not there, or an empty copy."""
    if part.limit is not None and part.limit < 1:
        raise InputError(f"--limit: expected at least 1, got {part.limit}")
    try:
        return spec if part.levels is None else spec.only(part.levels)
    except ValueError as error:
        raise InputError(f"--levels: {error}") from error
