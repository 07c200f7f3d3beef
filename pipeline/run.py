"""A run directory: all that training, evaluation and prediction need of each other.

run.json            the cache's key, the classes, the configuration; written first
config.toml         the configuration, as --config takes it
metrics.jsonl       one JSON object a line: training figures and evaluations
last.safetensors    weights, optimiser state, position: what --resume goes on from
best.safetensors    the weights of the best evaluation
curve.png           losses and AP over the steps
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..cache.errors import ConfigError, CorruptCache, InputError, KeyMismatch
from ..cache.files import open_below, read_below
from ..cache.header import CacheHeader
from ..cache.key import CacheKey
from ..cache.publish import publish_bytes
from ..cache.sealed import canonical_json, parse_json
from ..heads.build import build_detector
from ..heads.detector import Detector
from .annotations import Annotations
from .config import RunConfig
from .settings import from_mapping

FORMAT = 2
MAX_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class RunInfo:
    """run.json. class_ids and class_names: by label. data: what the run sees, by name: the source
    of its pyramids, and fingerprints of its caches and annotations.
    """

    key: CacheKey
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    config: RunConfig
    backbone_parameters: int
    data: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """run.json: the same bytes for the same run."""
        return canonical_json(
            {
                "format": FORMAT,
                "key": self.key.to_json(),
                "class_ids": list(self.class_ids),
                "class_names": list(self.class_names),
                "config": self.config.to_mapping(),
                "config_digest": self.config.digest,
                "backbone_parameters": self.backbone_parameters,
                "data": dict(self.data),
            }
        )

    @classmethod
    def read(cls, run: Path) -> RunInfo:
        """Raises InputError where no run is, CorruptCache where run.json is damaged."""
        path = run / "run.json"
        if not path.is_file():
            raise InputError(
                f"{run} is not a run: it has no run.json; make one with `fdet train-heads`"
            )
        data = parse_json(read_below(run, "run.json", MAX_BYTES), path)
        if data.get("format") != FORMAT:
            raise InputError(
                f"{path}: format {data.get('format')}; this fdet reads format {FORMAT}"
            )
        try:
            info = cls(
                CacheKey.from_json(data["key"]),
                tuple(data["class_ids"]),
                tuple(data["class_names"]),
                RunConfig.from_mapping(data["config"]),
                data["backbone_parameters"],
                data["data"],
            )
            info._check_types()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CorruptCache(f"{path}: unreadable ({error!r})") from error
        if info.config.digest != data.get("config_digest"):
            raise CorruptCache(
                f"{path}: the configuration does not match its digest: it was altered"
            )
        return info

    def _check_types(self) -> None:
        classes = zip(self.class_ids, self.class_names, strict=True)
        if not all(type(i) is int and type(name) is str for i, name in classes):
            raise ValueError("expected an integer and a name for every class")
        if not all(type(value) is str for value in self.data.values()):
            raise ValueError("data: expected strings")
        if type(self.backbone_parameters) is not int:
            raise ValueError("backbone_parameters: expected an integer")

    def check_size(self, path: Path) -> None:
        """Raises CorruptCache where the checkpoint cannot hold all weights of the configuration."""
        with torch.device("meta"):
            state = self.fresh_detector().state_dict().values()
        needed = sum(v.numel() * v.element_size() for v in state)
        if path.is_file() and needed > path.stat().st_size:
            raise CorruptCache(f"{path}: too small for the {needed} bytes of the run's weights")

    def fresh_detector(self) -> Detector:
        """With weights drawn from the run's seed. Raises ConfigError for a level that is lacking."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.train.seed)
            return build_detector(
                self.key.levels, len(self.class_ids), self.config.neck, self.config.head
            )

    def check_pairs(self, header: CacheHeader, cache: Path | str) -> list[str]:
        """What differs harmlessly (library versions). Raises KeyMismatch for a cache of other features."""
        differences = self.key.explain(header.key, "pair")
        fatal = [str(d) for d in differences if d.fatal]
        if fatal:
            raise KeyMismatch(
                f"{cache} holds other features than this run was trained on: {'; '.join(fatal)} "
                "(here: the run, there: the cache); extract it with the settings of the training cache"
            )
        return [str(d) for d in differences]

    def check_classes(self, annotations: Annotations, source: str) -> None:
        """Raises InputError where the annotations have other classes."""
        mine = dict(zip(self.class_ids, self.class_names, strict=True))
        theirs = dict(zip(annotations.class_ids, annotations.class_names, strict=True))
        if mine != theirs:
            odd = sorted(set(mine.items()) ^ set(theirs.items()))[:3]
            raise InputError(
                f"{source}: its classes are not those that the run was trained on; differing "
                f"(id, name): {', '.join(map(str, odd))}"
            )


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands: steps done in all, and the best AP so far with its epoch.

    to_evaluate: the epoch that ended with this step has still to be evaluated.
    """

    step: int = 0
    best_ap: float | None = None
    best_epoch: int = 0
    to_evaluate: bool = False
    finished: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not 0 <= self.step < 2**53 or not 0 <= (self.best_ap or 0.0) <= 1:
            raise ValueError(f"step {self.step}, best AP {self.best_ap}")


def save_weights(path: Path, detector: Detector, about: Mapping[str, Any]) -> None:
    """Publish the weights alone; whole or absent."""
    tensors = {name: v.detach().cpu().contiguous() for name, v in detector.state_dict().items()}
    publish_bytes(path, save(tensors, {"fdet": json.dumps(dict(about))}), existing="replace")


def load_weights(path: Path, detector: Detector) -> dict[str, Any]:
    """Load what `save_weights` or `save_state` wrote; returns what it says about itself."""
    tensors, about = _read(path)
    if any(name.startswith("optim.") for name in tensors):
        tensors = _model_part(tensors)
    try:
        _load(detector, tensors)
    except (RuntimeError, ValueError) as error:
        raise CorruptCache(f"{path}: its weights do not fit the run's configuration") from error
    return about


def load_run(
    run: Path, checkpoint: str = "best", device: torch.device | str = "cpu"
) -> tuple[RunInfo, Detector]:
    """A trained detector, in eval mode; checkpoint: "best" or "last"."""
    info, path = RunInfo.read(run), run / f"{checkpoint}.safetensors"
    info.check_size(path)
    detector = info.fresh_detector()
    load_weights(path, detector)
    return info, detector.to(device).eval()


def save_state(
    path: Path, detector: Detector, optimiser: torch.optim.Optimizer, position: Position
) -> None:
    """Publish all that --resume needs; whole or absent."""
    tensors = {f"model.{name}": v for name, v in detector.state_dict().items()}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optim.{number}.{name}"] = value
    stored = {name: v.detach().cpu().contiguous() for name, v in tensors.items()}
    about = asdict(position)
    publish_bytes(path, save(stored, {"fdet": json.dumps(about)}), existing="replace")


def load_state(path: Path, detector: Detector, optimiser: torch.optim.Optimizer) -> Position:
    """Put detector and optimiser back to where `save_state` left them."""
    tensors, about = _read(path)
    weights = _model_part(tensors)
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in tensors.items():
            if name.startswith("optim."):
                _, number, entry = name.split(".", 2)
                state.setdefault(int(number), {})[entry] = value
        _check_state(state, optimiser)
        _load(detector, weights)
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        return from_mapping(Position, about, "position")
    except (RuntimeError, ValueError, TypeError, ConfigError) as error:
        raise CorruptCache(f"{path}: its state does not fit the run's configuration") from error


def _load(detector: Detector, tensors: Mapping[str, Tensor]) -> None:
    """Raises RuntimeError, ValueError; load_state_dict alone would convert any type to any other."""
    own = detector.state_dict()
    other = [name for name, v in tensors.items() if name in own and v.dtype != own[name].dtype]
    if other:
        raise ValueError(
            f"{other[0]}: expected {own[other[0]].dtype}, got {tensors[other[0]].dtype}"
        )
    detector.load_state_dict(tensors)


_STATE: Mapping[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


def _check_state(
    state: Mapping[int, Mapping[str, Tensor]], optimiser: torch.optim.Optimizer
) -> None:
    """Raises ValueError where the next step would fail: torch itself does not look."""
    params = [p for group in optimiser.param_groups for p in group["params"]]
    for number, values in state.items():
        if not 0 <= number < len(params) or set(values) != _STATE[type(optimiser)]:
            raise ValueError(f"optimiser state {number}: {sorted(values)}")
        for name, value in values.items():
            shape = torch.Size() if name == "step" else params[number].shape
            if value.shape != shape or value.dtype != torch.float32:
                raise ValueError(f"optimiser state {number}.{name}: {value.dtype} {value.shape}")
            if name == "step" and not 0 <= float(value) < 2**53:
                raise ValueError(f"optimiser state {number}: step {float(value)}")


def _model_part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; has the run finished an epoch?")
    os.close(open_below(path.parent, path.name))  # no link, and a regular file
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("fdet", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, ValueError, OSError, RecursionError, MemoryError) as error:
        raise CorruptCache(f"{path}: not a checkpoint that can be read ({error})") from error
