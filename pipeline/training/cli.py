"""The command line of `fdet train-heads`."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..command import MASKS, MODEL, Assignments, LastCounts, echo, given_names, opt, takes
from ..machines.interrupt import INTERRUPTED
from ..runs.config_option import ConfigFile
from .options import TrainOptions

NECKS = "neck: fpn, pafpn, bifpn, nas-fpn, vit-pyramid, tap-attention, hybrid or identity"
HEADS = "head: retinanet, fcos, tal, faster-rcnn, cascade-rcnn or query"


class TrainCommand(LastCounts):
    """The command `fdet train-heads`, in which `--resume RUN` stands for `--resume --out RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line, once those of --resume are clear."""
        return super().parse_args(ctx, with_run_of_resume(args))


def with_run_of_resume(words: list[str]) -> list[str]:
    """Return the words with `--out RUN` after --resume, where RUN follows it and there is no --out.

    With --out, --resume is a flag, and the word after it may be a cache.
    """
    options = words[: words.index("--")] if "--" in words else words
    if any(word == "--out" or word.startswith("--out=") for word in options):
        return words
    found: list[str] = []
    for position, word in enumerate(options):
        name, equals, run = word.partition("=")
        following = options[position + 1 : position + 2]
        if name == "--resume" and equals:
            found += ["--resume", "--out", run]
        elif word == "--resume" and following and not following[0].startswith("-"):
            found += ["--resume", "--out"]
        else:
            found.append(word)
    return [*found, *words[len(options) :]]


@takes
def train_command(
    *,
    context: typer.Context,
    config: ConfigFile = None,
    neck: Annotated[
        str | None,
        opt(NECKS, group=MODEL),
    ] = None,
    head: Annotated[
        str | None,
        opt(HEADS, group=MODEL),
    ] = None,
    masks: Annotated[bool, opt(MASKS, group=MODEL)] = False,
    adapters: Annotated[
        bool,
        opt(
            "with --source online: train small residual adapters after the frozen backbone's blocks too "
            "(backbone.adapters)",
            group=MODEL,
        ),
    ] = False,
    assignments: Assignments = (),
    options: TrainOptions,
) -> None:
    """Train neck and head on cached feature maps; neither images nor backbone are loaded, unless
    --source asks for them.

    Started by torchrun or srun, all processes train one model.

    `fdet train-heads --resume RUN` goes on with a run, by its own settings and
    caches; --set train.epochs=N makes it longer.
    """
    from ..machines.world import find_world
    from ..runs.config import load_config
    from ..runs.given import given_settings
    from .checks import check_training
    from .resumption import resumed

    if options.resume:
        given = given_settings(config, neck=neck, head=head, assignments=assignments)
        given = given.with_flags(masks=masks, adapters=adapters)
        settings, options = resumed(options, given_names(context), given)
    else:
        settings = load_config(
            config, neck=neck, head=head, masks=masks, adapters=adapters, assignments=assignments
        )
    check_training(settings, options)
    from .ending import closing_lines
    from .train import train

    logging.getLogger("fdet").setLevel(logging.INFO)
    first = find_world(None, None, os.environ).rank == 0
    with naming_the_command(options.out, shown=first):
        summary = train(settings, options)
    if not first:
        return
    for line in closing_lines(summary, options):
        echo(line)


@contextmanager
def naming_the_command(out: Path, *, shown: bool) -> Iterator[None]:
    """Print the command that goes on with a run where Ctrl-C or the death of a helper ends the block.

    shown: False where another process of the same run prints it. Raises typer.Exit.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if shown:
            echo(f"\nfdet: interrupted; {how_to_go_on(out)}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except EOFError as error:
        why = "a process that helped this one was killed (out of memory?)"
        echo(f"fdet: {why}; {how_to_go_on(out)}", err=True)
        raise typer.Exit(2) from error


def how_to_go_on(out: Path) -> str:
    """Return what is kept of a run that was interrupted, and the command that goes on with it."""
    if not (out / "run.json").is_file():
        return "no run was begun yet: repeat the command"
    return f"what was finished is kept: `fdet train-heads --resume {shlex.quote(str(out))}` goes on"
