"""The command line; each command turns its options into one call, and only then imports torch."""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from ..cache.errors import FdetError, printable
from .command import Program
from .dataset.cli import dataset_app
from .evaluation.cli import evaluate_command
from .extraction.cli import extract_command
from .machines.interrupt import INTERRUPTED
from .machines.streams import use_tolerant_streams
from .runs.cli import presets_command, settings_command
from .tools.ablation.cli import ablate_command
from .tools.audit.cli import audit_command
from .tools.browsing.cli import browse_command
from .tools.capacity.cli import model_command
from .tools.comparison.cli import compare_command
from .tools.environment.cli import doctor_command
from .tools.equivalence.cli import equivalence_command
from .tools.exporting.cli import export_command
from .tools.fitting.cli import fit_command
from .tools.planning.cli import plan_command
from .tools.prediction.cli import predict_command
from .tools.reporting.cli import report_command
from .tools.retraining.cli import retrain_command
from .tools.upkeep.cli import cache_app
from .tools.watching.cli import watch_command
from .tools.zoo.cli import zoo_app
from .training.cli import TrainCommand, train_command

log = logging.getLogger(__name__)


# Refusals of the system, which are no bugs of fdet: no permission, no space, a read-only or failing disk.
_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    }
)


class _Printable(logging.Formatter):
    """A formatter that escapes the control characters of a message."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _OnStderr(logging.StreamHandler[TextIO]):
    """A handler that writes to what sys.stderr is by then: a progress line replaces it, to stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Group(TyperGroup):
    """A group of commands that turns fdet's errors into one line and exit 2, and Ctrl-C into exit 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and return its result; raises typer.Exit where it fails."""
        try:
            return super().invoke(ctx)
        except FdetError as error:
            typer.secho(f"fdet: {' '.join(str(error).split())}", fg="red", err=True)
            raise typer.Exit(2) from error
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            typer.secho(printable(f"fdet: {where}{error.strerror}"), fg="red", err=True)
            raise typer.Exit(2) from error
        except EOFError as error:
            # A child process was killed before it answered; click would say only "Aborted."
            text = "a process that helped this one was killed (out of memory?); what was finished is kept"
            typer.secho(f"fdet: {text}: run the same command again", fg="red", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("\nfdet: interrupted; what was finished is kept", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = Program(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train detection heads on cached feature maps of a frozen backbone.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        root = import_module(__name__.partition(".")[0])  # the package that this one is a part of
        typer.echo(f"fdet {root.__version__}")
        raise typer.Exit


@app.callback()
def root_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="show the version and exit", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that stand before the name of a command."""


app.add_typer(cache_app, name="cache")
app.add_typer(dataset_app, name="dataset")
app.add_typer(zoo_app, name="zoo")
app.command("fit")(fit_command)
app.command("plan")(plan_command)
app.command("extract")(extract_command)
app.command("train-heads", cls=TrainCommand)(train_command)
app.command("retrain-classifier")(retrain_command)
app.command("check-equivalence")(equivalence_command)
app.command("compare")(compare_command)
app.command("ablate")(ablate_command)
app.command("model")(model_command)
app.command("settings")(settings_command)
app.command("presets")(presets_command)
app.command("evaluate")(evaluate_command)
app.command("predict")(predict_command)
app.command("export")(export_command)
app.command("audit")(audit_command)
app.command("browse")(browse_command)
app.command("watch")(watch_command)
app.command("report")(report_command)
app.command("doctor")(doctor_command)


def main() -> None:
    """Run the command that the arguments name."""
    # Waiting threads of libgomp would spin by default, which takes the cores from other processes. The
    # variable is read when torch is loaded, and child processes inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    use_tolerant_streams()
    handler = _OnStderr()
    handler.setFormatter(_Printable("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    app(prog_name="fdet")
