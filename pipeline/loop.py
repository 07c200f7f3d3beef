"""The training loop. One loop, whatever the pyramid's source.

The state after a step depends on the step's number alone: order and views come from (seed, epoch),
random draws from (seed, step), the learning rate from the step. So a resumed run is the same run.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from ..cache.errors import FdetError
from ..cache.sampler import SampleId, epoch_batches
from ..heads.detector import Detector
from . import metrics_log
from .config import RunConfig
from .curve import draw_curve
from .data import Data
from .devices import peak_memory_mb
from .evaluate import Metrics, coco_metrics, detect
from .progress import ProgressLine, progress_line
from .run import Position, save_state, save_weights
from .schedule import lr_factor
from .sources import Batch

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """metrics: of the last evaluation; best_ap: of the best. waiting: share of time without data.
    skipped: samples left out as damaged.
    """

    out: Path
    steps: int
    seconds: float
    waiting: float
    skipped: int
    best_ap: float | None
    best_epoch: int
    metrics: Metrics | None


@dataclass
class Loop:
    """The state of training between two steps; `run` goes on from there to the end."""

    config: RunConfig
    out: Path
    device: torch.device
    data: Data
    val: Data | None
    detector: Detector
    optimiser: torch.optim.Optimizer
    position: Position
    metrics: Metrics | None = None
    started: float = field(default_factory=time.monotonic)
    waited: float = 0.0

    def run(self) -> TrainSummary:
        """Steps, evaluations and checkpoints to the end; Ctrl-C saves first, then raises."""
        steps_per_epoch = len(self._batches(0))
        total = steps_per_epoch * self.config.train.epochs
        with (
            interruptible() as interrupted,
            progress_line("train", total, self.position.step) as progress,
        ):
            while self.position.step < total or self.position.to_evaluate:
                if not self.position.to_evaluate:
                    epoch, done = divmod(self.position.step, steps_per_epoch)
                    self._epoch(epoch, done, total, progress, interrupted)
                    ended = self.position.step % steps_per_epoch == 0
                    self.position = replace(self.position, to_evaluate=ended and self._due(epoch))
                    self._save()
                if self.val is not None and self.position.to_evaluate and not interrupted:
                    with progress.paused():
                        self._evaluate(self.val, self.position.step // steps_per_epoch)
                    self._save()
                if interrupted and (self.position.step < total or self.position.to_evaluate):
                    raise KeyboardInterrupt
        if not self.position.finished:
            self.position = replace(self.position, finished=True)
            if self.val is None:
                about = {"epoch": self.config.train.epochs}
                save_weights(self.out / "best.safetensors", self.detector, about)
            self._save()
            draw_curve(metrics_log.read(self.out), self.out / "curve.png")
        seconds, skipped = time.monotonic() - self.started, self.data.source.skipped
        if skipped:
            log.warning(
                "%d samples of %s are damaged and were left out; `fdet cache verify` names them",
                skipped,
                self.data.name,
            )
        return TrainSummary(
            out=self.out,
            steps=total,
            seconds=seconds,
            waiting=self.waited / seconds,
            skipped=skipped,
            best_ap=self.position.best_ap,
            best_epoch=self.position.best_epoch,
            metrics=self.metrics,
        )

    def _batches(self, epoch: int) -> list[list[SampleId]]:
        settings = self.config.train
        layout, image_ids = self.data.header.layout, self.data.image_ids
        return epoch_batches(
            layout,
            image_ids,
            settings.batch_size,
            settings.seed,
            epoch,
            settings.shuffle_shards,
        )

    def _epoch(
        self,
        epoch: int,
        done: int,
        total: int,
        progress: ProgressLine,
        interrupted: Sequence[bool],
    ) -> None:
        """Steps until the epoch ends or someone interrupts."""
        self.detector.train()
        samples = self._batches(epoch)[done:]
        batches = self.data.batches(samples, self.device, self.config.train.min_visible)
        meter, trained = _Meter(), 0
        for batch in meter.timed(batches):
            trained += len(batch.image_ids)
            if batch.image_ids:
                meter.add(self._step(batch, total), len(batch.image_ids))
            else:  # all of it was damaged and skipped: the step is only counted
                self.position = replace(self.position, step=self.position.step + 1)
            step = self.position.step
            if meter.steps and (step % LOG_EVERY_STEPS == 0 or step == total or interrupted):
                self._log(epoch, meter, progress)
            progress.advance()
            if interrupted:
                break
        if not trained and done == 0 and not interrupted:
            raise FdetError(
                f"{self.data.name}: every sample of epoch {epoch + 1} is damaged; `fdet cache verify` "
                "names them"
            )
        if meter.steps:
            self._log(epoch, meter, progress)

    def _step(self, batch: Batch, total: int) -> dict[str, Tensor]:
        step, settings = self.position.step, self.config
        for group in self.optimiser.param_groups:
            group["lr"] = settings.optim.lr * lr_factor(settings.schedule, step, total)
        torch.manual_seed(settings.train.seed * 1_000_003 + step)
        losses = self.detector.losses(batch.pyramid, batch.placements, batch.targets)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        if settings.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.detector.parameters(), settings.train.clip_norm)
        self.optimiser.step()
        self.position = replace(self.position, step=step + 1)
        return {name: loss.detach() for name, loss in losses.items()}

    def _log(self, epoch: int, meter: _Meter, progress: ProgressLine) -> None:
        losses, rate, waiting = meter.read()
        self.waited += meter.waited
        total = sum(losses.values())
        if not total < float("inf"):
            raise FdetError(
                f"the loss is {total} at step {self.position.step} ({losses}); lower optim.lr or "
                "train.clip_norm; the last checkpoint is kept"
            )
        memory = peak_memory_mb(self.device)
        metrics_log.append(
            self.out,
            kind="train",
            step=self.position.step,
            epoch=epoch + 1,
            lr=self.optimiser.param_groups[0]["lr"],
            loss=total,
            losses=losses,
            images_per_second=round(rate, 2),
            waiting=round(waiting, 4),
            peak_memory_mb=round(memory),
            **({"skipped": self.data.source.skipped} if self.data.source.skipped else {}),
        )
        progress.note(
            f"epoch {epoch + 1}, loss {total:.3f}, {rate:.1f} images/s, waiting {waiting:.0%}, "
            f"{memory:.0f} MB"
        )
        meter.reset()

    def _due(self, epoch: int) -> bool:
        """Whether an evaluation follows this epoch (counted from 0)."""
        settings = self.config.train
        last = epoch + 1 == settings.epochs
        return self.val is not None and (last or (epoch + 1) % settings.eval_every == 0)

    def _evaluate(self, val: Data, epoch: int) -> None:
        """After `epoch` epochs; the position then says that it is done."""
        batch_size = self.config.train.batch_size
        found = detect(self.detector, val.source, val.header.layout, val.image_ids, batch_size)
        self.metrics = coco_metrics(val.annotations, found)
        step, ap, best = self.position.step, self.metrics.ap, self.position.best_ap
        metrics_log.append(
            self.out, kind="eval", step=step, epoch=epoch, metrics=self.metrics.to_json()
        )
        log.info("epoch %d: AP %s, AP50 %s", epoch, _shown(ap), _shown(self.metrics.ap50))
        self.position = replace(self.position, to_evaluate=False)
        if best is None or (ap or 0.0) > best:
            self.position = replace(self.position, best_ap=ap or 0.0, best_epoch=epoch)
            save_weights(self.out / "best.safetensors", self.detector, {"epoch": epoch, "ap": ap})

    def _save(self) -> None:
        save_state(self.out / "last.safetensors", self.detector, self.optimiser, self.position)


class _Meter:
    """Sums between two lines of the log."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.losses: dict[str, list[Tensor]] = defaultdict(list)
        self.steps = self.images = 0
        self.waited = 0.0
        self.since = time.monotonic()

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, with the time that each is waited for."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        for name, loss in losses.items():
            self.losses[name].append(loss)
        self.steps += 1
        self.images += images

    def read(self) -> tuple[dict[str, float], float, float]:
        """Mean losses, images a second, share of time spent waiting."""
        seconds = max(time.monotonic() - self.since, 1e-9)
        means = {name: float(torch.stack(v).mean()) for name, v in self.losses.items()}
        return means, self.images / seconds, self.waited / seconds


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """A list that becomes true at the first Ctrl-C, so that a step is never torn; the second one raises."""
    asked: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: nobody's Ctrl-C arrives here
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
