"""The proof that an exported file finds what `fdet predict` finds, on images of the user.

The file is run by the program that was written beside it, so the proof covers how it reads, resizes, pads and
normalises an image too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ....cache.codecs.form import get_form
from ....heads.types import Detections
from ...backbones.adapted import AdaptedBackbone
from ...backbones.frozen import FrozenBackbone
from ...backbones.paired import PairedBackbone
from ...evaluation.coco import coco_metrics
from ...evaluation.detecting import detect_image
from ...exported.description import Description
from ...exported.detector import ExportedDetector
from ...exported.runtimes import open_session
from ...machines.progress import progress_line
from ...runs.info import RunInfo
from .agreement import Agreement, agreement
from .latency import Latency, latency, torch_threads
from .loading import load
from .options import ExportOptions
from .sampling import Sample, samples_of

Find = Callable[[Sample], Detections]
# The least share of detections that are the same where the codec of the run rounds to integers, and to floats
# of 16 bits. A value next to the edge between two codes may fall to either side, as sums are taken in another
# order, and changes the detections around it; a wrong input changes all of them.
INTEGERS_SHARE, HALVES_SHARE = 0.5, 0.95
# The most that AP may lose: in float16, and where a codec rounds; in 8 bits, as a share.
AP_LOSS, AP_SHARE = 0.001, 0.996


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of a file. model: its name. precision: fp32, fp16 or int8. images: their number.

    least: the share of the detections that must be the same. predicted: the AP of `fdet predict`, as the run
    computes. expected: that of the run in float32 on the file's canvas. found: that of the file; None
    without objects. times: the latency of run and file by number of threads, 0 for all.
    """

    model: str
    precision: str
    images: int
    least: float
    agreement: Agreement
    predicted: float | None
    expected: float | None
    found: float | None
    times: dict[int, tuple[Latency, Latency]]

    @property
    def failures(self) -> list[str]:
        """Return what the file does not keep; [] for a file that finds the same."""
        if self.precision == "int8":
            return self._less(lambda ap: AP_SHARE * ap, f"{AP_SHARE:.1%} of the AP of the run")
        if self.precision == "fp16":
            return self._less(lambda ap: ap - AP_LOSS, f"the AP of the run, less {100 * AP_LOSS:g}")
        failed = self._less(lambda ap: ap - AP_LOSS, f"the AP of the run, less {100 * AP_LOSS:g}")
        if self.agreement.share < self.least:
            failed.insert(
                0,
                f"{self.agreement.share:.1%} of the detections are the same, expected {self.least:.0%}",
            )
        return failed

    def _less(self, limit: Callable[[float], float], what: str) -> list[str]:
        if self.expected is None or self.found is None or self.found >= limit(self.expected):
            return []
        return [f"AP {100 * self.found:.1f}, expected at least {what}, {100 * self.expected:.1f}"]


def _least_share(info: RunInfo) -> float:
    """Return the share of detections that a file in float32 must have in common with its run."""
    form = get_form(info.key.codec)
    if info.own_backbone or form.numbers.name == "fp32":
        return 1.0
    return INTEGERS_SHARE if form.clips else HALVES_SHARE


def prove(
    run: Path, model: Path, program: Path | None, description: Description, options: ExportOptions
) -> Proof:
    """Compare a file with its run on images of a cache. program: infer.py; None where fdet runs the file.

    Raises InputError, CorruptCache.
    """
    assert options.check is not None
    assert options.images is not None
    info = description.info
    samples = samples_of(options.check, options.images, options.check_images, info)
    detector = ExportedDetector(description, open_session(model))
    exact = Reference(run, info, detector, options)
    file = _by_fdet(detector) if program is None else _by_program(program, info.key.bits)
    expected = _found(exact.find, samples.images, "fdet predict")
    found = _found(file, samples.images, model.name)
    predicted = expected
    if info.config.train.precision != "fp32" or not exact.own_canvas:
        predicted = _found(exact.predict, samples.images, "as the run computes")
    chosen = description.selection

    def ap(of: dict[int, Detections]) -> float | None:
        return coco_metrics(samples.annotations, of).ap

    return Proof(
        model.name,
        description.precision,
        len(samples.images),
        _least_share(info),
        agreement(
            [(expected[k], found[k]) for k in expected], chosen.threshold, chosen.limit, chosen.iou
        ),
        ap(predicted),
        ap(expected),
        ap(found),
        _times(exact, model, detector, samples.images[0]),
    )


class Reference:
    """The run itself, in float32 and on the canvas of the file, and as `fdet predict` computes it."""

    def __init__(
        self, run: Path, info: RunInfo, detector: ExportedDetector, options: ExportOptions
    ) -> None:
        canvas_hw = detector.description.canvas_hw
        self.detector, self.backbone, self.codec = load(run, info, canvas_hw, options)
        self.info, self.place = info, detector.place
        self.exact = replace(
            info, config=replace(info.config, train=replace(info.config.train, precision="fp32"))
        )
        self.own_canvas = bool(info.key.square) and info.key.precision == "fp32"
        self._frozen = [part for part in _parts(self.backbone) if isinstance(part, FrozenBackbone)]

    def find(self, sample: Sample) -> Detections:
        """Return what the run finds in float32 on the canvas of the file, in image px."""
        return self.find_in(sample.load(self.info.key.bits))

    def find_in(self, image: Image.Image) -> Detections:
        """Return the same for an upright RGB image."""
        for part in self._frozen:
            part.precision = "fp32"
        return detect_image(
            image, self.exact, self.backbone, self.detector, self.codec, placement=self.place(image)
        )

    def predict(self, sample: Sample) -> Detections:
        """Return what `fdet predict` finds."""
        image = sample.load(self.info.key.bits)
        for part in self._frozen:
            part.precision = self.info.key.precision
        return detect_image(image, self.info, self.backbone, self.detector, self.codec)


def _parts(backbone: Any) -> list[Any]:
    if isinstance(backbone, PairedBackbone):
        return [backbone.first, backbone.second]
    return [backbone.frozen if isinstance(backbone, AdaptedBackbone) else backbone]


def _found(find: Find, samples: tuple[Sample, ...], title: str) -> dict[int, Detections]:
    found = {}
    with progress_line(title, len(samples)) as progress:
        for sample in samples:
            found[sample.image_id] = find(sample)
            progress.advance(unit="images/s")
    return found


def _by_fdet(detector: ExportedDetector) -> Find:
    return lambda sample: detector.find(sample.load(detector.known.key.bits))


def _by_program(path: Path, bits: int) -> Find:
    """Return the function of infer.py that finds objects in a file."""
    spec = importlib.util.spec_from_file_location("infer", path)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def find(sample: Sample) -> Detections:
        with sample.as_file(bits) as path:
            boxes, scores, labels = (np.array(x) for x in program.detect(path))
        return Detections(
            torch.from_numpy(boxes.astype(np.float32)),
            torch.from_numpy(scores.astype(np.float32)),
            torch.from_numpy(labels.astype(np.int64)),
        )

    return find


def _times(
    exact: Reference, model: Path, detector: ExportedDetector, sample: Sample
) -> dict[int, tuple[Latency, Latency]]:
    """Return the times of run and file for one image, with one thread and with all."""
    image = sample.load(exact.info.key.bits)
    times = {}
    for threads in (1, 0):
        with torch_threads(threads):
            file = replace(detector, session=open_session(model, threads))
            times[threads] = (
                latency(partial(exact.find_in, image)),
                latency(partial(file.find, image)),
            )
    return times
