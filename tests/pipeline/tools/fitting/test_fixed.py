"""Which options may change while a fit is under way, and what is said of those that may not."""

from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.fitting.fixed import changed_options, open_options, refuse_fixed
from fdet.pipeline.tools.fitting.folder import Begun
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.state import State

EXTRACTED, TRAINED = Begun(extraction=True), Begun(extraction=True, training=True)
STOPPED = replace(EXTRACTED, unfinished=Path("work/val.fdet"))


@pytest.fixture
def options(tmp_path) -> FitOptions:
    data = tmp_path / "data.json"
    data.write_text("{}")
    return FitOptions(data=data, out=tmp_path, time=300.0, assignments=["head.convs=1"])


@pytest.fixture
def state(options) -> State:
    return State(options.out, options.to_json(), "/somewhere")


def refused(state, options, begun, **change) -> None:
    refuse_fixed(state, replace(options, **change).to_json(), begun)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"time": 5400.0},
            r"--time: it was 5m when .* and is 1h30m now, and it is fixed once training has",
        ),
        ({"time": 90.5}, "is 1m30.5s now"),
        ({"time": None}, "--time: it was 5m .* is not given now"),
        ({"views": "plain"}, "--views: it was not given .* is plain now, .* once anything is extr"),
        ({"assignments": ()}, "--set: it was head.convs=1 .* is not given now"),
        ({"data": Path("/other.json")}, "DATA: it was .*data.json .* is /other.json now"),
        ({"val_split": "val"}, "--val-split: it was not given"),
        ({"memory_limit": "2GiB"}, "--memory-limit: .* is 2GiB now, .* delete .*/run to train an"),
        ({"bits": 12}, "--bits: it was not given"),
        ({"disk": 3 * 10**9}, "--disk: .* is 3GB now"),
        ({"disk": 2**20 * 1536}, "--disk: .* is 1536MiB now"),
        ({"disk": 12345}, "--disk: .* is 12345B now"),
    ],
)
def test_an_option_that_is_fixed_is_named(change, said, state, options):
    refused(state, options, TRAINED)
    with pytest.raises(InputError, match=said) as no:
        refused(state, options, TRAINED, **change)
    assert str(no.value).endswith("or choose another --out")


@pytest.mark.parametrize("name", ["threads", "device"])
def test_the_machine_is_fixed_while_a_step_is_unfinished(name, state, options):
    change = {name: {"threads": 2, "device": "cpu"}[name]}
    refused(state, options, EXTRACTED, **change)
    refused(state, options, TRAINED, **change)
    said = f"--{name}: .* while an extraction .* delete work/val.fdet, which is then made anew"
    with pytest.raises(InputError, match=said):
        refused(state, options, STOPPED, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"time": 900.0},
        {"time": None},
        {"memory_limit": "2GiB"},
        {"assignments": ["train.epochs=3"]},
        {"config": Path("tal-fpn-s")},
        {"ignore_errors": True},
    ],
    ids=str,
)
def test_what_concerns_the_training_may_change_until_it_begins(change, state, options):
    refused(state, options, EXTRACTED, **change)
    refused(state, options, STOPPED, **change)


def test_a_time_that_was_not_given_was_not_measured_for(options):
    state = State(options.out, replace(options, time=None).to_json(), "/somewhere")
    refused(state, options, Begun())
    with pytest.raises(InputError, match=r"--time: it was not given .* once anything is extracted"):
        refused(state, options, EXTRACTED)


def test_the_content_of_the_configuration_counts(state, options, tmp_path):
    config = tmp_path / "own.toml"
    config.write_text("[train]")
    given = replace(options, config=config)
    state.options = given.to_json()
    config.write_text("[optim]")
    refused(state, given, EXTRACTED)
    said = r"the file of --config: it was another file \(sha256 \w+\) .* delete .*/run"
    with pytest.raises(InputError, match=said):
        refused(state, given, TRAINED)


def test_a_fit_of_an_older_fdet_does_not_know_the_files(state, options):
    for name in ("config_file", "weights_file"):
        del state.options[name]
    assert changed_options(state, options.to_json()) == []


def test_a_path_may_be_written_in_another_way(state, options, monkeypatch):
    monkeypatch.chdir(options.data.parent)
    refused(state, options, TRAINED, data=Path("data.json"), out=Path())


def test_the_options_that_are_open_are_listed():
    assert open_options(Begun()) == "all options"
    training = "--config, --set, --memory-limit"
    assert open_options(EXTRACTED) == f"{training}, --time, --device and --threads"
    assert open_options(STOPPED) == f"{training} and --time"
    assert open_options(TRAINED) == "--device and --threads"
    assert open_options(replace(TRAINED, unfinished=Path("run"))) == ""
