"""The names that are found in the source of a library are those that the library has."""

import sys

import pytest
import timm
from timm.models import _registry as registry
from torchvision import models
from torchvision.models import get_model_builder, resnet

from fdet.cache.errors import InputError
from fdet.pipeline.backbones import known
from fdet.pipeline.backbones.known import (
    TORCHVISION,
    check_backbone,
    check_weights,
    timm_models,
    timm_names,
    torchvision_names,
)


def test_the_names_of_timm_and_torchvision():
    # Other tests register models of their own (tiny.py).
    theirs = {
        n for n, made in registry._model_entrypoints.items() if made.__module__.startswith("timm.")
    }
    assert sorted(timm_names()) == sorted({*timm.list_models()} & theirs)
    assert {*timm_models()[0], *timm_models()[1]} == theirs
    builders = {name: get_model_builder(name) for name in models.list_models(models)}
    resnets = [n for n, builder in builders.items() if builder.__module__ == resnet.__name__]
    assert sorted(torchvision_names()) == sorted(TORCHVISION + name for name in resnets)


@pytest.fixture
def not_imported(monkeypatch):
    """As in a process that has imported neither library."""
    for name in ("timm", "torchvision"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet18.a1_in1k", "tv_resnet34", "torchvision/resnet50"]
)
def test_a_backbone_that_is_there_passes(name, not_imported):
    check_backbone(name)


@pytest.mark.parametrize("name", ["resnet19", "resnet19.a1_in1k", "torchvision/resnet19", "", "."])
def test_another_one_is_refused(name, not_imported):
    with pytest.raises(InputError, match="unknown backbone "):
        check_backbone(name)


def test_a_library_that_is_imported_may_have_more_models():
    check_backbone("a_model_of_my_own")


def test_without_sources_nothing_is_refused(not_imported, monkeypatch):
    monkeypatch.setattr(known, "_sources", lambda library, pattern: iter(()))
    check_backbone("resnet19")


def test_weights_are_a_file_or_random(tmp_path):
    (tmp_path / "a.pth").touch()
    check_weights("--weights", None)
    check_weights("--weights", "random")
    check_weights("--weights", str(tmp_path / "a.pth"))
    with pytest.raises(InputError, match=r"--with-weights .*no\.pth: no such file"):
        check_weights("--with-weights", str(tmp_path / "no.pth"))
