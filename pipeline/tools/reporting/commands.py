"""How a run is made again: one command, every setting spelt out that is not the default."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....cache.errors import FdetError
from ....cache.format.header import NAME, CacheHeader
from ...runs.config import RunConfig
from ...runs.info import FREE, FRESH, STAGE_2, RunInfo
from .records import RunRecord

# How far above a run its caches are looked for.
ABOVE = 3


def find_caches(runs: Sequence[Path], more: Sequence[Path] = ()) -> dict[str, Path]:
    """Caches by id: those that lie in the runs' surroundings, and `more`; unreadable ones are not."""
    folders = dict.fromkeys(parent for run in runs for parent in run.absolute().parents[:ABOVE])
    candidates = [*more, *(p.parent for f in folders for p in sorted(f.glob(f"*/{NAME}")))]
    found: dict[str, Path] = {}
    for path in dict.fromkeys(candidates):
        try:
            found.setdefault(CacheHeader.read(path).id, path)
        except FdetError:
            continue
    return found


def reproduction(record: RunRecord, caches: Mapping[str, Path]) -> str:
    """`fdet train-heads ...`, or `fdet retrain-classifier ...`; words in capitals stand for what no file of
    the run names.
    """
    info = record.info
    if info is None:
        return ""
    data = _caches(info, "training data", caches, "TRAIN.fdet")
    val = _caches(info, "validation data", caches, "VAL.fdet")
    data += ["--val", *val] if val else []
    data += _second(info, caches)
    data += ["--out", shlex.quote(f"again/{record.name}")]
    if info.stage_2:
        given = (f"--set {shlex.quote(word)}" for word in _of_stage_2(info.config))
        samplings = info.data[STAGE_2].rpartition(" ")[2]
        return " ".join(["fdet retrain-classifier RUN", *data, f"--samplings {samplings}", *given])
    words = ["fdet train-heads", *data]
    words += [f"--neck {info.config.neck.name}", f"--head {info.config.head.name}"]
    if info.source != "cached":
        words += [f"--source {info.source}", "--images PHOTOS"]
    if info.data.get("start", FRESH) != FRESH:
        words.append("--start RUN")
    if info.embedding:
        words.append("--class-embeddings CLASSES.safetensors")
    return " ".join([*words, *(f"--set {shlex.quote(word)}" for word in assignments(info.config))])


def assignments(config: RunConfig) -> Iterator[str]:
    """section.name=value of all that differs from the defaults of this neck and head."""
    names = {"neck": {"name": config.neck.name}, "head": {"name": config.head.name}}
    default = RunConfig.from_mapping(names).to_mapping()
    for section, values in config.to_mapping().items():
        for name, value in values.items():
            if default[section][name] != value:
                yield f"{section}.{name}={json.dumps(value)}"


def _of_stage_2(config: RunConfig) -> Iterator[str]:
    """All that stage 2 may set: what is a default there is none of RunConfig's."""
    for section, values in config.to_mapping().items():
        for name, value in values.items():
            if section in ("train", "optim", "schedule") or (section == "head" and name in FREE):
                yield f"{section}.{name}={json.dumps(value)}"


def _second(info: RunInfo, caches: Mapping[str, Path]) -> Iterator[str]:
    """Of a run on the caches of two backbones."""
    for option, name in (("--with", "training"), ("--val-with", "validation")):
        found = info.data.get(f"second {name} cache", "none")
        if found != "none":
            path = caches.get(found)
            unknown = f"SECOND-{name.upper()}.fdet"
            yield f"{option} {unknown if path is None else shlex.quote(str(path))}"


def _caches(info: RunInfo, name: str, caches: Mapping[str, Path], unknown: str) -> list[str]:
    ids = info.data.get(name, "none").split()[:-1]
    return [shlex.quote(str(caches[i])) if i in caches else unknown for i in ids]
