"""A fit goes on under another name, from another folder, and with data that lie elsewhere."""

import json
import shutil
from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.cache.format.sealed import SEAL, sealed_json
from fdet.pipeline.tools.fitting.fit import fit
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.session import StepFailed
from fdet.pipeline.tools.fitting.state import State

from .fake import Fake, fitted

pytestmark = pytest.mark.usefixtures("as_for_users")


def again(**given) -> Fake:
    fake = Fake()
    fit(FitOptions(**given), fake.around)
    return fake


def test_a_folder_that_was_moved_has_commands_of_its_own(data):
    fitted(data)
    Path("work").rename("other")
    fake = again(data=data, out=Path("other"))
    assert fake.calls == []
    said = [*fake.said, *Path("other/commands.sh").read_text().splitlines()]
    assert any("other/train.fdet" in line for line in said)
    assert not [line for line in said if " work/" in line or line.endswith(" work")]
    assert "work/" not in Path("other/fit.json").read_text()


def test_a_folder_that_was_moved_in_the_middle_goes_on(data):
    with pytest.raises(StepFailed):
        fitted(data, Fake(statuses={"train-heads": [1]}))
    Path("sub").mkdir()
    Path("work").rename("sub/work")
    fake = again(data=data, out=Path("sub/work"))
    assert fake.names[0] == "train-heads"
    assert "sub/work/train.fdet" in fake.calls[0]


WAYS = ["../data", "../sub/../data", "{data}", "{data}/../data", "../link"]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_command_from_another_folder_is_the_same(way, data, tmp_path, monkeypatch):
    Path("link").symlink_to("data")
    Path("own.toml").write_text("")
    Path("w.pth").write_bytes(b"weights")
    more = {"config": Path("own.toml"), "weights": "w.pth"}
    images, val = Path("data/images"), Path("data/val.json")
    fitted(Path("data/train.json"), val=val, images=images, **more)
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    folder = Path(way.format(data=data))
    fake = again(
        data=folder / "train.json",
        val=folder / "val.json",
        images=folder / "images",
        out=Path("../work"),
        config=Path("../own.toml"),
        weights="../w.pth",
    )
    assert fake.calls == []
    assert f"\ncd {tmp_path}\n" in Path("../work/commands.sh").read_text()


def test_another_path_of_the_same_data_is_no_change(data):
    fitted(Path("data"))
    for same in (Path("data/../data"), Path("./data"), data, data / ".." / "data"):
        assert fitted(same).calls == []


@pytest.mark.parametrize("begun", [True, False])
def test_data_that_were_moved_behind_a_link_are_the_same(begun, data, tmp_path):
    if begun:
        with pytest.raises(StepFailed):
            fitted(data, Fake(statuses={"train-heads": [1]}))
    else:
        fitted(data)
    data.rename(tmp_path / "disk")
    data.symlink_to(tmp_path / "disk")
    assert fitted(data).names == (
        ["train-heads", "evaluate", "evaluate", "cache", "predict", "report"] if begun else []
    )
    assert fitted(tmp_path / "disk").calls == []


def test_other_data_behind_a_link_are_not_the_same(data, tmp_path):
    fitted(data)
    shutil.copytree(data, tmp_path / "disk")
    shutil.copy(tmp_path / "disk/images/1.png", tmp_path / "disk/images/0.png")
    data.rename(tmp_path / "before")
    data.symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match=r"with another file .*0\.png"):
        fitted(data)


def test_a_state_of_an_older_fdet_goes_on(data):
    fitted(data)
    state = State.read(Path("work"))
    content = json.loads(Path("work/fit.json").read_text())
    del content[SEAL]
    for step, done in zip(content["done"], state.done.values(), strict=True):
        assert any("{out}" in word for word in step["words"]) or step["name"] == "check 1"
        step["words"] = done.words
    Path("work/fit.json").write_bytes(sealed_json(content))
    fake = fitted(data)
    assert fake.calls == [] and any("work/train.fdet" in line for line in fake.said)
