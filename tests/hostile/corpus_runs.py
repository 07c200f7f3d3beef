"""Run directories made to do harm: run.json, checkpoints, config files."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, save

from fdet.cache.errors import ConfigError, CorruptCache, InputError, KeyMismatch
from fdet.cache.format.sealed import SEAL, sealed_json
from fdet.pipeline.runs.checkpoint import load_state, save_state, save_weights
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.runs.info import MAX_BYTES, RunInfo
from fdet.pipeline.runs.loading import load_run
from fdet.pipeline.runs.model import Model
from fdet.pipeline.runs.pairing import check_features
from fdet.pipeline.runs.position import Position
from fdet.pipeline.training.optimiser import make_optimiser

from ..cache.handmade import make_header, make_key
from .case import Case, Thunk, good_of, outside_of
from .corpus_headers import ESCAPE, LONG, REPLACEMENTS, Place, named, places_in, put
from .corpus_weights import _Call, safetensors, tensor
from .corpus_weights import good as good_weights

REFUSALS = (InputError, CorruptCache, ConfigError, KeyMismatch)
SETTINGS = {
    "neck": {"channels": 8, "max_level": 4},
    "head": {"name": "retinanet", "convs": 1, "anchor_scales": [4.0], "ratios": [1.0]},
}

Edit = Callable[[dict[str, Any]], object]


def _info() -> RunInfo:
    config = RunConfig.from_mapping(SETTINGS)
    data = {"source": "cached"}
    return RunInfo(make_key(), (2, 5), ("disc", "square"), config, 1000, data, ("r", "f"))


def make_good(folder: Path) -> None:
    """A run of one step, by hand; and the weights that cases change, read once for all of them."""
    good_weights()
    run = folder / "run"
    run.mkdir(parents=True)
    info = _info()
    (run / "run.json").write_bytes(info.to_bytes())
    model = Model(info.fresh_detector())
    optimiser = make_optimiser(model, info.config.optim)
    sum(p.sum() for p in model.parameters()).backward()
    optimiser.step()
    save_weights(run / "best.safetensors", model.tensors(), {"epoch": 1}, info.digest)
    save_state(run / "last.safetensors", model, optimiser, Position(step=1), info.digest)


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Evaluate, predict, resume: all that a run is read for."""
    for run in sorted(folder.glob("*.run")):
        yield f"evaluate {run.name}", partial(_loaded, run, "best")
        yield f"evaluate the last of {run.name}", partial(_loaded, run, "last")
        yield f"resume {run.name}", partial(_resumed, run)


def _loaded(run: Path, checkpoint: str) -> None:
    info, detector = load_run(run, checkpoint)
    check_features(info, make_header().key, run)
    assert all(type(name) is str for name in info.class_names), f"{info.class_names!r:.80}"
    assert len(info.class_ids) == len(info.class_names), f"{info.class_ids!r:.80}"
    assert all(type(i) is int for i in info.class_ids), f"{info.class_ids!r:.80}"
    assert type(info.backbone_parameters) is int, f"{info.backbone_parameters!r:.80}"
    assert type(info.data) is dict and all(type(v) is str for v in info.data.values())
    assert all(p.dtype == torch.float32 for p in detector.parameters())


def _resumed(run: Path) -> None:
    """What was loaded must bear the next step. Only the command's own settings are ever built."""
    info = RunInfo.read(run)
    model = Model(_info().fresh_detector())
    optimiser = make_optimiser(model, _info().config.optim)
    position, _ = load_state(run / "last.safetensors", model, optimiser, info)
    assert type(position.step) is int and 0 <= position.step < 2**63, f"{position.step!r:.80}"
    assert type(position.best_epoch) is int and type(position.finished) is bool
    assert position.best_ap is None or 0 <= position.best_ap <= 1, f"{position.best_ap!r:.80}"
    sum(p.sum() for p in model.parameters()).backward()
    optimiser.step()


def forged(folder: Path, number: int = 0) -> Path:
    run = folder / f"{number}.run"
    shutil.copytree(good_of(folder) / "run", run)
    return run


