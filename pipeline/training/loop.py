"""The training loop. One loop, whatever the pyramid's source and however many the processes.

The state after a step depends on the step's number alone: order and views come from (seed, epoch),
random draws from (seed, step, image), the learning rate from the step. So a resumed run is the same
run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ...cache.errors import FdetError
from ...cache.sampler import SampleId, Sampler, plain_batches
from ...heads.types import Detections
from ..dataset.long_tail import frequencies
from ..evaluation.coco import Metrics, coco_metrics
from ..evaluation.detecting import detect
from ..machines.devices import device_memory_mb, process_memory_mb
from ..machines.interrupt import interruptible
from ..machines.progress import ProgressLine, progress_line
from ..machines.world import World
from ..runs import metrics_log
from ..runs.checkpoint import BEST, LAST, Position, save_state, save_weights
from ..runs.config import RunConfig, TrainSettings, fixed
from ..sources.data import Data
from ..sources.epochs import sampler_of
from ..watching.events import Event, Hook
from .curve import draw_curve
from .meter import Meter
from .opening import described_time
from .step import Samples, Stepper, parts_of

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
_CURVE = "curve.png"

# Micro-batches, as lists of samples.
Parts = list[list[SampleId]]


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


Course = Generator[Parts | None, Iterator[Samples] | None, TrainSummary]


@dataclass
class Loop:
    """The state of training between two steps; `run` goes on from there to the end, and so does
    whoever takes its `course` beside others'. digest: of the run.json that its files belong to.
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
    foretold: bool = False

    def run(self) -> TrainSummary:
        """Steps, evaluations and checkpoints to the end; Ctrl-C saves first, then raises."""
        shown = self.stepper.processes.first
        with (
            interruptible() as wishes,
            progress_line("train", self.total, self.position.step, shown=shown) as progress,
        ):
            course, loaded = self.course(wishes, progress), None
            while True:
                try:
                    wanted = course.send(loaded)
                except StopIteration as ended:
                    summary: TrainSummary = ended.value
                    return summary
                loaded = None if wanted is None else self.load(wanted)

    def course(self, wishes: Sequence[float], progress: ProgressLine) -> Course:
        """What `run` does, a step at a time. It gives None after every step; and before an epoch the
        parts that it wants to be loaded, for which it is to be sent their batches, in order.

        wishes: not empty once someone wishes to leave.
        """
        leaving = False
        self._mend()
        while not self._over(self.total):
            if leaving:
                raise KeyboardInterrupt
            if self.val is not None and self.position.to_evaluate:
                with progress.paused():
                    self._evaluate(self.val, self._to_evaluate)
                leaving = self._leaving(wishes)
            else:
                leaving = yield from self._epoch(progress, wishes)
            self._save()
        self._finish()
        return self._summary()

    def load(self, parts: Parts) -> Iterator[Samples]:
        """From its own source, read ahead."""
        device, settings = self.stepper.processes.device, self.config.train
        return self.data.batches(parts, device, settings.min_visible)

    @cached_property
    def sampler(self) -> Sampler:
        """Its batches."""
        return sampler_of(self.data, self.config.train)

    @cached_property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.sampler.steps

    def _leaving(self, wishes: Sequence[float]) -> bool:
        """Whether someone wants to leave: agreed upon, so that no process goes on alone."""
        return self.stepper.processes.any(bool(wishes))

    def _over(self, total: int) -> bool:
        settings, position = self.config.train, self.position
        stopped = bool(settings.patience) and position.stale >= settings.patience
        return not position.to_evaluate and (position.step >= total or stopped)

    def _epoch(
        self, progress: ProgressLine, wishes: Sequence[float]
    ) -> Generator[Parts | None, Iterator[Samples] | None, bool]:
        """Steps until the epoch ends, or someone wants to leave: whether that is so; `course` saves."""
        processes, settings = self.stepper.processes, self.config.train
        world, trained, leaving = processes.world, 0, False
        epoch = self.sampler.epoch_of(self.position.step)
        done = self.position.step - self.sampler.steps_before(epoch)
        batches = self.sampler.batches(epoch)[done:]
        owned = [parts_of(b, world.size, world.rank, settings.accumulate) for b in batches]
        parts = [part for parts in owned for part in parts]
        given = yield parts
        assert given is not None
        meter = Meter()
        loaded = meter.timed(given)
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
            leaving = self._leaving(wishes)
            stopping = leaving or ended
            if stopping or (step + 1) % LOG_EVERY_STEPS == 0:
                self._log(epoch, meter, progress)
                # At a line of the log, so that the lines up to a checkpoint tell of all its steps.
                if not stopping and time.monotonic() - self.saved > 60 * settings.save_minutes:
                    self._save()
            if leaving:
                break
            with meter.paused():
                yield None
        if not trained and done == 0 and not leaving:
            raise FdetError(
                f"{self.data.name}: every sample of epoch {epoch + 1} is damaged; `fdet cache verify` "
                "names them"
            )
        return leaving

    def _log(self, epoch: int, meter: Meter, progress: ProgressLine) -> None:
        """A line for the steps since the last one."""
        processes, settings = self.stepper.processes, self.config.train
        losses, rate, waiting = meter.read(processes)
        seconds = meter.seconds
        self.waited += meter.waited
        if not self.foretold and processes.first:
            self.foretold = True
            left = (self.total - self.position.step) * seconds / max(1, meter.steps)
            log.info("%s", described_time(self.config, left))
        meter.reset()
        loss = sum(losses.values())
        if not loss < float("inf"):
            raise FdetError(
                f"the loss is {loss} at step {self.position.step} ({losses}); lower optim.lr or "
                "train.clip_norm; the last checkpoint is kept"
            )
        memory = device_memory_mb(processes.device)
        line: dict[str, Any] = {"epoch": epoch + 1}
        line["lr"] = self.stepper.rate(self.position.step - 1, self.total)
        if losses:
            line |= {"loss": loss, "losses": losses}
        line |= {"seconds": round(seconds, 4), "images_per_second": round(rate, 4)}
        line["waiting"] = round(waiting, 4)
        line["process_memory_mb"] = round(process_memory_mb())
        if memory is not None:
            line["device_memory_mb"] = round(memory)
        if skipped := self._skipped():
            line["skipped"] = skipped
        self._tell(Event({"kind": "train", "step": self.position.step, **line}))
        progress.note(
            f"epoch {epoch + 1}/{settings.epochs}, loss {loss:.3f}, {rate:.1f} images/s, "
            f"waiting {waiting:.0%}, {memory or process_memory_mb():.0f} MB"
        )

    @property
    def _to_evaluate(self) -> int:
        """The last of the epochs that are over, counted from 1, that an evaluation follows; 0 for none.
        Epochs without a step may lie between it and the last step.
        """
        settings, over = self.config.train, self.sampler.epoch_of(self.position.step)
        return over if over == settings.epochs else over - over % fixed(settings.eval_every)

    def _evaluate(self, val: Data, epoch: int) -> None:
        """After `epoch` epochs; the position then says that it is done."""
        with self._to_keep():
            self.metrics, found = self.evaluated(val)
            ap, best = self.metrics.ap, self.position.best_ap
            self.position = replace(self.position, to_evaluate=False, stale=self.position.stale + 1)
            if best is None or (ap or 0.0) > best:
                self.position = replace(self.position, best_ap=ap or 0.0, best_epoch=epoch, stale=0)
                self._save_weights({"epoch": epoch, "ap": ap})
        log.info("epoch %d: AP %s, AP50 %s", epoch, _shown(ap), _shown(self.metrics.ap50))
        line = {"kind": "eval", "step": self.position.step, "epoch": epoch}
        self._tell(Event({**line, "metrics": self.metrics.to_json()}, found))

    def evaluated(self, val: Data) -> tuple[Metrics, dict[int, Detections]]:
        """The weights as they are: how good, and what they find."""
        found = self._detect(val)
        return self._score(val, found), found

    def _detect(self, val: Data) -> dict[int, Detections]:
        """Each process sees its share of the images; all know what was found."""
        processes, settings = self.stepper.processes, self.config.train
        world, model = processes.world, self.stepper.model
        processes.share_first(model.buffers())
        size = evaluated_at_once(settings, world)
        batches = plain_batches(val.header.layout, val.image_ids, size)[world.rank :: world.size]
        model.eval()
        mine = detect(model.detector, val.source, batches, settings.precision, processes.first)
        found = {k: d for part in processes.gather(mine) for k, d in part.items()}
        return {image_id: found[image_id] for image_id in val.image_ids}

    def _score(self, val: Data, found: dict[int, Detections]) -> Metrics:
        processes = self.stepper.processes
        metrics = None
        if processes.first:
            groups = frequencies(self.data.annotations)
            metrics = coco_metrics(val.annotations, found, groups=groups)
        shared = processes.of_first(metrics)
        assert shared is not None
        return shared

    def _finish(self) -> None:
        """Once, at the end: weights to keep where nothing was evaluated, and the curve. That it is finished
        is the last thing to be written, so that a kill before leaves something to go on with.
        """
        if self.position.finished:
            return
        if self.val is None:
            self._keep_last()
        self._draw()
        self.position = replace(self.position, finished=True)
        self._save()

    def _mend(self) -> None:
        """Of a run that is gone on with, what was lost: it is made again where it can be, else told."""
        position = self.position
        if position.finished and not (self.out / _CURVE).exists():
            self._draw()
        if (self.out / BEST).exists() or not self.stepper.processes.first:
            return
        if position.best_ap is not None:
            log.warning(
                "%s: %s is missing, the weights of epoch %d, which had the best AP (%.3f); "
                "`fdet evaluate %s CACHE --checkpoint last` takes those that training has reached",
                self.out,
                BEST,
                position.best_epoch,
                position.best_ap,
                self.out,
            )
        elif position.finished and self.val is None:
            self._keep_last()

    def _keep_last(self) -> None:
        """Where nothing is evaluated the last weights are the best ones."""
        with self._to_keep():
            self._save_weights({"epoch": self.config.train.epochs})

    def _draw(self) -> None:
        if self.stepper.processes.first:
            draw_curve(metrics_log.read(self.out), self.out / _CURVE)

    def _summary(self) -> TrainSummary:
        seconds, skipped = time.monotonic() - self.started, self._skipped()
        if skipped and self.stepper.processes.first:
            log.warning(
                "%d samples of %s are damaged and were left out; `fdet cache verify` names them",
                skipped,
                self.data.name,
            )
        return TrainSummary(
            out=self.out,
            steps=self.position.step,
            seconds=seconds,
            waiting=self.waited / seconds,
            skipped=skipped,
            best_ap=self.position.best_ap,
            best_epoch=self.position.best_epoch,
            metrics=self.metrics,
        )

    def _skipped(self) -> int:
        """Samples that were left out so far, by any process."""
        return len(frozenset().union(*self.stepper.processes.gather(self.data.source.skipped)))

    def _to_keep(self) -> AbstractContextManager[None]:
        """The weights that are evaluated and kept: the average where there is one."""
        average = self.stepper.average
        return average.applied() if average is not None else nullcontext()

    def _tell(self, event: Event) -> None:
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


def evaluated_at_once(settings: TrainSettings, world: World) -> int:
    """Images in a batch of an evaluation: it needs no more memory than a step."""
    return max(1, settings.batch_size // (settings.accumulate * world.size))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
