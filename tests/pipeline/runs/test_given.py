"""An error about a setting that a file or preset brought names it; one about an option does not."""

from pathlib import Path

import pytest

from fdet.cache.errors import ConfigError
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.described import described_settings


def said(path, **more):
    with pytest.raises(ConfigError) as raised:
        load_config(path, **more)
    return str(raised.value)


def test_a_setting_of_a_preset_that_another_neck_lacks_is_named_as_the_presets():
    text = said(Path("faster-fpn"), neck="bifpn")
    assert text.startswith("preset faster-fpn: unknown setting 'neck.extra' of neck bifpn; only ")
    assert text.endswith("; it is made for neck fpn")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "[optim]\nlearning_rate = 1",
            "unknown setting 'optim.learning_rate'; did you mean 'optim.lr",
        ),
        ("epochs = 3", "unknown setting 'epochs'; did you mean 'train.epochs'"),
        ("workers = 3", "unknown setting 'workers'; did you mean 'train.workers'"),
        ("[data]\nbatch_size = 3", "unknown setting 'data.batch_size'; did you mean 'train.batch"),
        ("[optm]\nlr = 1", "unknown setting 'optm.lr'; did you mean 'optim.lr'"),
        ("[optm]\nzzz = 1", "unknown section 'optm'; did you mean 'optim'"),
        ("optim = 3", "setting 'optim': expected a section, got 3"),
        ("[train]\nepochs = 'many'", "setting 'train.epochs': expected int"),
        ("[train]\nepochs = 0", "setting 'train.epochs': expected at least 1, got 0"),
        ("[head]\nname = 'retinanat'", "unknown head 'retinanat'; did you mean 'retinanet'"),
        ("[head]\nname = 3", "unknown head 3"),
        ("[neck]\nlevels = [3]", "setting 'neck.levels"),
        ("[neck]\nrepeats = 3", "unknown setting 'neck.repeats' of neck fpn; only "),
        ("[schedule]\nmilestones = [0.1, 'a']", "setting 'schedule.milestones[1]'"),
        ("head = 'fcos'", "setting 'head': expected a section, got 'fcos'"),
    ],
)
def test_a_file_is_named_with_what_is_wrong_in_it(content, text, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(content)
    assert said(path).startswith(f"{path}: {text}")


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("optim.lrr=1", "unknown setting 'optim.lrr'; did you mean 'optim.lr'?"),
        ("train.epochs=0", "setting 'train.epochs': expected at least 1, got 0"),
        ("head.name=fcso", "unknown head 'fcso'; did you mean 'fcos'?"),
        (
            "norm=gn",
            "unknown setting 'norm'; did you mean 'backbone.norm', 'head.norm' or 'neck.norm'?",
        ),
    ],
)
def test_what_an_option_sets_is_not_blamed_on_the_file(assignment, text, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[train]\nepochs = 3\n[head]\nname = 'fcos'\n[optim]\nlr = 0.1\n")
    assert said(path, assignments=[assignment]) == text


def test_a_fault_of_the_file_is_the_files_also_where_options_are_given(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[train]\nepoch = 3\n")
    assert said(path, assignments=["train.seed=1"]).startswith(f"{path}: unknown setting")


def test_every_setting_that_a_file_has_wrong_is_blamed_on_it(tmp_path):
    path = tmp_path / "own.toml"
    for setting in described_settings():
        section, name = setting.name.split(".")
        of = setting.of.split(", ")[0]
        if name == "name":
            continue
        member = f'name = "{of}"\n' if of else ""
        path.write_text(f"[{section}]\n{member}{name} = {{}}\n")
        assert said(path).startswith(f"{path}: setting '{setting.name}'"), setting.name


def test_a_file_called_as_a_preset_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tal-fpn").write_text("[train]\nepoch = 3\n")
    assert said(Path("tal-fpn")).startswith("tal-fpn: unknown setting")