def _config_digest(config: object) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def info(name: str, *edits: Edit, refused: bool = True) -> Case:
    """run.json, its digests made to fit, and the checkpoints bound to it."""

    def prepare(folder: Path) -> None:
        for k, edit in enumerate(edits):
            path = forged(folder, k) / "run.json"
            data = json.loads(path.read_bytes())
            edit(data)
            data["config_digest"] = _config_digest(data.get("config"))
            path.write_bytes(_sealed({n: v for n, v in data.items() if n != SEAL}))
            run = hashlib.sha256(path.read_bytes()).hexdigest()
            for file in ("last.safetensors", "best.safetensors"):
                tensors, told = _read(path.with_name(file))
                save_weights(path.with_name(file), tensors, told["about"], run)

    return Case(f"run.json: {name}", prepare, attempts, REFUSALS, refused, named=False)


def _sealed(data: dict[str, Any]) -> bytes:
    """An older run has no seal; so has what a seal cannot be of."""
    try:
        return sealed_json(data)
    except ValueError:
        return json.dumps({**data, "format": 8}).encode()


def setting(name: str, place: Place, *values: Any) -> Case:
    """A setting that would need more than a machine has."""
    return info(name, *(put(("config", *place), value) for value in values))


def raw(name: str, *contents: bytes) -> Case:
    def prepare(folder: Path) -> None:
        for k, data in enumerate(contents):
            (forged(folder, k) / "run.json").write_bytes(data)

    return Case(f"run.json: {name}", prepare, attempts, REFUSALS)


def special(name: str, make: Callable[[Path, Path], object]) -> Case:
    """In place of each of a run's files in turn."""

    def prepare(folder: Path) -> None:
        for k, file in enumerate(("run.json", "best.safetensors", "last.safetensors")):
            path = forged(folder, k) / file
            shutil.copy(path, outside_of(folder) / file)
            path.unlink()
            make(path, outside_of(folder))

    return Case(f"run: {name}", prepare, attempts, REFUSALS, named=False)


def _replaced(place: Place) -> Case:
    return info(f"{named(place)} replaced", *(put(place, v) for v in REPLACEMENTS), refused=False)


Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], object]


def checkpoint(name: str, *changes: Change, refused: bool = True) -> Case:
    """Other tensors in last.safetensors, which is otherwise sound."""

    def prepare(folder: Path) -> None:
        for k, change in enumerate(changes):
            path = forged(folder, k) / "last.safetensors"
            tensors, told = _read(path)
            change(tensors)
            save_weights(path, tensors, told["about"], told["run"])

    return Case(f"checkpoint: {name}", prepare, attempts, REFUSALS, refused)


def about(name: str, *texts: str, refused: bool = True) -> Case:
    """What the checkpoint says of itself, in a run whose checkpoints have a seal and in an older one."""

    def prepare(folder: Path) -> None:
        for k, text in enumerate(texts):
            for file in ("last.safetensors", "best.safetensors"):
                path = (forged(folder, k) if file.startswith("l") else folder / f"{k}.run") / file
                path.write_bytes(save(_read(path)[0], {"fdet": text}))
            if k % 2:
                _make_older(folder / f"{k}.run")

    return Case(f"checkpoint: {name}", prepare, attempts, REFUSALS, refused)


def _make_older(run: Path) -> None:
    data = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**data, "format": 8}))


def position(name: str, *values: Any) -> Case:
    """Under a seal, and in an older run."""

    def prepare(folder: Path) -> None:
        for k, value in enumerate(values):
            path = forged(folder, k) / "last.safetensors"
            tensors, told = _read(path)
            try:
                save_weights(path, tensors, value, told["run"])
            except ValueError:  # no number that a seal can be of
                path.write_bytes(save(tensors, {"fdet": json.dumps(value)}))
                _make_older(path.parent)

    return Case(f"checkpoint: position: {name}", prepare, attempts, REFUSALS)


