"""Generated pages have every command, option, setting and public name; links lead to pages of the site."""

import re
from pathlib import Path

import pytest
import typer.main

import fdet
from fdet.pipeline.cli import app
from fdet.pipeline.command import REPLACED
from fdet.pipeline.runs.described import described_settings

from ..pipeline.test_before_torch import commands_of

pytest.importorskip("sphinx")
from fdet.docs.extensions.commands import command_pages
from fdet.docs.extensions.links import PAGES, for_site
from fdet.docs.extensions.pages import generated_pages, write_pages
from fdet.docs.extensions.python_names import python_pages
from fdet.docs.extensions.settings import setting_pages
from fdet.docs.extensions.wording import directive, escaped

DOCS = Path(__file__).parents[2] / "docs"


def test_every_command_has_a_page_with_its_options():
    pages = command_pages()
    program = typer.main.get_command(app)
    for words in commands_of(program):
        page, command = pages[f"commands/{'-'.join(words)}.md"], program
        for word in words:
            command = command.commands[word]
        flags = [flag for p in command.params if p.param_type_name == "option" for flag in p.opts]
        wanted = [flag for flag in flags if flag not in {"--help", *REPLACED}]
        described = re.findall(r"^:::\{option\} (.+)$", page, flags=re.MULTILINE)
        missing = [f for f in wanted if not any(f in entry.split() for entry in _words(described))]
        assert not missing, words
        assert f"`fdet {' '.join(words)}`" in pages["commands/index.md"]


def _words(entries):
    return [entry.replace(",", " ") for entry in entries]


def test_an_option_says_its_values_its_default_and_whether_it_is_needed():
    page = command_pages()["commands/extract.md"]
    assert ":::{option} --out CACHE\n\n" in page and "Required." in page
    assert ":::{option} --store " in page and "Default: `zarr`." in page
    settings = command_pages()["commands/settings.md"]
    assert ":::{option} --format table|md|json" in settings
    assert "fdet settings [SECTION] [OPTIONS]" in settings
    check = command_pages()["commands/dataset-check.md"]
    assert ":::{option} --full, --quick" in check and "May be repeated." in check


def test_every_setting_has_an_entry_with_its_default():
    pages = setting_pages()
    for setting in described_settings():
        section = setting.name.partition(".")[0]
        page = pages[f"settings/{section}.md"]
        assert page.count(f":::{{confval}} {setting.name}\n") == 1
        assert f"`{setting.default}`" in page and escaped(setting.help) in page


def test_every_public_name_is_described():
    (page,) = python_pages().values()
    for name in fdet.__all__:
        assert re.search(rf"\{{py:(class|function)\}} fdet\.{name}\b", page), name
    for found in ("Predictor", "Metrics", "TrainSummary", "py:attribute} shard_mb"):
        assert found in page
    assert "py:method} open(" in page


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("[a](../README.md#x)", "[a](index.md#x)"),
        ("[a](../benchmarks/RESULTS.md)", "[a](generated/project/results.md)"),
        ("[a](../examples/ablation/plan.toml)", "[a](../examples/ablation/plan.toml)"),
        ("[examples/trees](../examples/trees)", "`examples/trees`"),
        ("[a](training.md#b) and [c](https://d.e)", "[a](training.md#b) and [c](https://d.e)"),
    ],
)
def test_links_out_of_the_documents(text, changed):
    assert for_site(text, "docs/a.md", "docs/a.md") == changed


def test_links_of_files_that_become_pages():
    text = "[a](docs/formats.md#b) ![c](docs/trees.jpg) [d](LICENSE) [e](SECURITY.md)"
    page = "docs/generated/project/changelog.md"
    assert for_site(text, "CHANGELOG.md", page) == (
        "[a](../../formats.md#b) ![c](../../trees.jpg) [d](../../../LICENSE) [e](security.md)"
    )


def test_every_page_is_in_a_list_of_contents():
    index = (DOCS / "index.md").read_text()
    entries = {
        e for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S) for e in block.split()
    }
    sources = [
        p.relative_to(DOCS) for folder in ("", "tutorial/") for p in DOCS.glob(f"{folder}*.md")
    ]
    missing = [
        str(path) for path in sources if str(path.with_suffix("")) not in entries | {"index"}
    ]
    assert not missing
    listed = {entry for entry in entries if entry.startswith("generated/")}
    assert {entry + ".md" for entry in listed} <= set(generated_pages())
    assert {page for page in PAGES.values() if page != "index.md"} <= {f"{e}.md" for e in listed}


def test_pages_of_another_version_of_the_code_go(tmp_path):
    old = tmp_path / "generated" / "commands" / "gone.md"
    old.parent.mkdir(parents=True)
    old.touch()
    write_pages(tmp_path)
    assert not old.exists() and (old.parent / "extract.md").is_file()
    stamp = (old.parent / "extract.md").stat().st_mtime_ns
    write_pages(tmp_path)
    assert (old.parent / "extract.md").stat().st_mtime_ns == stamp


def test_plain_text_becomes_markdown_that_shows_it():
    assert escaped("a *b* <c> `d_*` [e](f)") == r"a \*b\* \<c\> `d_*` \[e\](f)"
    assert directive("x", "y", "body", level=1, type="t") == "::::{x} y\n:type: t\n\nbody\n::::"
