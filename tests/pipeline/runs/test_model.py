"""What is kept of a model, by which names, and what does not go back into it."""

import pytest
import torch

from fdet.heads.build import build_detector
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.trained import TrainedBackbone
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.model import Model

CONFIG = load_config(assignments=["neck.channels=8", "neck.max_level=5", "head.convs=1"])


def model_of(seed=0, with_backbone=False):
    frozen = load_backbone(
        "test_efficientnet", weights="random", levels=("c3", "c4", "c5"), seed=seed
    )
    torch.manual_seed(seed)
    detector = build_detector(frozen.spec, 3, CONFIG.neck, CONFIG.head)
    backbone = TrainedBackbone(frozen, canvases=[(64, 64)]) if with_backbone else None
    return Model(detector, backbone)


@pytest.mark.parametrize("with_backbone", [False, True])
def test_what_it_gives_it_takes(with_backbone):
    one, other = model_of(0, with_backbone), model_of(1, with_backbone)
    assert any(not torch.equal(v, other.tensors()[n]) for n, v in one.tensors().items())
    other.load(one.tensors())
    assert all(torch.equal(v, other.tensors()[n]) for n, v in one.tensors().items())


def test_the_names_say_which_part_it_is():
    names = model_of(with_backbone=True).tensors()
    assert {name.partition(".")[0] for name in names} == {"neck", "head", "backbone"}
    assert not any(n.startswith("backbone.") for n in model_of().tensors())


def test_tensors_are_the_models_own_memory():
    model = model_of(with_backbone=True)
    kept = model.tensors()
    model.load(model_of(1, with_backbone=True).tensors())
    assert all(torch.equal(v, kept[n]) for n, v in model.tensors().items())


def test_a_trained_backbone_does_not_go_into_a_model_without():
    with pytest.raises(ValueError, match=r"backbone\..*: the backbone is not trained here"):
        model_of().load(model_of(with_backbone=True).tensors())


def test_a_model_with_a_backbone_wants_all_of_it():
    with pytest.raises(RuntimeError, match="Missing key"):
        model_of(with_backbone=True).load(model_of().tensors())


@pytest.mark.parametrize("name", ["neck", "backbone"])
def test_another_type_is_refused(name):
    model = model_of(with_backbone=True)
    tensors = model.tensors()
    changed = next(n for n in tensors if n.startswith(name))
    with pytest.raises(ValueError, match=f"{changed}: expected torch.float32, got torch.float16"):
        model.load({**tensors, changed: tensors[changed].half()})


def test_the_detector_alone_is_named_as_in_a_model_with_a_backbone():
    """So the weights of a cached run go below a backbone that is unfrozen later."""
    alone, whole = model_of(), model_of(1, with_backbone=True)
    Model(whole.detector).load(alone.tensors())
    assert torch.equal(next(whole.detector.parameters()), next(alone.detector.parameters()))