def bytes_of(name: str, *contents: bytes | Callable[[Path], bytes]) -> Case:
    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            run = forged(folder, k)
            for file in ("last.safetensors", "best.safetensors"):
                data = given if isinstance(given, bytes) else given(outside_of(folder))
                (run / file).write_bytes(data)

    return Case(f"checkpoint: {name}", prepare, attempts, REFUSALS)


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Its tensors, and what it says of itself."""
    with safe_open(path, framework="pt") as file:
        return load(path.read_bytes()), json.loads(file.metadata()["fdet"])


def _first(tensors: Tensors, part: str) -> str:
    return next(name for name in sorted(tensors) if name.startswith(part))


def _with_first(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def edit(tensors: Tensors) -> None:
        name = _first(tensors, part)
        tensors[name] = change(tensors[name])

    return edit


def _without(part: str) -> Change:
    return lambda tensors: tensors.pop(_first(tensors, part))


def _also(name: str) -> Change:
    return lambda tensors: tensors.update({name: torch.zeros(1)})


def _pickle(outside: Path) -> bytes:
    torch.save({"a": _Call(open, f"{outside}/executed", "w")}, outside.parent / "made")
    return (outside.parent / "made").read_bytes()


def _places() -> list[Place]:
    return places_in(json.loads(_info().to_bytes()))


def toml(name: str, *contents: bytes | str) -> Case:
    def prepare(folder: Path) -> None:
        for k, text in enumerate(contents):
            data = text if isinstance(text, bytes) else text.encode()
            (folder / f"{k}.toml").write_bytes(data)

    return Case(f"config: {name}", prepare, _configs, (ConfigError,), named=False)


def _configs(folder: Path) -> Iterator[tuple[str, Thunk]]:
    for path in sorted(folder.glob("*.toml")):
        yield f"load {path.name}", lambda path=path: load_config(path).digest


def assignment(name: str, *given: str) -> Case:
    def tries(folder: Path) -> Iterator[tuple[str, Thunk]]:
        for text in given:
            yield f"--set {text[:40]!r}", lambda text=text: load_config(assignments=[text]).digest

    return Case(f"--set: {name}", lambda folder: None, tries, (ConfigError,), named=False)


def _deep(depth: int) -> str:
    return "[" * depth + "]" * depth


CASES = [
    raw("nested 100,000 deep", b"[" * 100_000, b'{"format":' * 100_000),
    raw("not JSON", b"", b"\0", b"[]", b"null", b"\xff", b'{"format":2', b'{"format":2}'),
    raw(
        "another format",
        b'{"format":1}',
        b'{"format":"x"}',
        b'{"format":[]}',
        b'{"format":"' + b"x" * 10**6 + b'"}',
        rb'{"format":"\u001b[2J"}',
    ),
    raw("numbers that no machine has", b'{"format":1e999}', b'{"format":' + b"1" * 5000 + b"}"),
    info(
        "an infinite number",
        put(("backbone_parameters",), float("inf")),
        put(("backbone_parameters",), float("nan")),
    ),
    info(
        "a field less",
        *(
            lambda data, n=n: data.pop(n)
            for n in (
                *("key", "class_ids", "class_names", "config", "backbone_parameters", "data"),
                "frequencies",
            )
        ),
    ),
    info("a field more of the key", put(("key", "x"), 1), put(("key", LONG), 1)),
    info(
        "classes",
        put(("class_ids",), [2]),
        put(("class_ids",), [2, 2]),
        put(("class_ids",), ["a", "b"]),
        put(("class_ids",), "ab"),
        put(("class_ids",), [[], {}]),
        put(("class_names",), [1, 2]),
        put(("class_names",), [ESCAPE, LONG]),
        put(("frequencies",), "r"),
        put(("frequencies",), "rx"),
        put(("frequencies",), [1, {}]),
    ),
    info(
        "a million classes",
        lambda data: data.update(
            class_ids=list(range(10**6)), class_names=["a"] * 10**6, frequencies="r" * 10**6
        ),
    ),
    info(
        "levels of huge maps",
        put(("key", "levels", 0, "channels"), 2**40),
        put(("key", "levels", 0, "channels"), 2**70),
        put(("key", "levels", 0, "channels"), 2**24),
    ),
    info(
        "levels of strange strides",
        put(("key", "levels", 1, "stride"), 2**62),
        put(("key", "levels", 0, "stride"), 1),
        put(("key", "levels", 0, "stride"), 8.5),
    ),
    info(
        "100,000 levels",
        put(
            ("key", "levels"),
            [{"name": f"p{k}", "stride": 8, "channels": 1} for k in range(100_000)],
        ),
    ),
    setting("neck.channels: huge", ("neck", "channels"), 2**20, 2**40, 2**70, 10**4000),
    setting("neck.max_level: huge", ("neck", "max_level"), 10**3, 10**9, 2**70),
    setting("neck.min_level: huge", ("neck", "min_level"), 10**9),
    setting("head.convs: huge", ("head", "convs"), 10**5, 10**9, 2**70),
    setting("head.anchor_scales: a million", ("head", "anchor_scales"), [4.0] * 10**6),
    setting("head.ratios: beyond numbers", ("head", "ratios"), [1e15] * 3000),
    setting(
        "head: Faster R-CNN of huge layers",
        ("head",),
        {"name": "faster-rcnn", "fc_channels": 2**24},
        {"name": "faster-rcnn", "pool_size": 10**6},
    ),
    setting("train.seed: huge", ("train", "seed"), 2**32, -1, 2**70),
    setting("an unknown setting", ("train", "x"), 1, LONG),
    setting("an unknown neck", ("neck", "name"), "x", "../x", LONG, ESCAPE, 5, [], {}, None),
    *(_replaced(place) for place in _places() if place[0] != "config"),
    *(_replaced(place) for place in _places() if place[0] == "config" and len(place) == 2),
    special("a link to a copy outside", lambda path, outside: path.symlink_to(outside / path.name)),
    special("a link to /dev/zero", lambda path, _: path.symlink_to("/dev/zero")),
    special("a FIFO", lambda path, _: os.mkfifo(path)),
    special("a folder", lambda path, _: path.mkdir()),
    special("not there", lambda path, _: None),
    special("a terabyte of nothing", lambda path, _: (path.touch(), os.truncate(path, 2**40))),
    special(
        "as long as run.json may be, of zeros",
        lambda path, _: (path.touch(), os.truncate(path, MAX_BYTES)),
    ),
    bytes_of("no safetensors", b"", b"hello", bytes(1000), b"PK\x03\x04", _pickle),
    bytes_of(
        "offsets beyond the file",
        safetensors({"a": tensor([16], [0, 2**40])}),
        safetensors({"a": tensor([16], [64, 0])}),
    ),
    bytes_of(
        "no tensors", safetensors({}, b""), safetensors({"__metadata__": {"fdet": "{}"}}, b"")
    ),
    checkpoint("a tensor less", _without("model."), _without("model.head")),
    checkpoint(
        "a tensor more", _also("model.x"), _also("x"), _also("model." + LONG), _also("optim.x")
    ),
    checkpoint(
        "tensors of other shapes",
        _with_first("model.", lambda x: x[:1].contiguous()),
        _with_first("model.", lambda x: torch.zeros(())),
        _with_first("model.", lambda x: torch.zeros(0)),
    ),
    checkpoint(
        "tensors of other types",
        *(
            _with_first("model.", lambda x, t=t: x.to(t))
            for t in (torch.int8, torch.bool, torch.float64)
        ),
        refused=False,
    ),
    checkpoint("complex tensors", _with_first("model.", lambda x: x.to(torch.complex64))),
    checkpoint(
        "the optimiser's names",
        *(
            _also(f"optim.{n}")
            for n in (
                "",
                "1",
                "x.y",
                "-1.step",
                "99.step",
                "1e3.step",
                "\u0663.step",
                f"{2**70}.step",
                "0",
                "0.",
                "0.x",
            )
        ),
    ),
    checkpoint(
        "the optimiser's shapes",
        *(
            _with_first("optim.0.exp_avg", c)
            for c in (
                lambda x: x[:1].contiguous(),
                lambda x: torch.zeros(()),
                lambda x: torch.zeros(3, 7),
            )
        ),
    ),
    checkpoint(
        "the optimiser's types",
        *(
            _with_first("optim.0.exp_avg", lambda x, t=t: x.to(t))
            for t in (torch.int8, torch.bool, torch.complex64)
        ),
    ),
    checkpoint(
        "the optimiser's steps",
        *(
            _with_first("optim.0.step", c)
            for c in (
                lambda x: torch.zeros(3),
                lambda x: x * float("nan"),
                lambda x: -x,
                lambda x: x.to(torch.complex64),
            )
        ),
    ),
    checkpoint("an optimiser less", _without("optim.0.step"), _without("optim.0.exp_avg")),
    about("nested deep", "[" * 100_000, '{"a":' * 50_000),
    about("not JSON", "", "x", "{", "nan"),
    about("another type", "[]", "5", '"x"', "null", "[1, 2]", "{}{}"),
    position("unknown fields", {"x": 1}, {LONG: 1}, {"step": 1, "self": 2}),
    position(
        "step",
        *({"step": v} for v in (-1, 2**70, 1.5, "1", None, [], True, float("inf"), 10**4000)),
    ),
    position(
        "best",
        *({"step": 1, "best_ap": v} for v in ("x", [], float("nan"), 1e308, -1, 10**400)),
        {"step": 1, "best_epoch": "x"},
        {"step": 1, "best_epoch": None},
        {"step": 1, "finished": "x"},
        {"step": 1, "finished": []},
    ),
    # Config files.
    toml(
        "nested deep",
        f"a = {_deep(100_000)}",
        f"a = {_deep(900)}",
        "a = " + "{a=" * 50_000,
        "[train]\nepochs = " + _deep(800),
    ),
    toml(
        "a long dotted name",
        "train.epochs" + ".a" * 3000 + " = 1",
        "[train" + ".a" * 3000 + "]\nb = 1",
    ),
    toml(
        "unknown names",
        "x = 1",
        "[x]",
        "[train]\nx = 1",
        f"[train]\n{LONG} = 1",
        f"[{LONG}]",
        '[train]\n"\\u001b[2J" = 1',
        '["\\u001b[2J"]',
    ),
    toml(
        "other types",
        *(
            f"[train]\nepochs = {v}"
            for v in ("true", "1.5", "'1'", "[]", "{}", "1979-05-27", "nan", "inf")
        ),
        "train = 1",
        "neck = []",
        "train = '" + "x" * 10**6 + "'",
    ),
    toml(
        "huge integers",
        "[train]\nepochs = " + "9" * 4000,
        "[train]\nepochs = " + "9" * 5000,
        "[train]\nepochs = 0x" + "f" * 10_000,
        "[train]\nbatch_size = 0b1" + "0" * 20_000,
    ),
    toml(
        "huge integers for numbers",
        "[optim]\nlr = " + "9" * 400,
        "[optim]\nlr = 0x" + "f" * 10_000,
        "[optim]\nlr = 1e999",
        "[optim]\nlr = nan",
        "[optim]\nlr = -inf",
    ),
    toml("not TOML", b"\xff\xfe", b"\0", b"[", b"= 1", b"{}", b'a = "\x1b"', b"a = 1\na = 2"),
    toml(
        "strange choices",
        *(
            f"[optim]\nname = {v}"
            for v in ("[]", "{}", "1", "'x'", "['adamw']", "'" + "x" * 10**6 + "'")
        ),
    ),
    toml(
        "long lists of other types",
        "[head]\nname = 'retinanet'\nratios = [" + "1.0," * 10**5 + "'x']",
        "[schedule]\nmilestones = ['x']",
    ),
    assignment("nested deep", f"train.epochs={_deep(100_000)}", "train.epochs=" + "{a=" * 10_000),
    assignment("a long dotted name", "train" + ".a" * 3000 + "=1"),
    assignment("huge integers", "train.epochs=" + "9" * 5000, "train.epochs=0x" + "f" * 10_000),
    assignment(
        "not an assignment",
        "",
        "=",
        "a",
        ".=1",
        "train.=1",
        ".epochs=1",
        "\0=1",
        "train.epochs=\x1b[2J",
        "train.epochs=" + LONG,
    ),
]
