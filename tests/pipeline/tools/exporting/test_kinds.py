"""Runs of every kind, with whatever they have trained, are exported to files that find the same."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fdet.pipeline.exported.detector import open_detector
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.exporting.export import export
from fdet.pipeline.tools.exporting.options import ExportOptions
from fdet.pipeline.tools.exporting.proof import prove
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ....conftest import extraction

pytestmark = pytest.mark.slow

FROM = "backbone.train_from=c4"
KINDS = {
    "finetune": ([FROM], {"source": "finetune"}),
    "tail": ([FROM], {"source": "tail"}),
    "tail with adapters": ([FROM, "backbone.adapters=true"], {"source": "tail"}),
    "tail with tokens": (
        ["backbone.train_from=block1", "neck.name=vit-pyramid"],
        {"source": "tail", "cache": "tokens.fdet"},
    ),
    "adapters": ([FROM, "backbone.adapters=true"], {"source": "online"}),
    "two backbones": ([], {"second": "other.fdet"}),
    "class embeddings": ([], {"class_embeddings": "classes.safetensors"}),
    "integer codec": ([], {"cache": "int8.fdet"}),
    "components": ([], {"cache": "pca.fdet"}),
    "aspect kept": ([], {"cache": "aspect.fdet"}),
}
CACHES = {
    # EfficientNet-Lite0 has another mean and deviation than ResNet-10.
    "other.fdet": {"size": 64, "backbone": "tf_efficientnet_lite0", "weights": "random"},
    "int8.fdet": {"size": 64, "codec": "int8"},
    "pca.fdet": {"size": 64, "codec": "fp16+pca16"},
    "tokens.fdet": {"size": 160, "backbone": "test_vit", "levels": "block0,block1", "tokens": True},
    "aspect.fdet": {"size": None, "short": 64, "long": 96},
}


def cache_of(name, dataset, folder):
    small = {"backbone": "resnet10t", "weights": "random", "codec": "fp16"}
    extract(extraction(dataset, folder / name, **{**small, **CACHES[name]}))
    return folder / name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run(kind, trained, dataset, tmp_path, briefly):
    assignments, given = KINDS[kind]
    images = dataset.parent / "images"
    own = given.get("source") in ("finetune", "online")
    words = {**given, "cache": trained / "cache.fdet"}
    words |= {n: cache_of(given[n], dataset, tmp_path) for n in ("cache", "second") if n in given}
    if "class_embeddings" in given:
        vectors = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
        path = words["class_embeddings"] = tmp_path / given["class_embeddings"]
        save_file(dict(zip(("disc", "square", "cross"), vectors, strict=True)), path)
    if own:
        words["images"] = images
    settings = ["neck.channels=16", "neck.max_level=5", "train.epochs=1", "head.name=fcos"]
    config = load_config(assignments=[*settings, "head.score_threshold=0.001", *assignments])
    train(config, TrainOptions(out=tmp_path / "run", threads=1, **words))
    options = ExportOptions(check=words["cache"], images=images)
    done = export(tmp_path / "run", tmp_path / "file" / "model.onnx", options)
    proof = prove(tmp_path / "run", done.model, done.program, done.description, options)
    assert proof.agreement.same > 50
    assert proof.failures == []
    assert open_detector(done.model).known.source == given.get("source", "cached")
