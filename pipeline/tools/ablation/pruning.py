"""Early stopping of trials by Optuna's pruners, from what comparable trials have reached so far.

Nothing is kept in addition to the trials' own metrics.jsonl: each decision makes a new study of these files,
so a resumed trial, or one in another process, is treated like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....cache.errors import ConfigError, FdetError, InputError, did_you_mean
from ....heads.checks import check_range
from ...runs.history import evaluations_of, read_history
from ...runs.points import points
from ...runs.settings import from_mapping, shown_value
from ...watching.events import Event

# A learning curve: (epoch, AP) of each evaluation.
LearningCurve = Sequence[tuple[int, float]]


class Pruned(FdetError):
    """A trial was ended because others had reached more by then."""


@dataclass(frozen=True, slots=True)
class MedianSettings:
    """A pruner that ends trials below the median of the finished ones at the same epoch.

    startup_trials: the number of trials that must have finished before any is ended. warmup_epochs: the
    first epoch after which a trial may be ended.
    """

    name: str = "median"
    startup_trials: int = 5
    warmup_epochs: int = 0

    def __post_init__(self) -> None:
        check_range("pruning.startup_trials", self.startup_trials, 0)
        check_range("pruning.warmup_epochs", self.warmup_epochs, 0)

    def pruner(self, optuna: Any, epochs: int) -> Any:
        return optuna.pruners.MedianPruner(self.startup_trials, self.warmup_epochs)


@dataclass(frozen=True, slots=True)
class HalvingSettings:
    """A pruner that lets 1 in `reduction` trials pass each rung, of which the first is at `min_epochs`."""

    name: str = "successive-halving"
    min_epochs: int = 1
    reduction: int = 3

    def __post_init__(self) -> None:
        check_range("pruning.min_epochs", self.min_epochs, 1)
        check_range("pruning.reduction", self.reduction, 2)

    def pruner(self, optuna: Any, epochs: int) -> Any:
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=self.min_epochs, reduction_factor=self.reduction
        )


@dataclass(frozen=True, slots=True)
class HyperbandSettings(HalvingSettings):
    """A pruner by successive halving in several brackets, some of which begin later."""

    name: str = "hyperband"

    def pruner(self, optuna: Any, epochs: int) -> Any:
        return optuna.pruners.HyperbandPruner(
            min_resource=self.min_epochs, max_resource=epochs, reduction_factor=self.reduction
        )


PruningSettings = MedianSettings | HalvingSettings
PRUNERS: Mapping[str, type[PruningSettings]] = {
    "median": MedianSettings,
    "successive-halving": HalvingSettings,
    "hyperband": HyperbandSettings,
}


def pruning_of(values: object) -> PruningSettings | None:
    """Return the settings of the table [pruning], or None where there is none.

    Raises ConfigError, and InputError where Optuna is not installed.
    """
    if values is None:
        return None
    name = values.get("name") if isinstance(values, Mapping) else values
    if not isinstance(name, str) or name not in PRUNERS:
        hint = did_you_mean(name if isinstance(name, str) else "", PRUNERS)
        raise ConfigError(f"pruning.name: unknown {shown_value(name)}{hint}")
    _optuna()
    return from_mapping(PRUNERS[name], values, "pruning")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("[pruning] needs Optuna: pip install 'frozendet[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True, slots=True)
class Pruning:
    """A hook of a run that raises Pruned after an evaluation where the pruner says so.

    own: the run's folder. comparable: the folders of all trials with the same caches and epochs, the run's
    own among them, in the plan's order.
    """

    settings: PruningSettings
    own: Path
    comparable: tuple[Path, ...]
    epochs: int

    def __call__(self, event: Event) -> None:
        if event.kind != "eval" or event.line["epoch"] >= self.epochs:
            return
        curves = [learning_curve_of(folder) for folder in self.comparable]
        own = self.comparable.index(self.own)
        if is_pruned(self.settings, curves, own, self.epochs):
            epoch, ap = curves[own][-1]
            raise Pruned(f"pruned in epoch {epoch} of {self.epochs}, at AP {points(ap)}")


def learning_curve_of(folder: Path) -> list[tuple[int, float]]:
    """Return the learning curve of a run, as far as the run has come."""
    return [(of.epoch, of.ap) for of in evaluations_of(read_history(folder))]


def is_pruned(
    settings: PruningSettings, curves: Sequence[LearningCurve], own: int, epochs: int
) -> bool:
    """Return whether trial number `own` is to end after its last evaluation, given all trials' curves."""
    optuna = _optuna()
    study = optuna.create_study(
        study_name="ablation", direction="maximize", pruner=settings.pruner(optuna, epochs)
    )
    trials = [study.ask() for _ in curves]
    others = [k for k in range(len(curves)) if k != own]
    pruned = False
    for k in [*others, own]:
        for epoch, ap in curves[k]:
            trials[k].report(ap, epoch)
            pruned = bool(trials[k].should_prune())
        if curves[k] and curves[k][-1][0] >= epochs:
            study.tell(trials[k], curves[k][-1][1])
    return pruned
