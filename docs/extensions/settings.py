"""A page for each section of settings, from the fields that `fdet settings` reads too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from fdet.pipeline.runs.config import RunConfig
from fdet.pipeline.runs.described import Setting, described_settings
from fdet.pipeline.runs.described_presets import COUNTED, described_presets, presets_as_markdown

from .wording import directive, escaped


def setting_pages() -> dict[str, str]:
    """Return the Markdown of each page by its name: settings/optim.md."""
    sections = [field.name for field in fields(RunConfig)]
    pages = {f"settings/{section}.md": _page(section) for section in sections}
    rows = "\n".join(
        f"| [{section}]({section}.md) | {len(described_settings(section))} |"
        for section in sections
    )
    index = (
        "# Settings of a run\n\nA setting is given by `--set section.name=value`, or in the section of a "
        "TOML file (`--config`). `fdet settings` prints the same lists, also as JSON.\n\n"
        f"| section | settings |\n|---|---|\n{rows}\n\n## Presets\n\n"
        f"{presets_as_markdown(described_presets())}\n\n{escaped(COUNTED)}\n\n"
        "```{toctree}\n:hidden:\n\n" + "\n".join(sections) + "\n```\n"
    )
    return {**pages, "settings/index.md": index}


def _page(section: str) -> str:
    by_name: dict[str, list[Setting]] = {}
    for setting in described_settings(section):
        by_name.setdefault(setting.name, []).append(setting)
    entries = "\n\n".join(entry_of(variants) for variants in by_name.values())
    return f"# Settings: {section}\n\n{entries}\n"


def entry_of(variants: Sequence[Setting]) -> str:
    """Return the entry of a setting: its values, its default, and what it does.

    variants: the same name as the members of a family have it, where they differ in one of these.
    """
    first = variants[0]
    if len(variants) == 1:
        only = f"Only for {first.of}: " if first.of else ""
        options = {"type": escaped(first.values), "default": f"`{first.default}`"}
        return directive("confval", first.name, f"{only}{escaped(first.help)}.", **options)
    lines = [
        f"- {v.of or 'others'}: {escaped(v.help)}; {escaped(v.values)}; default `{v.default}`"
        for v in variants
    ]
    return directive("confval", first.name, "\n".join(lines))
