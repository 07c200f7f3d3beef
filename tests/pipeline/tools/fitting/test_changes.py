"""Options and data that differ from those of the command that a fit was begun with."""

import json
import shutil
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.splits.named_splits import read_splits
from fdet.pipeline.dataset.writing.conversion import convert_data_set
from fdet.pipeline.dataset.writing.writers import WRITERS
from fdet.pipeline.tools.fitting.fit import fit
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.session import StepFailed
from fdet.pipeline.tools.fitting.state import State

from ...dataset.made import draw
from .fake import STEPS, Fake, fitted, option, settings

pytestmark = pytest.mark.usefixtures("as_for_users")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": 7200.0}, "--time"),
        ({"size": 96}, "--size"),
        ({"seed": 1}, "--seed"),
        ({"assignments": ["train.epochs=3"]}, "--set"),
    ],
)
def test_other_options_than_before_are_refused(change, said, data):
    fitted(data)
    with pytest.raises(InputError, match=f"^{said}: it was .* choose another --out"):
        fitted(data, **change)
    assert fitted(data).calls == []


@pytest.mark.parametrize("failed", ["plan", "extract"])
def test_as_long_as_nothing_is_extracted_options_and_data_may_change(failed, data):
    whole = data / "train.json"
    with pytest.raises(StepFailed, match="all options may change"):
        fitted(whole, Fake(statuses={failed: [2]}), images=data / "images")
    fake = fitted(whole, images=data / "images", seed=5, size=64)
    assert fake.names == ["split", *STEPS]
    shutil.rmtree("work")
    with pytest.raises(StepFailed):
        fitted(whole, Fake(statuses={failed: [1]}), images=data / "images")
    shutil.copy(data / "images" / "8.png", data / "images" / "0.png")
    assert fitted(whole, images=data / "images").names == ["split", *STEPS]


def test_what_concerns_the_training_may_change_until_it_begins(data):
    with pytest.raises(
        StepFailed, match=r"; --config, --set, --memory-limit, --time, .* may change"
    ):
        fitted(data, Fake(statuses={"train-heads": [-9]}), memory_limit="8GiB")
    more = {"memory_limit": "2GiB", "threads": 2, "assignments": ["train.batch_size=2"]}
    fake = fitted(data, **more)
    assert fake.names == ["train-heads", "evaluate", "evaluate", "cache", "predict", "report"]
    (training,) = fake.of("train-heads")
    assert (option(training, "--memory-limit"), option(training, "--threads")) == ("2GiB", "2")
    assert settings(training) == {"train.batch_size": "2"}
    with pytest.raises(InputError, match=r"--memory-limit: .* delete work/run to train anew"):
        fitted(data, **{**more, "memory_limit": "4GiB"})
    assert fitted(data, **{**more, "threads": 1}).calls == []
    shutil.rmtree("work/run")
    assert fitted(data).names == [
        "train-heads",
        "evaluate",
        "evaluate",
        "cache",
        "predict",
        "report",
    ]


@pytest.mark.parametrize("time", [900.0, 300.0, None])
def test_the_time_may_change_until_training_begins(time, data):
    given = {"statuses": {"train-heads": [0, 1]}, "step": 0.02}
    with pytest.raises(StepFailed):
        fitted(data, Fake(**given), time=600.0)
    assert State.read(Path("work")).length is not None
    fake = fitted(data, Fake(step=0.02), time=time)
    chosen = settings(fake.of("train-heads")[0])
    assert bool(chosen) == (time is not None)
    if time is not None:
        assert State.read(Path("work")).options["time"] == time
        assert int(chosen["train.epochs"]) > 100


def test_a_configuration_that_is_given_later_comes_before_the_smaller_detector(data):
    with pytest.raises(StepFailed):
        fitted(data, Fake(statuses={"train-heads": [0, 0, 1]}), time=360.0)
    assert State.read(Path("work")).chosen.preset == "tal-fpn-s"
    fake = fitted(data, time=360.0, config=Path("retinanet-fpn"))
    assert option(fake.of("train-heads")[0], "--config") == "retinanet-fpn"


