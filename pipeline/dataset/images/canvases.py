"""The rendering of image files to canvases, in worker processes that do not import torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....cache.errors import FdetError
from ....cache.key import CacheKey
from ....cache.layout import ImageEntry
from ....cache.placement import Placement
from .decoding import ImageError, draw_canvas, load_image
from .views import ResizeRule, View, place, view_from_name


@dataclass(frozen=True, slots=True)
class CanvasRecipe:
    """Everything that determines how an image becomes its canvases.

    bits: how many bits deep pixels have, as in `CacheKey`.
    """

    folder: Path
    rule: ResizeRule
    views: tuple[View, ...]
    seed: int
    bits: int = 0

    def place(self, image: ImageEntry, view: int) -> Placement:
        return place(
            image.hw,
            self.rule,
            self.views[view],
            seed=self.seed,
            image_id=image.id,
            view_index=view,
        )


def recipe_of(key: CacheKey, images: Path) -> CanvasRecipe:
    """Return the recipe for the canvases of a cache."""
    rule = ResizeRule(key.short, key.long, key.square, key.divisor)
    return CanvasRecipe(images, rule, tuple(map(view_from_name, key.views)), key.seed, key.bits)


@dataclass(frozen=True, slots=True)
class Canvases:
    """The canvases of one image, (V, H, W, 3) uint8, or the reason why there are none."""

    image: ImageEntry
    placements: tuple[Placement, ...]
    pixels: npt.NDArray[np.uint8] | None
    sha256: str
    failure: str = ""


def render(recipe: CanvasRecipe, image: ImageEntry, views: tuple[int, ...]) -> Canvases:
    """Render some views of one image; a file that cannot be read is noted as a failure, not raised."""
    placements = tuple(recipe.place(image, view) for view in views)
    try:
        upright, sha256 = load_image(recipe.folder / image.file_name, image.hw, recipe.bits)
        pixels = np.stack([draw_canvas(upright, placement) for placement in placements])
    except ImageError as error:
        return Canvases(image, placements, None, "", str(error))
    return Canvases(image, placements, pixels, sha256)


Job = tuple[ImageEntry, tuple[int, ...]]


def rendered(
    recipe: CanvasRecipe, jobs: Iterable[Job], workers: int
) -> Generator[Canvases, None, None]:
    """Yield `render` of every job in order; about four jobs per worker are pending at once."""
    if workers == 0:
        for image, views in jobs:
            yield render(recipe, image, views)
        return
    context = multiprocessing.get_context("forkserver")
    # Training starts new workers in every epoch; with a preload the modules are imported only once.
    context.set_forkserver_preload(["__main__", __name__])
    pending: deque[Future[Canvases]] = deque()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        for image, views in jobs:
            pending.append(pool.submit(render, recipe, image, views))
            if len(pending) > 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except (BrokenProcessPool, EOFError, ConnectionError) as error:
        raise FdetError(
            "a decoding process, or the one that starts them, died: out of memory (run the same command "
            "again with fewer --workers; what was finished is kept), or a script without `if __name__ == "
            "'__main__':`"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ignore Ctrl-C, which reaches the whole process group, since the parent alone decides what to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """End this process with its parent: the workers of a killed parent would otherwise wait for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
