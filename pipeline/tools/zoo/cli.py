"""The command line of `fdet zoo`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ....cache.errors import InputError
from ...command import Program, argument, cache_opt, echo, opt, takes
from ...runs.names import shell_word

zoo_app = Program()

_Zoo = Annotated[
    Path | None,
    cache_opt("the zoo: a folder, or s3://bucket/prefix; default: $FDET_ZOO, else your own folder"),
]
_Name = Annotated[str, argument("name of an entry")]
_Repo = Annotated[str, argument("repository of the Hugging Face Hub, e.g. lab/bccd-heads")]
_Replace = Annotated[bool, opt("replace an entry of that name")]


@zoo_app.callback(invoke_without_command=True)
def zoo_command(context: typer.Context) -> None:
    """List, add, fetch and exchange trained heads; other commands take them as zoo:NAME."""
    if context.invoked_subcommand is None:
        _print_entries(None, as_json=False)


@zoo_app.command("list")
@takes
def list_command(
    zoo: _Zoo = None,
    as_json: Annotated[bool, opt("print JSON, for programs", "--json")] = False,
) -> None:
    """List the entries of a zoo; `fdet zoo` alone does the same."""
    _print_entries(zoo, as_json)


def _print_entries(zoo: Path | None, as_json: bool) -> None:
    from ...zoo.entries import cards
    from ...zoo.places import zoo_place
    from .listing import listing

    place = zoo_place(zoo)
    found = cards(place)
    if as_json:
        import json
        from dataclasses import asdict

        echo(json.dumps([asdict(card) for card in found], indent=2))
    elif not found:
        echo(f"{place}: no entries yet; add a finished run with `fdet zoo add RUN`")
    else:
        for line in listing(found):
            echo(line)


@zoo_app.command("add")
@takes
def add_command(
    run: Annotated[Path, argument("run directory")],
    name: Annotated[str | None, opt("name of the entry; default: that of the directory")] = None,
    data: Annotated[str, opt("what the run was trained on, for people to read")] = "",
    licence: Annotated[str, opt("licence of the weights, e.g. CC-BY-4.0")] = "",
    zoo: _Zoo = None,
    replace: _Replace = False,
) -> None:
    """Add a run to a zoo: its best weights, and what detection and further training need beside them."""
    from ...runs.evaluations import kept_evaluations
    from ...zoo.card import card_of
    from ...zoo.entries import add
    from ...zoo.places import zoo_place

    card = card_of(run, name or run.resolve().name, data, licence)
    kept = add(run, zoo_place(zoo), card, replacing=replace)
    echo(f"zoo:{kept.name}: added to {zoo_place(zoo)}")
    if not kept_evaluations(run):
        echo(
            f"it has no thresholds for its classes: `fdet evaluate {shell_word(run)} CACHE` finds them, then "
            "add it again with --replace"
        )


@zoo_app.command("get")
@takes
def get_command(name: _Name, zoo: _Zoo = None) -> None:
    """Fetch an entry, check it, and print the run directory that it is in."""
    from ...zoo.entries import fetched

    logging.getLogger("fdet").setLevel(logging.INFO)
    echo(str(fetched(name, zoo)))


@zoo_app.command("push")
@takes
def push_command(
    name: _Name,
    repo: _Repo,
    zoo: _Zoo = None,
    private: Annotated[
        bool, opt("make the repository private where it does not exist yet")
    ] = False,
) -> None:
    """Upload an entry to the Hugging Face Hub, with the credentials of `hf auth login` or $HF_TOKEN."""
    from ...zoo.places import zoo_place
    from .hub import push

    echo(push(zoo_place(zoo), name, repo, private=private))


@zoo_app.command("pull")
@takes
def pull_command(
    repo: _Repo,
    name: Annotated[str | None, opt("name of the entry; default: the one it was pushed as")] = None,
    revision: Annotated[str | None, opt("branch, tag or commit; default: main")] = None,
    zoo: _Zoo = None,
    replace: _Replace = False,
) -> None:
    """Download an entry that was pushed to the Hugging Face Hub, check it, and add it to a zoo."""
    from ...zoo.places import zoo_place
    from .hub import pull

    if revision == "":
        raise InputError("--revision: expected a branch, a tag or a commit, got ''")
    card = pull(zoo_place(zoo), repo, name, revision, replacing=replace)
    echo(f"zoo:{card.name}: added to {zoo_place(zoo)}")
