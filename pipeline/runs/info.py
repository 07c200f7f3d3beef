"""The run directory, which holds all that training, evaluation and prediction need of each other.

run.json            the cache's key, the classes, the configuration and the sha256 of these; written first
config.toml         the configuration, as --config takes it
options.json        where the data lie and what else the command was given, for --resume RUN alone
codec/              what the cache's codec has learnt, where it is one that learns
second/codec/       the same for the cache of a second backbone
metrics.jsonl       one JSON object per line: training figures and evaluations
last.safetensors    weights, optimiser state and position, from which --resume goes on
best.safetensors    the weights of the best evaluation
curve.png           losses and AP over the steps
before.json         for a run of `fdet retrain-classifier`: the figures of the weights that it began with
pictures/           detections of the last evaluation, where --val-images are given

The two checkpoints carry a sha256 of their contents, and the digest of the run.json that they belong to.
config.toml, metrics.jsonl, before.json and pictures/ are for people, and nothing is trained from them. What
options.json names is compared with run.json as if the command line had given it.

Where the backbone was trained too, both checkpoints hold its weights with the others; where it has
adapters, they hold only those of the adapters.

run.json is read without torch, which is imported only where a detector is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ...cache.disk.files import read_below
from ...cache.errors import CorruptCache, InputError, did_you_mean
from ...cache.format.sealed import parse_json, parse_sealed, sealed_json
from ...cache.key import CacheKey
from ...cache.pyramid import PyramidSpec
from ...heads.family import NMSSettings, Suppression
from ..dataset.tiling import Tiling
from ..sources.kinds import CACHED, SOURCES, TAIL
from .config import RunConfig, digest_of, fixed
from .extension import Extension, parse_extensions
from .older import FORMAT, OLDEST, SEALED, current_config

if TYPE_CHECKING:
    from torch import Tensor

    from ...heads.detector import Detector

# The folder in a run for the files of a second backbone's cache.
SECOND_FOLDER = "second"
# The start in `data` of a run that did not begin with the weights of another one.
FRESH = "fresh weights"
# The name in `data` that marks a run which trained only the last classifier layer of another one.
STAGE_2 = "stage 2"
# The names in `data` of the digests of its caches' image files; runs of older versions of fdet lack them.
IMAGES = "training images", "validation images"
# The name in `data` of the number of torch's threads where a CPU computes, "none" on an accelerator.
THREADS = "threads"
# The name in `data` of the number of processes that train together.
PROCESSES = "processes"
TILES = "training tiles"
MAX_BYTES = 2**28
MAX_EMBEDDING = 2**16
MAX_THREADS = 2**16


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The contents of run.json.

    class_ids, class_names: the ids and names of the classes, by label. backbone_parameters: the number of
    parameters of the backbone up to its coarsest level. data: the inputs of the run by name:
    the source of its pyramids, fingerprints of its caches and annotations, torch's threads, its processes,
    and a limit on its memory. frequencies: how often the training data show each class, from "r" (rare) to
    "f" (frequent). second: the key of a second backbone's cache, where one was read in addition to the
    first. embedding: the length of the vectors that identify the classes, 0 where weights do; the vectors
    are saved with the weights. format: the format that it was read from; the newest is always written.
    read_digest: the sha256 of the file that it was read from. extensions: how the run was made longer. begun:
    the digest of what run.json was before the first of them, which the checkpoints name. tail: the levels
    with those that a tail adds to the cached ones, in a run that has one.
    """

    key: CacheKey
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    config: RunConfig
    backbone_parameters: int
    data: Mapping[str, str]
    frequencies: tuple[str, ...]
    second: CacheKey | None = None
    embedding: int = 0
    format: int = FORMAT
    read_digest: str = field(default="", compare=False)
    extensions: tuple[Extension, ...] = ()
    begun: str = ""
    tail: PyramidSpec | None = None

    def to_bytes(self) -> bytes:
        """Return the bytes of run.json, which are the same for the same run."""
        return sealed_json(
            {
                "format": FORMAT,
                "key": self.key.to_json(),
                "second": self.second and self.second.to_json(),
                "class_ids": list(self.class_ids),
                "class_names": list(self.class_names),
                "config": self.config.to_mapping(),
                "config_digest": self.config.digest,
                "backbone_parameters": self.backbone_parameters,
                "data": dict(self.data),
                "frequencies": "".join(self.frequencies),
                "embedding": self.embedding,
                **({"tail": self.tail.to_json()} if self.tail else {}),
                **(
                    {"extended": [list(e) for e in self.extensions], "begun": self.begun}
                    if self.extensions
                    else {}
                ),
            }
        )

    @classmethod
    def read(cls, run: Path) -> RunInfo:
        """Read run.json. Raises InputError where there is no run, CorruptCache where it is damaged."""
        path = run / "run.json"
        if not path.is_file():
            raise InputError(
                f"{run} is not a run: it has no run.json; make one with `fdet train-heads`"
            )
        return cls.parse(read_below(run, "run.json", MAX_BYTES), path)

    @classmethod
    def parse(cls, raw: bytes, path: Path) -> RunInfo:
        """Return what the bytes of a run.json say, which are from `path`. Raises as `read` does."""
        data = parse_json(raw, path)
        format = data.get("format")
        if type(format) is not int or not OLDEST <= format <= FORMAT:
            raise InputError(
                f"{path}: format {format}; this fdet reads formats {OLDEST} to {FORMAT}"
            )
        if format >= SEALED:
            data = _unsealed(raw, path)
        try:
            info = cls(
                CacheKey.from_json(data["key"]),
                tuple(data["class_ids"]),
                tuple(data["class_names"]),
                RunConfig.from_mapping(current_config(data["config"], format)),
                data["backbone_parameters"],
                data["data"],
                tuple(data["frequencies"]),
                data["second"] and CacheKey.from_json(data["second"]),
                data["embedding"],
                format,
                hashlib.sha256(raw).hexdigest(),
                parse_extensions(data.get("extended", ())),
                data.get("begun", ""),
                PyramidSpec.from_json(data["tail"]) if "tail" in data else None,
            )
            info._check_types()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CorruptCache(f"{path}: unreadable ({error!r})") from error
        if digest_of(data["config"]) != data.get("config_digest"):
            raise CorruptCache(
                f"{path}: the configuration does not match its digest: it was altered"
            )
        return info

    def _check_types(self) -> None:
        classes = zip(self.class_ids, self.class_names, strict=True)
        if not all(type(i) is int and type(name) is str for i, name in classes):
            raise ValueError("expected an integer and a name for every class")
        if len(self.frequencies) != len(self.class_ids) or not set(self.frequencies) <= set("rcf"):
            raise ValueError("frequencies: expected r, c or f for every class")
        if "source" not in self.data or not all(type(v) is str for v in self.data.values()):
            raise ValueError("data: expected strings, and a source among them")
        if self.threads is not None and not 0 < self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 1 to {MAX_THREADS}")
        assert self.tiling is None or self.tiling.side  # It is parsed.
        if type(self.backbone_parameters) is not int:
            raise ValueError("backbone_parameters: expected an integer")
        if type(self.embedding) is not int or not 0 <= self.embedding <= MAX_EMBEDDING:
            raise ValueError(f"embedding: expected 0 to {MAX_EMBEDDING}")
        if type(self.begun) is not str or bool(self.begun) != bool(self.extensions):
            raise ValueError("begun: expected a digest where the run was extended")
        joined = len(self.levels.levels) > len((self.tail or self.key.levels).levels)
        if joined and (self.own_backbone or self.tail is not None):
            raise ValueError("a run with a backbone of its own cannot have a second one")
        if (self.tail is not None) != (self.source == TAIL):
            raise ValueError("tail: expected its levels in a run with that source, and in no other")

    @property
    def digest(self) -> str:
        """The sha256 of run.json, as it was read or would be written, which identifies the run.

        An extended run keeps the one that it was begun with, so that its checkpoints still belong to it.
        """
        return self.begun or self.read_digest or hashlib.sha256(self.to_bytes()).hexdigest()

    def extended(self, config: RunConfig, step: int) -> RunInfo:
        """Return the run with the settings of a longer one. step: the steps that it has done."""
        before = Extension(fixed(self.config.train.epochs), step)
        extensions = (*self.extensions, before)
        return replace(
            self, config=config, extensions=extensions, begun=self.digest, read_digest=""
        )

    def with_nms(self, nms: Suppression | None) -> RunInfo:
        """Return the run with another head.nms than it was trained with; None for its own.

        Raises InputError.
        """
        if nms is None:
            return self
        if nms not in (known := get_args(Suppression)):
            raise InputError(f"--nms {nms!r}{did_you_mean(nms, known)}")
        head = self.config.head
        if not isinstance(head, NMSSettings):
            raise InputError(
                f"--nms {nms}: head {head.name} has no NMS, as it finds an object once"
            )
        return replace(self, config=replace(self.config, head=replace(head, nms=nms)))

    @property
    def sealed(self) -> bool:
        """Return whether the version of fdet that began the run puts checksums into its files."""
        return self.format >= SEALED

    @property
    def levels(self) -> PyramidSpec:
        """The levels that the detector gets: the cached ones, and those of a tail or a second backbone."""
        own = self.tail or self.key.levels
        return own if self.second is None else own.joined_with(self.second.levels)

    @property
    def backbones(self) -> str:
        """The names of the backbones, joined by +."""
        return " + ".join(key.backbone for key in (self.key, self.second) if key is not None)

    @property
    def source(self) -> str:
        """The source of the pyramids: cached, tail, online, finetune or scratch."""
        return self.data["source"]

    @property
    def tiling(self) -> Tiling | None:
        """How the images that it was trained on were cut into tiles; None where they were not."""
        text = self.data.get(TILES)
        return None if text is None else Tiling.parse(text)

    @property
    def cached_source(self) -> str:
        """The source of a further training on the same maps: a tail where the run has one, else the cache."""
        return CACHED if self.tail is None else self.source

    @property
    def trains_backbone(self) -> bool:
        return self.source in SOURCES and SOURCES[self.source].trains

    @property
    def threads(self) -> int | None:
        """The number of torch's threads that the run began with; None on an accelerator or if unknown."""
        count = self.data.get(THREADS, "")
        return int(count) if count.isdecimal() else None

    @property
    def stage_2(self) -> bool:
        """Return whether only the last classifier layer was trained, that of a run which `data` names."""
        return STAGE_2 in self.data

    def total_parameters(self, above: int, adapters: int) -> int:
        """Return the number of all parameters, of backbone, neck and head.

        above: the number of those of neck, head and refiner. adapters: of those of adapters, which are not
        counted with the backbone.
        """
        return self.backbone_parameters + above + adapters

    @property
    def own_backbone(self) -> bool:
        """Return whether images must pass through a backbone or adapters that this run has trained."""
        return self.trains_backbone or (self.config.backbone.adapters and self.tail is None)

    @property
    def brings_backbone(self) -> bool:
        """Return whether the run's weights include those of a backbone, of adapters or of a tail."""
        return self.own_backbone or self.tail is not None

    def check_frozen(self, run: Path) -> None:
        """Raise InputError where cached features are not those of the run's backbone."""
        if self.config.backbone.adapters and self.tail is None:
            raise InputError(
                f"{run} was trained with --adapters in its backbone, and cached maps have not passed "
                "through them; give --images"
            )
        if self.trains_backbone:
            raise InputError(
                f"{run} was trained with --source {self.source}: its detector belongs to a backbone of "
                "its own, and cached features come from another; give --images"
            )

    def check_embeddings(self, source: Path | str) -> None:
        """Raise InputError where the classes of a run are not identified by vectors. source: those given."""
        if not self.embedding:
            raise InputError(
                f"--class-embeddings {source}: this run was trained without them and knows only its own "
                "classes; train one with --class-embeddings"
            )

    def check_size(self, path: Path) -> None:
        """Raise CorruptCache where a checkpoint is too small for the weights of the configuration."""
        import torch

        with torch.device("meta"):
            state = self.fresh_detector().state_dict().values()
        needed = sum(v.numel() * v.element_size() for v in state)
        if path.is_file() and needed > path.stat().st_size:
            raise CorruptCache(f"{path}: too small for the {needed} bytes of the run's weights")

    def fresh_detector(self, vectors: Tensor | None = None) -> Detector:
        """Build the detector with weights drawn from the run's seed.

        vectors: those that identify the classes, where vectors do; None where they will be loaded. Raises
        ConfigError for a missing level.
        """
        import torch

        from .model import fresh_detector

        classes = len(self.class_ids)
        if vectors is None and self.embedding:
            vectors = torch.zeros(classes, self.embedding)
        return fresh_detector(self.config, self.levels, classes, vectors)


def _unsealed(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        return parse_sealed(raw, path)
    except CorruptCache as error:
        raise CorruptCache(f"{error}; undo the change, or put a copy of the file back") from error


# The settings of a head that do not change the meaning of its weights: how it learns, which detections it
# reports, and whether a refiner follows it.
FREE = frozenset(
    {
        *("class_balance", "federated", "sampled", "positive", "stage_losses", "normaliser"),
        *("score_threshold", "nms", "nms_iou", "max_detections"),
        *("class_loss", "class_weight", "box_weight", "giou_weight"),
        *("dfl_weight", "fgl_weight", "ddf_weight"),
        *("queries", "groups", "label_noise", "box_noise", "refine"),
    }
)
