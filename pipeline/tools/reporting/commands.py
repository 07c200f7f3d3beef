"""The command that reproduces a run, with every setting that is not the default."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ....cache.errors import FdetError
from ....cache.format.header import NAME, CacheHeader
from ...runs.config import RunConfig
from ...runs.info import FREE, FRESH, STAGE_2, RunInfo
from ...sources.kinds import CACHED, SOURCES
from .records import RunRecord

# The number of folders above a run below which its caches are searched.
PARENT_LEVELS = 3


def find_caches(runs: Sequence[Path], more: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the readable caches by id: those in the folders around the runs, and `more`."""
    folders = dict.fromkeys(
        parent for run in runs for parent in run.absolute().parents[:PARENT_LEVELS]
    )
    candidates = [*more, *(p.parent for f in folders for p in sorted(f.glob(f"*/{NAME}")))]
    found: dict[str, Path] = {}
    for path in dict.fromkeys(candidates):
        try:
            found.setdefault(CacheHeader.read(path).id, path)
        except FdetError:
            continue
    return found


def reproduction(record: RunRecord, caches: Mapping[str, Path]) -> str:
    """Return the `fdet train-heads` or `fdet retrain-classifier` command that reproduces a run.

    Words in capitals stand for what no file of the run names. A run that was extended is made by several
    commands; it is the same only if it was extended at its end.
    """
    info = record.info
    if info is None:
        return ""
    data = _cache_paths(info, "training data", caches, "TRAIN.fdet")
    val = _cache_paths(info, "validation data", caches, "VAL.fdet")
    data += ["--val", *val] if val else []
    data += _second_cache_options(info, caches)
    data += ["--out", shlex.quote(f"again/{record.name}")]
    if info.stage_2:
        given = (f"--set {shlex.quote(word)}" for word in _stage_2_assignments(info.config))
        samplings = info.data[STAGE_2].rpartition(" ")[2]
        return " ".join(["fdet retrain-classifier RUN", *data, f"--samplings {samplings}", *given])
    words = ["fdet train-heads", *data]
    words += [f"--neck {info.config.neck.name}", f"--head {info.config.head.name}"]
    if info.source != CACHED:
        words.append(f"--source {info.source}")
    if SOURCES[info.source].live:
        words.append("--images PHOTOS")
    if info.data.get("start", FRESH) != FRESH:
        words.append("--start RUN")
    if info.embedding:
        words.append("--class-embeddings CLASSES.safetensors")
    first, *longer = (*(e.epochs for e in info.extensions), info.config.train.epochs)
    config = replace(info.config, train=replace(info.config.train, epochs=first))
    words += [f"--set {shlex.quote(word)}" for word in assignments(config)]
    resume = f"fdet train-heads --resume {shlex.quote(f'again/{record.name}')}"
    extensions = [f"{resume} --set train.epochs={epochs}" for epochs in longer]
    return " && ".join([" ".join(words), *extensions])


def assignments(config: RunConfig) -> Iterator[str]:
    """Yield section.name=value of every setting that differs from the defaults of this neck and head."""
    names = {"neck": {"name": config.neck.name}, "head": {"name": config.head.name}}
    default = RunConfig.from_mapping(names).to_mapping()
    for section, values in config.to_mapping().items():
        for name, value in values.items():
            if default[section][name] != value:
                yield f"{section}.{name}={json.dumps(value)}"


def _stage_2_assignments(config: RunConfig) -> Iterator[str]:
    """Yield all settings that stage 2 may set, as its defaults are not those of RunConfig."""
    for section, values in config.to_mapping().items():
        for name, value in values.items():
            if section in ("train", "optim", "schedule") or (section == "head" and name in FREE):
                yield f"{section}.{name}={json.dumps(value)}"


def _second_cache_options(info: RunInfo, caches: Mapping[str, Path]) -> Iterator[str]:
    """Yield the options for the second caches of a run on the caches of two backbones."""
    for option, name in (("--with", "training"), ("--val-with", "validation")):
        found = info.data.get(f"second {name} cache", "none")
        if found != "none":
            path = caches.get(found)
            unknown = f"SECOND-{name.upper()}.fdet"
            yield f"{option} {unknown if path is None else shlex.quote(str(path))}"


def _cache_paths(info: RunInfo, name: str, caches: Mapping[str, Path], unknown: str) -> list[str]:
    ids = info.data.get(name, "none").split()[:-1]
    return [shlex.quote(str(caches[i])) if i in caches else unknown for i in ids]
