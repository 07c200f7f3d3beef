"""fit.json: what was written is read back; what somebody altered is refused in one line."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.errors import CorruptCache, InputError
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
    with pytest.raises(CorruptCache, match=r"unreadable .*; choose another --out"):
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": 1200.0}, "--time: it was 600.0 when .* was begun, and is 1200.0 now"),
        ({"time": None}, "--time: it was 600.0 .* is not given now"),
        ({"views": "plain"}, "--views: it was not given .* is plain now"),
        ({"assignments": ()}, "--set: it was head.convs=1 .* is not given now"),
        ({"data": Path("/other.json")}, "DATA: it was .*data.json .* is /other.json now"),
        ({"val_split": "val"}, "--val-split: it was not given"),
        ({"threads": 2}, "--threads: it was not given"),
        ({"bits": 12}, "--bits: it was not given"),
    ],
)
def test_another_option_is_named(change, said, state, options):
    state.refuse_other(options)
    with pytest.raises(InputError, match=said):
        state.refuse_other(replace(options, **change))


def test_a_path_may_be_written_in_another_way(state, options, monkeypatch):
    monkeypatch.chdir(options.data.parent)
    state.refuse_other(replace(options, data=Path("data.json"), out=Path()))


def test_the_name_of_a_preset_is_no_path(options):
    preset = replace(options, config=Path("tal-fpn-s"))
    assert preset.to_json()["config"] == "tal-fpn-s"
    assert preset.absolute().config == Path("tal-fpn-s")
    assert preset.absolute().out == options.out.absolute()