def test_a_refused_command_is_not_to_be_repeated_as_it_is(data):
    with pytest.raises(StepFailed, match=r"status 2.*; correct what the line above names") as no:
        fitted(data, Fake(statuses={"train-heads": [2]}))
    assert "run the same command" not in str(no.value)


def edited(data: Path) -> None:
    shutil.copy(data / "images" / "1.png", data / "images" / "8.png")


def relabelled(data: Path) -> None:
    coco = json.loads((data / "train.json").read_text())
    coco["annotations"][0]["bbox"] = [1, 1, 7, 7]
    (data / "train.json").write_text(json.dumps(coco))


@pytest.mark.parametrize("begun", [None, "extract", "train-heads", "report"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(edited, r"1 image with another file \(8.png\)"), (relabelled, r"1 image with other objects")],
)
def test_data_that_have_changed_are_not_those_of_before(begun, change, said, data):
    statuses = {begun: [0, 1] if begun == "extract" else [1]} if begun else {}
    if begun is None:
        fitted(data)
    else:
        with pytest.raises(StepFailed):
            fitted(data, Fake(statuses=statuses))
    kept = Path("work/fit.json").read_bytes()
    change(data)
    fake = Fake()
    with pytest.raises(InputError, match=f"the data have changed .*{said}.*delete work"):
        fitted(data, fake)
    assert fake.calls == [] and Path("work/fit.json").read_bytes() == kept


def test_data_that_were_split_are_compared_too(data):
    given = {"data": data / "train.json", "images": data / "images"}
    fitted(**given)
    assert fitted(**given).calls == []
    relabelled(data)
    with pytest.raises(InputError, match="1 image with other objects"):
        fitted(**given)


@pytest.mark.parametrize("format", WRITERS)
def test_a_fit_within_the_folder_of_its_data_does_not_change_them(format, data, tmp_path):
    folder, fake = tmp_path / "set", Fake()
    convert_data_set(read_splits([data]), folder, format)
    fit(FitOptions(data=folder, out=folder / "work"), fake.around)
    draw(folder / "work" / "found" / "pictures" / "6.png", 1)
    draw(folder / "work" / "run" / "curve.png", 2)
    again = Fake()
    fit(FitOptions(data=folder, out=folder / "work"), again.around)
    assert (fake.names, again.names) == (STEPS, [])


def test_a_fit_within_a_flat_folder_does_not_take_its_pictures_for_images(tmp_path):
    folder = tmp_path / "flat"
    for k in range(6):
        draw(folder / f"{k}.png", k)
        (folder / f"{k}.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    (folder / "data.yaml").write_text("train: .\nnames: [cat]\n")
    first = Fake()
    fit(FitOptions(data=folder, out=folder / "work"), first.around)
    draw(folder / "work" / "found" / "pictures" / "6.png", 1)
    again = Fake()
    fit(FitOptions(data=folder, out=folder / "work"), again.around)
    assert (first.names, again.names) == (["split", *STEPS], [])
    other = Fake()
    fit(FitOptions(data=folder, out=folder / "other"), other.around)
    assert json.loads((folder / "other" / "inputs.json").read_text()) == json.loads(
        (folder / "work" / "inputs.json").read_text()
    )


def test_a_fit_that_does_not_know_its_data_says_so(data):
    fitted(data)
    state = State.read(Path("work"))
    state.inputs = ""
    state.write()
    relabelled(data)
    fake = fitted(data)
    assert fake.calls == []
    assert sum("whether they have changed since is not known" in line for line in fake.said) == 1


def test_without_the_list_of_data_a_change_is_noticed_all_the_same(data):
    fitted(data)
    Path("work/inputs.json").unlink()
    assert fitted(data).calls == []
    relabelled(data)
    with pytest.raises(InputError, match=r"in what is not known, as inputs\.json was lost"):
        fitted(data)
