"""ablation.json: what it keeps, and what it does not take on trust."""

import json

import pytest

from fdet.cache.errors import CorruptCache
from fdet.pipeline.tools.ablation.plan import read_plan
from fdet.pipeline.tools.ablation.state import NAME, State, is_finished
from fdet.pipeline.tools.ablation.trials import trials_of


@pytest.fixture
def trials(write, opened):
    return trials_of(read_plan(write("[axes]\n'optim.lr' = [1.0, 2.0, 3.0]")), opened)


@pytest.fixture
def state(trials, tmp_path):
    found = State.read(tmp_path)
    found.take(trials)
    return found


def test_what_is_written_is_read(state, trials, tmp_path):
    state.note(trials[0], "failed", "why", "logs/x.log")
    state.note(trials[1], "pruned", "slow", "logs/y.log")
    state.write()
    again = State.read(tmp_path)
    assert again.entries == state.entries
    again.take(trials)
    assert [again.status(t) for t in trials] == ["failed", "pruned", "waiting"]
    again.take(trials, {"failed"})
    assert [again.status(t) for t in trials] == ["waiting", "pruned", "waiting"]


def test_what_the_plan_no_longer_has_is_kept_aside(state, trials):
    state.note(trials[0], "failed", "why", "")
    state.take(trials[1:])
    entry = state.entries[trials[0].digest]
    assert (entry.status, entry.reason, entry.planned) == ("failed", "why", False)
    state.take(trials)
    assert state.entries[trials[0].digest].planned and state.status(trials[0]) == "failed"


def test_whether_a_trial_is_finished_its_folder_says(state, trials, tmp_path):
    state.note(trials[0], "finished", "", "")
    state.take(trials)
    assert state.status(trials[0]) == "waiting"
    folder = state.folder(trials[0])
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    (folder / "last.safetensors").write_bytes(b"damaged")
    assert not is_finished(folder)


@pytest.mark.parametrize(
    "text",
    ["[]", "{", "{}", '{"format": 9, "trials": []}', '{"format": 1, "trials": [{"digest": "x"}]}'],
)
def test_what_is_no_state_is_refused(text, tmp_path):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(CorruptCache):
        State.read(tmp_path)


def test_an_unknown_status_is_refused(state, trials, tmp_path):
    state.write()
    data = json.loads((tmp_path / NAME).read_text())
    data["trials"][0]["status"] = "done"
    (tmp_path / NAME).write_text(json.dumps(data))
    with pytest.raises(CorruptCache, match="unknown status"):
        State.read(tmp_path)
