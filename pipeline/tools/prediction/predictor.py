"""`fdet.load`: the detector of a run as a function of images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ....cache.errors import FdetError, InputError
from ....heads.family import Suppression
from ...dataset.images.decoding import ImageError, load_image, open_photograph
from ...dataset.images.photographs import Photograph
from ...dataset.images.pixels import Stored, to_rgb
from ...dataset.tiling import MAX_OVERLAP, Tiling
from ...dataset.tiling_option import NONE, check_tiles
from ...exported.opening import detector_thresholds
from ...runs.threshold_option import AUTO, Auto, check_threshold
from ...runs.thresholds import Thresholds
from ...zoo.option import run_place
from .checks import check_detector, tiling_for

if TYPE_CHECKING:
    from ....heads.types import Detections
    from ...exported.detector import ExportedDetector
    from .finder import Finder

OneImage = str | os.PathLike[str] | Image.Image
# The parameters of `load` that are not called as the options of the command line are.
_PARAMETERS = {"with-weights": "second_weights"}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The objects found in one image, best first.

    boxes: (N, 4) float32, xyxy in px of the upright image. scores: (N,) float32. labels: (N,) int64, the
    positions of the classes in `Predictor.class_names`. class_names: the class of each object. hw: the size
    of the image in px. masks: (N, S, S) float32, a grid over each box; None where the head finds no masks.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    hw: tuple[int, int]
    masks: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Prediction:
        """Return the objects that reach a score."""
        return self._only(self.scores >= score)

    def reaching(self, thresholds: Thresholds) -> Prediction:
        """Return the objects that reach the thresholds of their classes."""
        return self._only(thresholds.reached(self.scores.astype(np.float64), self.labels))

    def _only(self, kept: npt.NDArray[np.bool_]) -> Prediction:
        names = zip(self.class_names, kept.tolist(), strict=True)
        return replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            labels=self.labels[kept],
            class_names=tuple(name for name, is_kept in names if is_kept),
            masks=None if self.masks is None else self.masks[kept],
        )


@dataclass(frozen=True, slots=True)
class Predictor:
    """A detector that is loaded. Call it with a path, an image of PIL, or a list of these.

    thresholds: the lowest score of the objects of each class that it returns. tiling: the tiles in which it
    looks at larger images, None for whole images.
    """

    finder: Finder | ExportedDetector
    thresholds: Thresholds
    tiling: Tiling | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return tuple(self.finder.known.class_names)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The ids that the classes have in the training data, by label."""
        return tuple(self.finder.known.class_ids)

    @overload  # a text is a sequence of texts too
    def __call__(self, images: OneImage) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[OneImage]) -> list[Prediction]: ...

    def __call__(self, images: OneImage | Sequence[OneImage]) -> Prediction | list[Prediction]:
        """Return what is found in an image, or in each image of a list.

        A file, and an image of PIL, is turned upright as its EXIF says. Raises InputError for a file that
        cannot be read, FeatureError for features that cannot be stored.
        """
        if isinstance(images, str | os.PathLike | Image.Image):
            return self._one(images)
        if not isinstance(images, Sequence):
            raise InputError(
                f"expected a path, an image of PIL, or a list of these, got {type(images).__name__}"
            )
        return [self._one(image) for image in images]

    def _one(self, given: OneImage) -> Prediction:
        from ...evaluation.merging import found_in_tiles

        known = self.finder.known
        with as_python():
            photograph = _photograph(given, known.key.bits, tiled=self.tiling is not None)
            agnostic = known.config.head.suppression == "agnostic"
            found = found_in_tiles(photograph, self.tiling, self.finder.find, agnostic=agnostic)
        return _prediction(found, self.class_names, photograph.hw).reaching(self.thresholds)


def load(
    run: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    device: str = "auto",
    threshold: float | Auto = AUTO,
    weights: str | None = None,
    second_weights: str | None = None,
    nms: Suppression | None = None,
    tiles: int | Literal["none"] | None = None,
    overlap: float | None = None,
    whole: bool = False,
) -> Predictor:
    """Load the detector of a run, to be called with images: `fdet.load("runs/a")("photo.jpg")`.

    run: a run directory, or an entry of a zoo, "zoo:NAME". checkpoint: "best" or "last". device: "auto",
    "cpu", "cuda" or "cuda:1". threshold: the lowest score of the objects that are returned, 0 for all; "auto"
    for the best of each class by the run's evaluation, 0.3 where it has none. weights, second_weights: the
    weights files of the backbones, where extraction was given some. nms: "class" or "agnostic", in place of
    the run's head.nms. tiles: the side of the tiles, px, in which larger images are looked at, "none" for
    whole images; by default as in the run's training. overlap: the least share that neighbours have in
    common, 0.2 if not given. whole: whether the whole image is looked at too. torch's number of threads
    stays as it is.

    Raises InputError, CorruptCache, KeyMismatch.
    """
    with as_python():
        if checkpoint not in ("best", "last"):
            raise InputError(f"checkpoint {checkpoint!r}: expected 'best' or 'last'")
        check_threshold("threshold", threshold)
        check_tiles(tiles, overlap, whole, NONE)
        if overlap is not None and not 0 <= overlap <= MAX_OVERLAP:
            raise InputError(f"overlap: expected 0 to {MAX_OVERLAP}, got {overlap}")
        folder = run_place(os.fspath(run))
        info = check_detector(folder, checkpoint, device, weights, second_weights, nms=nms)
        from .finder import load_finder

        finder = load_finder(
            folder,
            info,
            checkpoint=checkpoint,
            device=device,
            weights=weights,
            second_weights=second_weights,
        )
        thresholds = detector_thresholds(folder, info, checkpoint, threshold)
    return Predictor(finder, thresholds, tiling_for(info, tiles, overlap, whole))


@contextmanager
def as_python() -> Iterator[None]:
    """Let the errors of a block name the parameters of `load` where they name options."""
    try:
        yield
    except FdetError as error:
        error.args = (re.sub(r"--([a-z][a-z-]*)", _parameter, str(error)),)
        raise


def _parameter(option: re.Match[str]) -> str:
    return _PARAMETERS.get(option[1], option[1].replace("-", "_"))


def _photograph(given: OneImage, bits: int, *, tiled: bool) -> Photograph:
    """Return an image as a photograph; of a file, only windows may be in memory. Raises InputError."""
    if not tiled or isinstance(given, Image.Image):
        return Photograph.of(_upright(given, bits))
    try:
        return open_photograph(Path(given), bits)
    except ImageError as error:
        raise InputError(f"{given}: {error}") from error


def _upright(given: OneImage, bits: int) -> Image.Image:
    """Return an image as upright RGB. Raises InputError."""
    try:
        if not isinstance(given, Image.Image):
            return load_image(Path(given), None, bits)[0]
        stored = Stored.of(given)
        return to_rgb(given if stored.deep else ImageOps.exif_transpose(given), stored, b"", bits)
    except ImageError as error:
        raise InputError(f"{given}: {error}") from error
    except (ValueError, OSError) as error:  # Its 16-bit colours can be read from its file only.
        raise InputError(f"the image: {error}; give the path of its file") from error


def _prediction(found: Detections, class_names: Sequence[str], hw: tuple[int, int]) -> Prediction:
    labels = found.labels.numpy()
    return Prediction(
        found.boxes.float().numpy(),
        found.scores.float().numpy(),
        labels,
        tuple(class_names[label] for label in labels.tolist()),
        hw,
        None if found.masks is None else found.masks.float().numpy(),
    )
