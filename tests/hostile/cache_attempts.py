"""What is tried on every hostile cache: all that fdet does with one that somebody sent."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import islice, product
from pathlib import Path

import numpy as np

from fdet.cache.diff import differences
from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, MissingSample
from fdet.cache.format.annotation_copy import read_annotations
from fdet.cache.format.header import CacheHeader
from fdet.cache.info import describe
from fdet.cache.placement import Placement
from fdet.cache.reader import FeatureCache
from fdet.cache.verify import verify
from fdet.pipeline.dataset.check import check_images
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.tools.upkeep.rm import remove_cache, remove_damaged, remove_scratch_files

from ..cache.handmade import ANNOTATIONS, entry_of, make_cache, make_header, maps_of
from .case import Thunk, good_of

Read = Callable[[FeatureCache, int, int], None]

REFUSALS = (CorruptCache, IncompleteCache, InputError, MissingSample)
SAMPLES = 6
GOOD_HEADER = make_header()


def make_good(folder: Path) -> None:
    """zarr.fdet and hdf5.fdet, in which one image has failed."""
    folder.mkdir()
    for store in ("zarr", "hdf5"):
        make_cache(folder / f"{store}.fdet", make_header(store=store), failed={17})


def roots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.fdet"))


def cache_attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Open, read, verify and tell of each cache below the folder; what is read must be exact."""
    yield from _attempts(folder, read_exactly)


def foreign_attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """The same where the forger may say what the values are; they must still be of use."""
    yield from _attempts(folder, read_usefully)


def _attempts(folder: Path, read: Read) -> Iterator[tuple[str, Thunk]]:
    for root in roots(folder):
        for name, call in _looks(root, good_of(folder) / "zarr.fdet", read):
            yield f"{name} {root.name}", call


def with_removal(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """All that, and then delete them."""
    yield from cache_attempts(folder)
    for root in roots(folder):
        yield f"rm --leftovers {root.name}", partial(remove_scratch_files, root)
        yield f"rm --damaged {root.name}", partial(remove_damaged, root)
        yield f"rm {root.name}", partial(remove_cache, root)


def _looks(root: Path, good: Path, read: Read) -> Iterator[tuple[str, Thunk]]:
    yield "open", lambda: FeatureCache.open(root)
    with suppress(Exception):  # told of by the attempt above
        yield from _readings(FeatureCache.open(root), read)
    yield "verify", lambda: verify_all(root)
    yield "info", lambda: _printable(map(str, describe(root).values()))
    yield "annotations", lambda: _annotations(root)
    yield "recipe", lambda: _recipe(root)
    yield "diff", lambda: _printable(differences(root, good))
    yield "diff back", lambda: _printable(differences(good, root))


def _readings(opened: FeatureCache, read: Read) -> Iterator[tuple[str, Thunk]]:
    yield "failed", lambda: _failures(opened)
    views = range(min(len(opened.views), SAMPLES))
    for image, view in islice(product(opened.header.layout.images, views), SAMPLES):
        yield f"read {image.id!r:.20} {view} of", partial(read, opened, image.id, view)
        yield f"frames {image.id!r:.20} {view} of", partial(opened.stored, image.id, view)


def _failures(cache: FeatureCache) -> None:
    failed = cache.failed
    assert set(failed) <= {image.id for image in cache.header.layout.images}
    assert len(cache.image_ids) == len(cache.header.layout.images) - len(failed)


def read_exactly(cache: FeatureCache, image_id: int, view: int) -> None:
    """The value that was written, or an error."""
    sample = cache.sample(image_id, view)
    maps, placement = _written()[image_id, view]
    for x, expected in zip(sample.stored, maps, strict=True):
        assert (x.dtype, x.shape) == (expected.dtype, expected.shape), f"{x.dtype} {x.shape}"
        assert x.tobytes() == expected.tobytes(), "a wrong value"
    assert sample.placement == placement, f"{sample.placement}"


def read_usefully(cache: FeatureCache, image_id: int, view: int) -> None:
    """Maps of the stored form that the header names, and a placement that can be reckoned with."""
    sample = cache.sample(image_id, view)
    place, hw = sample.placement, cache.header.layout.image(image_id).hw
    assert np.isfinite([*place.scale, *place.shift]).all() and min(place.scale) > 0, f"{place}"
    assert place.image_hw == hw, f"{place}"
    for x, level in zip(sample.stored, cache.header.key.levels.levels, strict=True):
        assert x.shape == cache.header.form.shape(level.shape(place.canvas_hw))
        assert x.dtype == cache.header.dtype


@cache
def _written() -> dict[tuple[int, int], tuple[list[np.ndarray], Placement]]:
    """What make_good has written, by sample."""
    samples = product((image.id for image in GOOD_HEADER.layout.images), (0, 1))
    return {
        sample: (maps_of(GOOD_HEADER, *sample), entry_of(GOOD_HEADER, *sample).placement)
        for sample in samples
    }


def verify_all(root: Path) -> None:
    """Raises CorruptCache where the report is not of a whole and sound cache."""
    result = verify(root)
    lines = [*map(str, result.damages), *result.leftovers]
    _printable(lines)
    assert max(map(len, lines), default=0) < 2000, f"a line of {max(map(len, lines))} characters"
    if not result.sound:
        raise CorruptCache(f"{root}: {result.damages[:1]}, {result.missing} missing")


def _annotations(root: Path) -> None:
    assert read_annotations(root, CacheHeader.read(root)) == ANNOTATIONS


def _recipe(root: Path) -> None:
    """How other images would become canvases for a head that was trained on this cache."""
    header = CacheHeader.read(root)
    try:
        recipe = recipe_of(header.key, root)
    except InputError as error:  # it knows of no cache
        raise InputError(f"{root}: {error}") from error
    for image in islice(header.layout.images, SAMPLES):
        place = recipe.place(image, 0)
        assert np.isfinite([*place.scale, *place.shift]).all(), f"{place}"


def online_attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Training with the backbone in the loop: the cache says which files of `images` are read."""
    for root in roots(folder):
        yield f"images of {root.name}", partial(_rendered, root, folder / "images")


def _rendered(root: Path, images: Path) -> None:
    header = CacheHeader.read(root)
    check_images(images, header.layout.images)
    for image in header.layout.images:
        canvases = render(recipe_of(header.key, images), image, (0,))
        if canvases.pixels is None:
            raise InputError(f"{images}: {canvases.failure}")


def _printable(lines: Iterable[str]) -> None:
    """What a command prints; a terminal must not be told to do anything."""
    for line in lines:
        assert line.isprintable(), f"not printable: {line[:200]!a}"
