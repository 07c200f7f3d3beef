"""What is known of a run when it is asked what to do next: its settings, its curve and its figures.

pipeline/runs/inspection.py reads the facts of a run directory. This module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..chance import fall, standard_error, trend

# With fewer evaluations nothing is said about the learning curve.
MIN_EVALUATIONS = 4
# With fewer, the best evaluations are not compared with the last ones.
MIN_FALL = 6
# The smallest change of AP that is worth a sentence.
WORTH_CHANGE = 0.01


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of one evaluation, 0 to 1; None where they are not known.

    images: the number of images. objects, sizes: the numbers of objects by class and by size (small, medium,
    large), {} where they are not known. per_class: AP by class. gains: what AP50 would gain without each kind
    of error, {} where the errors were not counted. reliability: the number, the mean score and the share of
    hits of the detections in each tenth of scores, the lowest first, () where they were not counted.
    duplicates: the number of finds, and of those that NMS over all classes would drop, wrong and right ones.
    """

    ap: float
    ap50: float | None = None
    ap75: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    images: int = 1
    objects: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)
    reliability: tuple[tuple[int, float, float], ...] = ()
    duplicates: tuple[int, int, int] | None = None

    @property
    def counted(self) -> int | None:
        """The number of objects, None where it is not known."""
        return sum(self.objects.values()) or None

    def error(self, share: float) -> float:
        """Return the standard error of an AP, or of a share of one, over these images."""
        return standard_error(share, self.images, self.counted)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a run.

    run: its folder, as commands name it. val: the options that name its validation data. finished: whether
    it came to its end. epochs: how many it was to have; done: how many it has done. curve: the epoch and AP
    of each evaluation. losses: each epoch's mean loss. diverged: the loss that was not finite, as text, and
    its step. scores: the evaluation of the best weights. training_ap: their AP on the training images, where
    it was measured. same_images: whether validation images were trained on.

    classes: the number of classes; rare: those that at most ten training images show. views: how many views
    of an image were trained on; cached_views: how many the cache has. size: the options of extraction that
    set the canvas, in px. finer: whether the cache has a level that is finer than the neck's first one. The
    other fields are settings of the run; warms_up: whether the schedule has schedule.warmup_steps.
    """

    run: str = "RUN"
    val: str = "--val CACHE"
    finished: bool = True
    epochs: int = 12
    done: int = 12
    curve: tuple[tuple[int, float], ...] = ()
    losses: tuple[tuple[int, float], ...] = ()
    diverged: tuple[str, int] | None = None
    scores: Scores | None = None
    training_ap: float | None = None
    same_images: bool = False
    classes: int = 1
    rare: tuple[str, ...] = ()
    views: int = 1
    cached_views: int = 1
    size: Mapping[str, int] = field(default_factory=dict)
    finer: bool = False
    head: str = ""
    min_level: int = 3
    nms_iou: float | None = 0.5
    eval_every: int = 1
    repeat_factor: float = 0.0
    lr: float = 1e-3
    clip_norm: float = 1.0
    warmup_steps: int = 100
    warms_up: bool = True

    @property
    def aps(self) -> list[float]:
        """The AP of each evaluation."""
        return [ap for _, ap in self.curve]

    @property
    def best(self) -> tuple[int, float]:
        """The epoch and AP of the best evaluation, (0, 0) where there is none."""
        return max(self.curve, key=lambda point: point[1], default=(0, 0.0))

    @property
    def later_half(self) -> int:
        """The number of evaluations in the later half of the curve, at least MIN_EVALUATIONS."""
        return max(MIN_EVALUATIONS, math.ceil(len(self.curve) / 2))

    @property
    def late_change(self) -> float:
        """The change of AP late in a finished training, 0 where that may be chance.

        It is the change of a line through the later half of the evaluations. A rise must go on after the
        middle of this half. As AP may fall early and then stay low, the best quarter is also compared with
        the last one. Each must be worth a sentence and more than the standard error of AP.
        """
        aps, count = self.aps, len(self.curve)
        if not self.finished or self.scores is None or count < MIN_EVALUATIONS:
            return 0.0
        least = max(WORTH_CHANGE, self.scores.error(max(aps)))
        half = aps[-self.later_half :]
        change = trend(half)
        if change >= least and aps[-1] - half[len(half) // 2] > change / 4:
            return change
        if count >= MIN_FALL:
            change = min(change, -fall(aps))
        return change if change <= -least else 0.0
