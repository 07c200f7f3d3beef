"""fit.json: what was written is read back; what somebody altered is refused in one line."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.errors import CorruptCache
from fdet.cache.format.sealed import SEAL, sealed_json
from fdet.pipeline.tools.fitting.canvas import Canvas
from fdet.pipeline.tools.fitting.length import Length
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.state import NAME, Chosen, Done, State


@pytest.fixture
def options(tmp_path) -> FitOptions:
    data = tmp_path / "data.json"
    data.write_text("{}")
    return FitOptions(data=data, out=tmp_path, time=600.0, assignments=["head.convs=1"])


@pytest.fixture
def state(options) -> State:
    return State(
        options.out,
        options.to_json(),
        "/somewhere",
        Chosen(
            *(Canvas(96, 128), "plain,hflip", "int5", 40, 10, "tal-fpn-s", 0.5, 2.0, 60.0),
            {"sample": 0.1},
        ),
        Length(12, 2, 0.25),
        {"train": Done(("train-heads", "a b"), 1.5, 0), "check 1": Done(("dataset",), 1.5, 3)},
        "/images",
        99.5,
        "ab" * 32,
    )


def test_it_is_read_as_it_was_written(state):
    assert State.read(state.out) is None
    state.write()
    assert State.read(state.out) == state
    assert list(State.read(state.out).done) == ["train", "check 1"], (
        "the order is that of the steps"
    )
    state.chosen, state.length, state.images = None, None, None
    state.write()
    assert State.read(state.out) == state


def test_a_state_of_an_older_fdet_is_read(state):
    state.write()
    data = json.loads((state.out / NAME).read_text())
    del data["inputs"]
    _seal(state.out, data)
    assert State.read(state.out) == replace(state, inputs="")


def test_a_bit_that_flipped_is_noticed(state):
    state.write()
    path = state.out / NAME
    path.write_bytes(path.read_bytes().replace(b"99.5", b"98.5"))
    with pytest.raises(CorruptCache, match="altered"):
        State.read(state.out)


WRONG = [
    (("format",), 2),
    (("options",), []),
    (("folder",), 3),
    (("images",), 3),
    (("chosen",), 5),
    (("chosen", "canvas"), None),
    (("chosen", "canvas", "short"), 0),
    (("chosen", "canvas", "short"), 1000),
    (("chosen", "canvas", "short"), "96"),
    (("chosen", "canvas", "long"), 2**20),
    (("chosen", "canvas", "square"), 1),
    (("chosen", "views"), "plain,--out"),
    (("chosen", "views"), None),
    (("chosen", "codec"), "int7"),
    (("chosen", "images"), 0),
    (("chosen", "val_images"), "7"),
    (("chosen", "preset"), "../secret"),
    (("chosen", "step"), -1),
    (("chosen", "step"), "1"),
    (("chosen", "step"), True),
    (("chosen", "after"), 1e99),
    (("chosen", "measured"), [1]),
    (("chosen", "measured"), {"a": "b"}),
    (("length", "epochs"), 0),
    (("length", "epochs"), 1.5),
    (("length", "eval_every"), None),
    (("length", "fraction"), 2),
    (("done",), {}),
    (("done", 0), "rm -rf"),
    (("done", 0, "name"), 3),
    (("done", 0, "words"), "rm -rf"),
    (("done", 0, "words"), [1]),
    (("done", 0, "status"), 256),
    (("done", 0, "seconds"), -1),
    (("seconds",), None),
    (("seconds",), 10**400),
    (("inputs",), "no sha256"),
    (("inputs",), None),
]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=[f"{p[-1]}={v!r:.20}" for p, v in WRONG])
def test_a_wrong_value_is_refused(place, value, state):
    state.write()
    data = json.loads((state.out / NAME).read_text())
    inner = data
    for name in place[:-1]:
        inner = inner[name]
    assert place[-1] == 0 or place[-1] in inner
    inner[place[-1]] = value
    _seal(state.out, data)
    with pytest.raises(
        CorruptCache, match=r"unreadable .*; put a copy of it back, choose another --out, or delete"
    ):
        State.read(state.out)


@pytest.mark.parametrize(
    "name", ["format", "options", "folder", "chosen", "length", "done", "seconds"]
)
def test_a_missing_value_is_refused(name, state):
    state.write()
    data = json.loads((state.out / NAME).read_text())
    del data[name]
    _seal(state.out, data)
    with pytest.raises(CorruptCache, match="unreadable"):
        State.read(state.out)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 1', "[" * 100_000])
def test_other_texts_are_refused(text, state):
    (state.out / NAME).write_text(text)
    with pytest.raises(CorruptCache):
        State.read(state.out)


def _seal(out: Path, data: dict) -> None:
    content = {name: value for name, value in copy.deepcopy(data).items() if name != SEAL}
    (out / NAME).write_bytes(sealed_json(content))


def test_the_name_of_a_preset_is_no_path(options):
    preset = replace(options, config=Path("tal-fpn-s"))
    assert preset.to_json()["config"] == "tal-fpn-s"
    assert preset.absolute().config == Path("tal-fpn-s")
    assert preset.absolute().out == options.out.absolute()


def test_the_files_that_options_name_are_known_by_their_content(options, tmp_path):
    config, weights = tmp_path / "own.toml", tmp_path / "w.pth"
    config.write_text("[train]")
    weights.write_bytes(b"weights")
    named = replace(options, config=config, weights=f"{weights}#ema")
    before = named.to_json()
    assert before == named.to_json()
    for file, name in ((config, "config_file"), (weights, "weights_file")):
        file.write_text("other")
        assert named.to_json()[name] != before[name]
    none = replace(options, config=Path("tal-fpn-s"), weights="random").to_json()
    assert (none["config_file"], none["weights_file"]) == (None, None)


def test_no_path_is_taken_for_an_option(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "data": Path("./-d"),
        "out": Path("-o"),
        "val": Path("-v"),
        "images": Path("-i/x"),
        "config": Path("-c"),
    }
    safe = replace(options, weights="-w.pth", **names).without_dashes()
    for name, path in names.items():
        assert getattr(safe, name) == tmp_path / path
    assert safe.weights == "./-w.pth"
    assert options.without_dashes() == options
