"""The command line: options -> config -> one call. torch is imported inside the commands."""

from __future__ import annotations

import errno
import logging
import sys
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..cache.errors import FdetError
from .comparison.cli import compare_command
from .equivalence.cli import equivalence_command
from .extract_config import ExtractConfig
from .training.cli import train_command
from .upkeep.cli import cache_app

log = logging.getLogger(__name__)


# What the system refuses is no bug of fdet's: permission, room, a read-only disk.
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Checkpoint(StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


class _Group(TyperGroup):
    """Turns what fdet refuses into one line and exit 2, Ctrl-C into a line and exit 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FdetError as error:
            typer.secho(f"fdet: {' '.join(str(error).split())}", fg="red", err=True)
            raise typer.Exit(2) from error
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            typer.secho(f"fdet: {where}{error.strerror}", fg="red", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("\nfdet: interrupted; what was finished is kept", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train detection heads on cached feature maps of a frozen backbone.",
)
app.add_typer(cache_app, name="cache")
app.command("train-heads")(train_command)
app.command("check-equivalence")(equivalence_command)
app.command("compare")(compare_command)

_D: dict[str, Any] = {f.name: f.default for f in fields(ExtractConfig) if f.default is not MISSING}


def _opt(help: str, **more: Any) -> Any:
    return typer.Option(help=help, **more)


@app.command("extract")
def extract_command(
    annotations: Annotated[Path, typer.Argument(help="COCO JSON")],
    images: Annotated[Path, _opt("folder below which the images lie")],
    out: Annotated[Path, _opt("the cache to make, or to go on with")],
    backbone: Annotated[str, _opt("timm's name, or torchvision/resnet50")] = _D["backbone"],
    weights: Annotated[
        str | None, _opt("FILE (.safetensors, .pth) or 'random'; default: package, then download")
    ] = _D["weights"],
    size: Annotated[int | None, _opt("square canvas: the longer side, px")] = _D["size"],
    short: Annotated[int | None, _opt("aspect kept: the shorter side, px")] = _D["short"],
    long: Annotated[int | None, _opt("aspect kept: limit of the longer side, px")] = _D["long"],
    levels: Annotated[
        str | None, _opt("e.g. c3,c4,c5; default: strides 8, 16, 32, or a plain ViT's last block")
    ] = _D["levels"],
    views: Annotated[
        str,
        _opt("plain first; hflip, vflip, scale=0.7..1.4, crop=0.5, joined by +, repeated by xN"),
    ] = _D["views"],
    codec: Annotated[str, _opt("fp32 or fp16")] = _D["codec"],
    store: Annotated[str, _opt("zarr or hdf5")] = _D["store"],
    precision: Annotated[str, _opt("of the backbone: fp32, bf16, fp16")] = _D["precision"],
    device: Annotated[str, _opt("auto, cpu, cuda, cuda:1")] = _D["device"],
    batch_size: Annotated[
        int | None, _opt("samples a backbone pass; default 1 on a CPU, 16 on an accelerator")
    ] = _D["batch_size"],
    workers: Annotated[int, _opt("decoding processes; 0: none")] = _D["workers"],
    threads: Annotated[int | None, _opt("of torch on a CPU; default: torch's")] = _D["threads"],
    shard_mb: Annotated[int, _opt("MiB of uncompressed maps a shard")] = _D["shard_mb"],
    limit: Annotated[int | None, _opt("only the first N images")] = _D["limit"],
    seed: Annotated[int, _opt("of random views and random weights")] = _D["seed"],
    retry_failed: Annotated[bool, _opt("try images again that failed before")] = _D["retry_failed"],
    rank: Annotated[
        int | None, _opt("this process among --world that fill one cache; default: torchrun, srun")
    ] = _D["rank"],
    world: Annotated[int | None, _opt("number of processes that fill the cache")] = _D["world"],
    update: Annotated[
        Path | None, _opt("older cache: take over its features of images that have not changed")
    ] = _D["update"],
) -> None:
    """Run the frozen backbone once over a data set and keep its feature maps.

    Exit 0: all there (or, of several processes, this one's part). 3: the cache is whole but some
    images could not be read. 2: bad input.
    """
    config = ExtractConfig(**locals())
    from .extract import extract

    summary = extract(config)
    for name, why in list(summary.failed.items())[:20]:
        typer.echo(f"failed: {name}: {why}", err=True)
    if len(summary.failed) > 20:
        typer.echo(f"failed: ... and {len(summary.failed) - 20} more", err=True)
    done = "" if summary.written else " (nothing was left to do)"
    if summary.reused:
        done = f" ({summary.reused} of {summary.written} taken over from {update})"
    typer.echo(
        f"{summary.samples} samples, {summary.bytes / 1e6:.1f} MB, {summary.seconds:.1f} s, "
        f"{summary.out}{done}"
    )
    if summary.missing:
        typer.echo(
            f"{summary.missing} shards belong to other processes and are not there yet; whoever "
            "finishes last completes the cache"
        )
    if summary.failed:
        typer.echo(
            f"{len(summary.failed)} images failed; the cache works without them, --retry-failed "
            "tries them again",
            err=True,
        )
        raise typer.Exit(3)


@app.command("evaluate")
def evaluate_command(
    run: Annotated[Path, typer.Argument(help="run directory")],
    cache: Annotated[Path, typer.Argument(help="cache to evaluate on")],
    annotations: Annotated[Path | None, _opt("instead of the cache's own")] = None,
    images: Annotated[
        Path | None, _opt("image folder, for a run that trained its backbone too")
    ] = None,
    checkpoint: Annotated[Checkpoint, _opt("which weights")] = Checkpoint.best,
    out: Annotated[Path | None, _opt("folder for the JSON; default: the run directory")] = None,
    device: Annotated[str, _opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, _opt("of torch on a CPU; default: torch's")] = None,
) -> None:
    """COCO AP of a run over exactly the images in a cache."""
    from .evaluate import evaluate_run, metrics_table, write_evaluation

    metrics, results = evaluate_run(
        run,
        cache,
        annotations=annotations,
        images=images,
        checkpoint=checkpoint.value,
        device=device,
        threads=threads,
    )
    typer.echo(metrics_table(metrics))
    typer.echo(f"written: {write_evaluation(out or run, cache, metrics, results)}")


@app.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(help="run directory")],
    images: Annotated[list[Path], typer.Argument(help="image files and folders")],
    out: Annotated[Path, _opt("folder to write to")],
    annotations: Annotated[
        Path | None, _opt("COCO JSON: its ids, and its boxes beside the detections")
    ] = None,
    weights: Annotated[str | None, _opt("as at extraction, where that took a file")] = None,
    checkpoint: Annotated[Checkpoint, _opt("which weights")] = Checkpoint.best,
    draw_above: Annotated[float, _opt("lowest score that is drawn")] = 0.3,
    device: Annotated[str, _opt("auto, cpu, cuda, cuda:1")] = "auto",
    threads: Annotated[int | None, _opt("of torch on a CPU; default: the cache's")] = None,
) -> None:
    """Detect objects in image files: COCO result JSON and pictures."""
    from .predict import predict

    summary = predict(
        run,
        images,
        out,
        annotations=annotations,
        weights=weights,
        checkpoint=checkpoint.value,
        draw_above=draw_above,
        device=device,
        threads=threads,
    )
    for name, why in summary.failed.items():
        typer.echo(f"failed: {name}: {why}", err=True)
    typer.echo(f"{summary.images} images, {summary.detections} detections, {summary.out}")
    if summary.failed:
        raise typer.Exit(3)


def main() -> None:
    """Entry point of the `fdet` command."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    app(prog_name="fdet")
