"""The training loop, which is the same for every source of the pyramid and any number of processes.

The state after a step depends on the step's number alone: order and views come from (seed, epoch),
random draws from (seed, step, image), the learning rate from the step. A resumed run is therefore the
same run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ...cache.errors import FdetError
from ...cache.sampler import SampleId, Sampler
from ...cache.wording import counted
from ...heads.types import Detections
from ..dataset.classes.long_tail import frequencies
from ..evaluation.coco import Metrics
from ..machines.devices import device_memory_mb, process_memory_mb
from ..machines.interrupt import interruptible
from ..machines.progress import ProgressLine, progress_line, shown_rate
from ..runs import metrics_log
from ..runs.checkpoint import save_state, save_weights
from ..runs.config import RunConfig, fixed
from ..runs.history import evaluation_after, read_history
from ..runs.names import shell_word
from ..runs.points import points
from ..runs.position import BEST, LAST, Position
from ..sources.data import Data
from ..sources.epochs import sampler_of
from ..watching.events import Event, Hook
from .curve import draw_curve
from .divergence import remedies
from .meter import Meter
from .opening import described_time
from .step import Samples, Stepper, parts_of
from .validation import evaluated

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
_CURVE = "curve.png"

# Micro-batches, as lists of samples.
Parts = list[list[SampleId]]


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """A summary of what a run has reached.

    metrics: the metrics of the last evaluation. best_ap, best_ap50: the AP of the best one. waiting: the
    share of time without data. skipped: the number of samples left out as damaged. begun: the steps that
    earlier commands have done; `seconds` and `waiting` are of the others.
    """

    out: Path
    steps: int
    seconds: float
    waiting: float
    skipped: int
    best_ap: float | None
    best_epoch: int
    metrics: Metrics | None
    best_ap50: float | None = None
    begun: int = 0


@dataclass
class Loop:
    """The state of training between two steps, from which `run` continues to the end.

    digest: the digest of the run.json that its files belong to.
    """

    config: RunConfig
    out: Path
    digest: str
    data: Data
    val: Data | None
    stepper: Stepper
    position: Position
    hooks: Sequence[Hook] = ()
    metrics: Metrics | None = None
    started: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    time_logged: bool = False
    figures: str = ""
    begun: int = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.position.step

    def run(self) -> TrainSummary:
        """Do all steps, evaluations and checkpoints to the end; Ctrl-C saves first, then raises."""
        shown = self.stepper.processes.first
        leaving = False
        with (
            interruptible() as stop_requests,
            progress_line("train", self.total, self.position.step, shown=shown) as progress,
        ):
            self._restore_files()
            while not self._over(self.total):
                if leaving:
                    raise KeyboardInterrupt
                if self.val is not None and self.position.to_evaluate:
                    with progress.paused():
                        self._evaluate(self.val, self._to_evaluate)
                    leaving = self._leaving(stop_requests)
                else:
                    leaving = self._epoch(progress, stop_requests)
                self._save()
            self._finish()
            return self._summary()

    def load(self, parts: Parts) -> Iterator[Samples]:
        """Load micro-batches from the run's source, reading ahead."""
        device, settings = self.stepper.processes.device, self.config.train
        return self.data.batches(parts, device, settings.min_visible)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of the run's batches."""
        return sampler_of(self.data, self.config.train)

    @cached_property
    def total(self) -> int:
        """The number of steps of the whole run."""
        return self.sampler.steps

    def _leaving(self, stop_requests: Sequence[float]) -> bool:
        """Return whether a stop is requested; all processes agree on it, so that none continues alone."""
        return self.stepper.processes.any(bool(stop_requests))

    def _over(self, total: int) -> bool:
        settings, position = self.config.train, self.position
        stopped = bool(settings.patience) and position.stale >= settings.patience
        return not position.to_evaluate and (position.step >= total or stopped)

    def _epoch(self, progress: ProgressLine, stop_requests: Sequence[float]) -> bool:
        """Do steps until the epoch ends or a stop is requested; return whether it is. `run` saves."""
        processes, settings = self.stepper.processes, self.config.train
        world, trained, leaving = processes.world, 0, False
        epoch = self.sampler.epoch_of(self.position.step)
        done = self.position.step - self.sampler.steps_before(epoch)
        batches = self.sampler.batches(epoch)[done:]
        owned = [parts_of(b, world.size, world.rank, settings.accumulate) for b in batches]
        parts = [part for parts in owned for part in parts]
        meter = Meter()
        progress.note(self._note(epoch))
        loaded = meter.timed(self.load(parts))
        self.stepper.model.train()
        for batch, own in zip(batches, owned, strict=True):
            step = self.position.step
            result = self.stepper.step(islice(loaded, len(own)), len(batch), step, self.total)
            meter.add(result)
            trained += result.moved
            ended = batch is batches[-1]
            self.position = replace(self.position, step=step + 1)
            due = self.val is not None and ended and self._to_evaluate > epoch
            self.position = replace(self.position, to_evaluate=due)
            progress.advance()
            leaving = self._leaving(stop_requests)
            stopping = leaving or ended
            if stopping or (step + 1) % LOG_EVERY_STEPS == 0:
                self._log(epoch, meter, progress)
                # Saved at a line of the log, so that the lines up to a checkpoint cover all its steps.
                if not stopping and time.monotonic() - self.saved > 60 * settings.save_minutes:
                    self._save()
            if leaving:
                break
        if not trained and done == 0 and not leaving:
            raise FdetError(
                f"{self.data.name}: every sample of epoch {epoch + 1} is damaged; `fdet cache verify` "
                "names them"
            )
        return leaving

    def _log(self, epoch: int, meter: Meter, progress: ProgressLine) -> None:
        """Log a line for the steps since the last one. Raises FdetError where the loss is not finite."""
        processes = self.stepper.processes
        losses, rate, waiting = meter.read(processes)
        seconds = meter.seconds
        self.waited += meter.waited
        if not self.time_logged and processes.first:
            self.time_logged = True
            left = (self.total - self.position.step) * seconds / max(1, meter.steps)
            log.info("%s", described_time(self.config, left))
        meter.reset()
        loss = sum(losses.values())
        finite = loss < float("inf")
        memory = device_memory_mb(processes.device)
        line: dict[str, Any] = {"epoch": epoch + 1}
        line["lr"] = self.stepper.rate(self.position.step - 1, self.total)
        if losses:
            line |= {"loss": loss, "losses": losses} if finite else {"diverged": str(loss)}
        line |= {"seconds": round(seconds, 4), "images_per_second": round(rate, 4)}
        line["waiting"] = round(waiting, 4)
        line["process_memory_mb"] = round(process_memory_mb())
        if memory is not None:
            line["device_memory_mb"] = round(memory)
        if skipped := self._skipped():
            line["skipped"] = skipped
        self._report(Event({"kind": "train", "step": self.position.step, **line}))
        if not finite:
            what_to_do = remedies(self.config, self.out, self.position)
            raise FdetError(
                f"the loss is {loss} at step {self.position.step} ({losses}); {what_to_do}"
            )
        self.figures = (
            f"loss {loss:.3f}, {shown_rate(rate, 'images/s')}, waiting {waiting:.0%}, "
            f"{memory or process_memory_mb():.0f} MB"
        )
        progress.note(self._note(epoch))

    def _note(self, epoch: int) -> str:
        """Return the text of the progress line in an epoch, counted from 0: the last figures are known."""
        which = f"epoch {epoch + 1}/{self.config.train.epochs}"
        return f"{which}, {self.figures}" if self.figures else which

    @property
    def _to_evaluate(self) -> int:
        """The last completed epoch, counted from 1, that an evaluation follows; 0 for none.

        Epochs without a step may lie between it and the last step.
        """
        settings, over = self.config.train, self.sampler.epoch_of(self.position.step)
        return over if over == settings.epochs else over - over % fixed(settings.eval_every)

    def _evaluate(self, val: Data, epoch: int) -> None:
        """Evaluate after `epoch` epochs, and note in the position that this is done."""
        with self._kept_weights():
            self.metrics, found = self.evaluated(val)
            ap, best = self.metrics.ap, self.position.best_ap
            self.position = replace(self.position, to_evaluate=False, stale=self.position.stale + 1)
            if best is None or (ap or 0.0) > best:
                self.position = replace(self.position, best_ap=ap or 0.0, best_epoch=epoch, stale=0)
                self._save_weights({"epoch": epoch, "ap": ap})
        log.info("epoch %d: AP %s, AP50 %s", epoch, points(ap), points(self.metrics.ap50))
        line = {"kind": "eval", "step": self.position.step, "epoch": epoch}
        self._report(Event({**line, "metrics": self.metrics.to_json()}, found))

    def evaluated(self, val: Data) -> tuple[Metrics, dict[int, Detections]]:
        """Evaluate the weights as they are; return their metrics and what they find."""
        groups = frequencies(self.data.truth)
        return evaluated(self.stepper, val, self.config.train, groups)

    def _finish(self) -> None:
        """Finish the run, once: keep the last weights where nothing was evaluated, and draw the curve.

        The state that says so is written last, so that a run killed before that can be continued.
        """
        if self.position.finished:
            return
        if self.val is None:
            self._keep_last()
        self._draw()
        self.position = replace(self.position, finished=True)
        self._save()

    def _restore_files(self) -> None:
        """Make lost files of a resumed run again where that is possible, else warn of the loss."""
        position = self.position
        if position.finished and not (self.out / _CURVE).exists():
            self._draw()
        if (self.out / BEST).exists() or not self.stepper.processes.first:
            return
        if position.best_ap is not None:
            log.warning(
                "%s: %s is missing, the weights of epoch %d, which had the best AP (%s); "
                "`fdet evaluate %s %s --checkpoint last` takes those that training has reached",
                self.out,
                BEST,
                position.best_epoch,
                points(position.best_ap),
                shell_word(self.out),
                shell_word(self.val.name) if self.val else "CACHE",
            )
        elif position.finished and self.val is None:
            self._keep_last()

    def _keep_last(self) -> None:
        """Keep the last weights, which are the best ones where nothing is evaluated."""
        with self._kept_weights():
            self._save_weights({"epoch": self.config.train.epochs})

    def _draw(self) -> None:
        if self.stepper.processes.first:
            draw_curve(read_history(self.out), self.out / _CURVE)

    def _summary(self) -> TrainSummary:
        seconds, skipped = time.monotonic() - self.started, self._skipped()
        if skipped and self.stepper.processes.first:
            log.warning(
                "%s: %s left out as damaged; `fdet cache verify` names them",
                self.data.name,
                counted(skipped, "sample"),
            )
        history = read_history(self.out) if self.stepper.processes.first else []
        best = evaluation_after(history, self.position.best_epoch)
        return TrainSummary(
            out=self.out,
            steps=self.position.step,
            seconds=seconds,
            waiting=self.waited / seconds,
            skipped=skipped,
            best_ap=self.position.best_ap,
            best_epoch=self.position.best_epoch,
            metrics=self.metrics,
            best_ap50=best.metrics.get("ap50") if best else None,
            begun=self.begun,
        )

    def _skipped(self) -> int:
        """Return the number of samples that were left out so far, by any process."""
        return len(frozenset().union(*self.stepper.processes.gather(self.data.source.skipped)))

    def _kept_weights(self) -> AbstractContextManager[None]:
        """Apply the weights that are evaluated and kept: the average where there is one."""
        average = self.stepper.average
        return average.applied() if average is not None else nullcontext()

    def _report(self, event: Event) -> None:
        if self.stepper.processes.first:
            metrics_log.append(self.out, event.line)
            for hook in self.hooks:
                hook(event)

    def _save_weights(self, about: dict[str, Any]) -> None:
        if self.stepper.processes.first:
            save_weights(self.out / BEST, self.stepper.model.tensors(), about, self.digest)

    def _save(self) -> None:
        scale, age = self.stepper.loss_scale
        self.position = replace(self.position, loss_scale=scale, scale_age=age)
        self.saved = time.monotonic()
        if not self.stepper.processes.first:
            return
        save_state(
            self.out / LAST,
            self.stepper.model,
            self.stepper.optimiser,
            self.position,
            self.digest,
            self.stepper.average.tensors if self.stepper.average is not None else None,
        )
