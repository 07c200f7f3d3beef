"""Runs of a moment, and what they leave behind."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fdet.cache.format.sealed import SEAL, canonical_json, sealed_json
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import RunConfig, load_config
from fdet.pipeline.training.options import TrainOptions

TINY = {
    "retinanet": ("head.convs=1", "head.normaliser=image"),
    "faster-rcnn": (
        *("head.convs=0", "head.fc_channels=32", "head.sampled=16", "head.rpn_sampled=16"),
        # As many proposals as there are: which ones are left would depend on the last bits.
        *("head.rpn_norm=none", "head.rpn_top_train=[2000,1000]", "head.rpn_top_test=[1000,1000]"),
    ),
}
SHARED = (
    *("neck.channels=8", "neck.max_level=5", "neck.norm=none", "head.norm=none"),
    *("train.batch_size=4", "train.epochs=2", "train.eval_every=1", "train.precision=fp32"),
    *("train.clip_norm=10.0", "optim.lr=5e-4"),
)


def tiny(head: str = "retinanet", *more: str) -> RunConfig:
    return load_config(head=head, assignments=[*SHARED, *TINY[head], *more])


def options(cache: Path, out: Path, **more) -> TrainOptions:
    return TrainOptions(**{"cache": cache, "out": out, "threads": 1, "device": "cpu", **more})


def tensors(run: Path, name: str = "last") -> dict[str, Tensor]:
    return load_file(run / f"{name}.safetensors")


def part(found: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those of the prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float) -> None:
    """Within a share of the largest value of each tensor."""
    assert a.keys() == b.keys()
    for name, x in a.items():
        limit = tolerance * float(x.double().abs().max().clamp(min=1e-6))
        assert float((x.double() - b[name].double()).abs().max()) <= limit, name


def content(run: Path) -> dict:
    """Of run.json, without its seal."""
    data = json.loads((run / "run.json").read_text())
    return {name: value for name, value in data.items() if name != SEAL}


def rewrite(run: Path, data: dict) -> None:
    """run.json, sealed again."""
    (run / "run.json").write_bytes(sealed_json(data))


def make_format_8(run: Path) -> None:
    """As the fdet before checksums would have left the same run."""
    data = content(run)
    data["data"].pop("threads", None)
    (run / "run.json").write_bytes(canonical_json({**data, "format": 8}))
    for path in run.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["fdet"])["about"]
        save_file(load_file(path), path, {"fdet": json.dumps(about)})


def lines(run: Path, kind: str) -> list[dict]:
    return [line for line in metrics_log.read(run) if line["kind"] == kind]


def losses(run: Path) -> list[dict]:
    return [line["losses"] for line in lines(run, "train")]
