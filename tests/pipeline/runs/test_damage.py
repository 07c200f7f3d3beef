"""A checkpoint that is not what was written for this run is refused, whatever was changed in it."""

import json
import logging
import struct
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fdet.cache.errors import CorruptCache
from fdet.pipeline.runs.checkpoint import load_state, load_weights, save_state, save_weights
from fdet.pipeline.runs.position import Position, count_trained, read_position

from .test_checkpoint import ALL, INFO, RUN, trained
from .test_model import model_of

OTHER = replace(INFO, data={**INFO.data, "training data": "another"})
OLDER = replace(INFO, format=8)


@pytest.fixture
def state(tmp_path):
    save_state(tmp_path / "last.safetensors", *trained(), ALL, RUN)
    return tmp_path / "last.safetensors"


@pytest.fixture
def weights(tmp_path):
    save_weights(tmp_path / "best.safetensors", model_of().tensors(), {"epoch": 3}, RUN)
    return tmp_path / "best.safetensors"


def header(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), 8 + length


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def flip(path, place):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 0x40
    path.write_bytes(raw)


def read_all(path, info=INFO):
    load_state(path, *trained(1), info)


def test_a_bit_in_any_tensor_is_seen(state, weights):
    model, optimiser = trained(1)
    reads = (
        (state, lambda: load_state(state, model, optimiser, INFO)),
        (weights, lambda: load_weights(weights, model, INFO)),
    )
    for path, read in reads:
        told, start = header(path)
        sound = path.read_bytes()
        names = [name for name, entry in told.items() if name != "__metadata__"]
        assert len(names) > 10
        for name in names:
            first, last = told[name]["data_offsets"]
            flip(path, start + (first + last - 1) // 2)
            with pytest.raises(CorruptCache, match=r"not those that were written: expected sha256"):
                read()
            path.write_bytes(sound)
        read()


def test_a_state_that_is_used_as_weights_is_checked_too(state):
    told, start = header(state)
    name = next(n for n in told if n.startswith("optim."))
    flip(state, start + told[name]["data_offsets"][0])
    with pytest.raises(CorruptCache, match="not those that were written"):
        load_weights(state, model_of(), INFO)


def test_tensors_that_changed_places_are_seen(weights):
    found = load_file(weights)
    by_shape = {}
    for name in found:
        by_shape.setdefault(tuple(found[name].shape), []).append(name)
    alike = [names for shape, names in by_shape.items() if len(shape) == 4 and len(names) > 1]
    one, other = alike[0][:2]
    found[one], found[other] = found[other], found[one]
    save_file(found, weights, metadata(weights))
    with pytest.raises(CorruptCache, match="not those that were written"):
        load_weights(weights, model_of(), INFO)


@pytest.mark.parametrize("read", [read_all, lambda p: read_position(p, INFO)])
def test_a_changed_position_is_seen_without_any_tensor(read, state):
    changed = metadata(state)["fdet"].replace('"finished":false', '"finished":true')
    assert changed != metadata(state)["fdet"]
    save_file(load_file(state), state, {"fdet": changed})
    with pytest.raises(CorruptCache, match=r"does not match its own digest.*put a copy"):
        read(state)


def test_a_tensor_less_or_of_another_shape_is_seen_without_its_values(state):
    found, told = load_file(state), metadata(state)
    name = next(n for n in found if n.endswith(".exp_avg"))
    for changed in (
        {n: v for n, v in found.items() if n != name},
        {**found, name: found[name].reshape(-1)},
        {("x" if n == name else n): v for n, v in found.items()},
    ):
        save_file(changed, state, told)
        for read in (read_position, count_trained):
            with pytest.raises(CorruptCache, match="names and shapes"):
                read(state, INFO)


def test_a_file_of_another_run_is_refused(state, weights):
    for read in (
        lambda: read_all(state, OTHER),
        lambda: read_position(state, OTHER),
        lambda: count_trained(state, OTHER),
        lambda: load_weights(weights, model_of(), OTHER),
    ):
        with pytest.raises(CorruptCache, match="it belongs to another run: expected one whose"):
            read()


def test_what_to_do_depends_on_the_file(state, weights):
    with pytest.raises(CorruptCache, match=f"--start {state.parent}"):
        read_position(state, OTHER)
    with pytest.raises(CorruptCache, match="--checkpoint last"):
        load_weights(weights, model_of(), OTHER)


@pytest.mark.parametrize("lost", ["best", "last"])
def test_no_checkpoint_is_offered_that_the_run_does_not_have(lost, state, weights):
    kept, read = {
        "best": (state, lambda path: read_position(path, OTHER)),
        "last": (weights, lambda path: load_weights(path, model_of(), OTHER)),
    }[lost]
    kept.with_name(f"{lost}.safetensors").unlink()
    with pytest.raises(CorruptCache, match="put a copy of it back, or train once more"):
        read(kept)


def test_a_file_without_a_checksum_is_an_older_runs_alone(state, caplog):
    position = json.dumps({"step": 7})
    save_file(load_file(state), state, {"fdet": position})
    with pytest.raises(CorruptCache, match="it carries no checksum"):
        read_position(state, INFO)
    with pytest.raises(CorruptCache, match="it carries no checksum"):
        read_all(state)
    with caplog.at_level(logging.WARNING, "fdet"):
        assert read_position(state, OLDER) == Position(7)
        assert caplog.messages == []
        assert load_state(state, *trained(1), OLDER)[0] == Position(7)
    (line,) = caplog.messages
    assert "made by an older fdet" in line and "carry no checksum" in line


def test_where_an_older_run_has_a_checksum_it_counts(state, caplog):
    """It was gone on with."""
    own = replace(OLDER, read_digest=RUN)
    assert read_position(state, own) == ALL
    read_all(state, own)
    assert caplog.messages == []
    _, start = header(state)
    flip(state, start)
    with pytest.raises(CorruptCache, match="not those that were written"):
        read_all(state, own)
