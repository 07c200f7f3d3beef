"""Every setting is described by its own field."""

import json
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from fdet.cache.errors import InputError
from fdet.heads.build import HEADS
from fdet.heads.necks import NECKS
from fdet.pipeline.cli import app
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.runs.described import as_paragraphs, described_settings


def all_settings():
    """(path, neck or head) of every setting there is."""
    for section, table in (("neck", NECKS), ("head", HEADS)):
        for name, family in table.items():
            for field in fields(family.settings):
                yield f"{section}.{field.name}", name
    config = RunConfig()
    for section in fields(config):
        if section.name not in ("neck", "head"):
            for field in fields(getattr(config, section.name)):
                yield f"{section.name}.{field.name}", ""


def test_every_setting_is_there_with_its_help():
    found = described_settings()
    for path, member in all_settings():
        mine = [s for s in found if s.name == path and (not s.of or member in s.of.split(", "))]
        assert len(mine) == 1, f"{path} of {member}"
        assert mine[0].help and mine[0].values, path


def test_defaults_are_those_of_a_run():
    config = load_config(neck="bifpn", head="fcos").to_mapping()
    for setting in described_settings():
        section, _, name = setting.name.partition(".")
        mine = not setting.of or config[section].get("name") in setting.of.split(", ")
        if mine and name != "name":
            assert json.loads(setting.default) == config[section][name], setting.name


def test_a_default_can_be_given_as_it_is_printed():
    shared = [s for s in described_settings("train") if not s.of]
    assignments = [f"{s.name}={s.default}" for s in shared]
    assert load_config(assignments=assignments) == load_config()


def test_an_unknown_section_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'optim'"):
        described_settings("optimiser")


@pytest.mark.parametrize("format", ["table", "md", "json"])
def test_the_command_prints_them(format):
    done = CliRunner().invoke(app, ["settings", "optim", "--format", format])
    assert done.exit_code == 0 and "optim.lr" in done.output
    if format == "json":
        assert {s["name"] for s in json.loads(done.output)} >= {"optim.lr", "optim.name"}


@pytest.mark.parametrize("width", [60, 80])
def test_in_a_narrow_terminal_no_name_is_cut(width):
    settings = described_settings()
    lines = as_paragraphs(settings, width)
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    for setting in settings:
        assert any(line.startswith(f"{setting.name}=") for line in lines), setting.name
    text = " ".join(" ".join(lines).split())
    assert all(" ".join(s.help.split()) in text for s in settings)
