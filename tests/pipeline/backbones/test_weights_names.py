"""Weights under other names: prefixes and wrappers are taken off where only one set of tensors is meant."""

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.weights_file import digest
from fdet.pipeline.backbones.weights_names import (
    Wanted,
    called,
    different,
    fittings,
    meant,
    misfit,
    prefixes_of,
)

SMALL = "test_resnet"


def state(seed=0, head=3):
    """A backbone with a counter of BatchNorm, and a classifier."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.rand(4, 3, generator=generator),
        "bn.weight": torch.rand(4, generator=generator),
        "bn.num_batches_tracked": torch.tensor(7),
        "layer.0.weight": torch.rand(4, 4, generator=generator),
        "head.weight": torch.rand(head, 4, generator=generator),
    }


def bare(tensors):
    return {name: v for name, v in tensors.items() if not name.startswith("head")}


def with_prefix(prefix, tensors):
    return {prefix + name: v for name, v in tensors.items()}


WANTED = Wanted(state(9), bare(state(9)))


def found_in(sets):
    return different(meant(sets, WANTED, fittings(sets, WANTED)))


PREFIXES = ["module.", "model.", "backbone.", "encoder.", "net.", "_orig_mod.", "student.backbone."]
PREFIXES += ["module.model.", "teacher.", "model.backbone._orig_mod.", "body.0.trunk."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("where", ["", "state_dict", "model_ema", "a.b"])
def test_a_prefix_is_taken_off_and_the_digest_is_that_of_the_plain_file(prefix, where):
    (fit,) = found_in({where: with_prefix(prefix, state())})
    assert (fit.where, fit.prefix, fit.changed) == (where, prefix, True)
    assert list(fit.tensors) == list(bare(state()))
    assert digest(fit.tensors) == digest(bare(state()))


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module"])
def test_what_wrappers_put_within_names_is_taken_out(wrapper):
    names = {"layer.0.weight": f"layer.{wrapper}.0.weight", "bn.weight": f"{wrapper}.bn.weight"}
    (fit,) = found_in({"": {names.get(name, name): v for name, v in state().items()}})
    assert fit.unwrapped and digest(fit.tensors) == digest(bare(state()))


@pytest.mark.parametrize("head", [0, 1, 1000])
def test_a_classifier_of_another_size_does_not_matter(head):
    tensors = state(head=head) if head else bare(state())
    for prefix in ("", "module."):
        (fit,) = found_in({"": with_prefix(prefix, tensors)})
        assert digest(fit.tensors) == digest(bare(state()))


def test_counters_of_batch_norm_may_be_missing():
    tensors = {n: v for n, v in with_prefix("m.", state()).items() if "tracked" not in n}
    (fit,) = found_in({"": tensors})
    assert list(fit.tensors) == ["conv.weight", "bn.weight", "layer.0.weight"]


@pytest.mark.parametrize("name", list(bare(state())))
def test_a_set_that_lacks_a_tensor_or_has_it_in_another_shape_does_not_fit(name):
    tensors = with_prefix("m.", state())
    other = {**tensors, f"m.{name}": torch.zeros(2, 2)}
    assert found_in({"": other}) == []
    del tensors[f"m.{name}"]
    assert bool(found_in({"": tensors})) == name.endswith("tracked")


def test_sets_with_different_values_may_all_be_meant():
    sets = {
        "student": with_prefix("module.backbone.", state(1, head=9)),
        "teacher": with_prefix("backbone.", state(2)),
        "again": with_prefix("net.", state(2)),
    }
    fits = found_in(sets)
    assert [fit.label for fit in fits] == ["student.module.backbone", "teacher.backbone"]
    for name, seed in (("student", 1), ("teacher", 2), ("teacher.backbone", 2), ("again.net", 2)):
        (fit,) = called(fittings(sets, WANTED), name)
        assert digest(fit.tensors) == digest(bare(state(seed)))
    assert called(fittings(sets, WANTED), "tea") == []
    assert len(called(fittings(sets, WANTED), "backbone")) == 2


def test_one_dictionary_may_hold_several_sets():
    flat = {**with_prefix("encoder_q.", state(1)), **with_prefix("encoder_k.", state(2))}
    assert [fit.label for fit in found_in({"": flat})] == ["encoder_q", "encoder_k"]


def test_the_usual_set_is_meant_where_it_has_the_backbones_names():
    sets = {"state_dict": state(1), "state_dict_ema": state(2)}
    (fit,) = found_in(sets)
    assert fit.label == "state_dict"
    (fit,) = found_in({"": {**state(1), **with_prefix("ema.", state(2))}})
    assert digest(fit.tensors) == digest(bare(state(1)))


def test_the_usual_set_is_meant_where_it_has_the_models_tensors_in_order():
    """This was accepted before prefixes were looked at, and gives the same digest."""
    foreign = dict(zip("abcde", state(1).values(), strict=True))
    sets = {"state_dict": foreign, "ema": with_prefix("module.", state(2))}
    (fit,) = found_in(sets)
    assert (fit.where, digest(fit.tensors)) == ("state_dict", digest(bare(state(1))))
    sets = {"state_dict": with_prefix("module.", state(1)), "ema": with_prefix("module.", state(2))}
    (fit,) = found_in(sets)
    assert (fit.prefix, digest(fit.tensors)) == ("module.", digest(bare(state(1))))


def test_prefixes_are_counted_by_whole_parts_of_names():
    names = ["a.conv.weight", "b.conv.weight", "a.bn.weight", "xconv.weight", "conv.weight.x"]
    assert prefixes_of(names, ["conv.weight", "bn.weight"]) == {"a.": 2, "b.": 1}
    assert prefixes_of(["." * 10**6 + "conv.weight"], ["conv.weight"]) == {}


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"": {"x.y": torch.zeros(2, 3)}}, "the file has 'x.y' (2, 3)"),
        ({"": {}, "s": {f"k{i}": torch.zeros(1) for i in range(9)}}, "in 's' 'k0' (1), 'k1' (1), "),
        ({"": {f"k{i}": torch.zeros(1) for i in range(9)}}, "'k2' (1) and 6 more"),
        (
            {"": {}},
            "3 of 4 tensors are missing, e.g. 'conv.weight' (4, 3); the file has no tensors",
        ),
        (
            {"": with_prefix("m.", {**state(), "conv.weight": torch.zeros(8, 3)})},
            "1 of 4 tensors have another shape, e.g. 'conv.weight' (4, 3), which is (8, 3) in the",
        ),
        (
            {"": {"m.conv.weight": torch.zeros(4, 3), "m.stem.bn": torch.zeros(4)}},
            "2 of 4 tensors are missing, e.g. 'bn.weight' (4); the file has 'm.stem.bn' (4)",
        ),
    ],
)
def test_a_misfit_is_told_by_the_names_of_both_sides(sets, said):
    assert said in misfit(sets, WANTED)


@pytest.fixture
def checkpoint(tmp_path):
    """Save a state of the small net under names, and return the option."""

    def save(make, name="a.pth"):
        own = load_backbone(SMALL, weights="random", seed=5)._net.model.state_dict()
        other = {n: v + 1 if v.is_floating_point() else v for n, v in own.items()}
        torch.save(make(own, other), tmp_path / name)
        return str(tmp_path / name)

    return save


def loaded(option):
    return load_backbone(SMALL, weights=option)


def test_what_was_taken_off_is_logged_once(checkpoint, caplog):
    plain = loaded(checkpoint(lambda own, _: own, "plain.pth"))
    assert not caplog.records
    path = checkpoint(lambda own, _: {"model_ema": with_prefix("module.", own), "epoch": 3})
    found = loaded(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"--weights {path}: the tensors of 'model_ema' are used; 'module.' was taken off the names of its "
        "tensors"
    ]
    assert found.weights_sha256 == plain.weights_sha256


def test_among_several_sets_one_is_chosen_by_its_name(checkpoint, caplog):
    path = checkpoint(lambda own, other: {"student": own, "teacher": with_prefix("net.", other)})
    with pytest.raises(InputError) as caught:
        loaded(path)
    assert str(caught.value) == (
        f"--weights {path}: 2 of its sets of tensors fit {SMALL}, with different values; expected one of "
        f"them: --weights {path}#student or --weights {path}#teacher.net"
    )
    student, teacher = loaded(f"{path}#student"), loaded(f"{path}#teacher")
    assert student.weights_sha256 != teacher.weights_sha256
    assert student.weights_origin == teacher.weights_origin == "file"
    with pytest.raises(
        InputError, match=r"none of its sets of tensors fit .* under the name 'ema'"
    ):
        loaded(f"{path}#ema")


def test_the_other_sets_of_an_unambiguous_file_are_named(checkpoint, caplog):
    path = checkpoint(lambda own, other: {"state_dict": own, "state_dict_ema": other})
    plain = loaded(checkpoint(lambda own, _: own, "plain.pth"))
    assert loaded(path).weights_sha256 == plain.weights_sha256
    assert [record.getMessage() for record in caplog.records] == [
        f"--weights {path}: 'state_dict' is used, and --weights {path}#state_dict_ema takes other values"
    ]


def test_a_file_whose_own_name_has_a_mark_is_read(checkpoint):
    path = checkpoint(lambda own, _: own, "a#b.pth")
    assert loaded(path).weights_origin == "file"
