"""A step is the step of its whole batch, however that is split, and draws from its number alone."""

import pytest
import torch

from fdet.heads.build import build_detector
from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs.model import Model
from fdet.pipeline.sources.batches import Batch
from fdet.pipeline.training.averaging import MovingAverage
from fdet.pipeline.training.optimiser import make_optimiser
from fdet.pipeline.training.step import Stepper, image_seed, parts_of

from ...heads import reference
from .runs import TINY, assert_close, assert_same, tiny

CPU = torch.device("cpu")
PLAIN = ("train.clip_norm=0", "optim.name=sgd", "optim.momentum=0", "optim.weight_decay=0")
# Sums of float32 in another order: a few units of the last place of the largest gradient.
ROUNDING = 2e-5


def stepper(config, seed=0):
    torch.manual_seed(seed)
    model = Model(build_detector(reference.SPEC, 3, config.neck, config.head)).train()
    alone = Processes(World(), CPU)
    return Stepper(config, model, make_optimiser(model, config.optim), alone)


def batches_of(parts):
    """Micro-batches of the eight images of one batch, by their numbers."""
    pyramid, placements, targets, _ = reference.batch(8)
    for numbers in parts:
        maps = tuple(x[numbers] for x in pyramid.maps)
        yield Batch(
            tuple(numbers),
            tuple(placements[k] for k in numbers),
            tuple(targets[k] for k in numbers),
            lambda maps=maps: type(pyramid)(pyramid.spec, maps, pyramid.canvas_hw),
        )


def gradients(stepper):
    return {n: p.grad for n, p in stepper.model.named_parameters() if p.grad is not None}


def done(config, parts, number=0):
    taken = stepper(config)
    result = taken.step(batches_of(parts), 8, number, 10)
    return taken, result


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (1, 4), (2, 2), (4, 1), (3, 5)])
def test_every_image_is_worked_off_once_and_none_is_nobodys(count, processes, accumulate):
    batch = [(k, 0) for k in range(count)]
    owned = [parts_of(batch, processes, rank, accumulate) for rank in range(processes)]
    parts = [part for of_one in owned for part in of_one]
    assert sorted(sample for part in parts for sample in part) == batch
    assert all(parts) and len(parts) <= processes * accumulate
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    alone = parts_of(batch, 1, 0, processes * accumulate)
    assert sorted(parts) == sorted(alone)


@pytest.mark.parametrize("head", TINY)
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_micro_batches_have_the_gradients_of_the_whole(head, accumulate):
    config = tiny(head, *PLAIN)
    whole, one = done(config, [list(range(8))])
    split, several = done(config, [list(range(k, 8, accumulate)) for k in range(accumulate)])
    assert (one.images, several.images) == (8, 8)
    for name, loss in one.losses.items():
        assert float(loss) == pytest.approx(float(several.losses[name]), rel=ROUNDING)
    assert_close(gradients(whole), gradients(split), ROUNDING)
    assert any(float(v.abs().max()) > 1e-3 for v in gradients(whole).values())


def test_the_loss_is_the_mean_over_the_images():
    _, result = done(tiny(), [list(range(8))])
    each = [done(tiny(), [[k]])[1].losses["box"] * 8 for k in range(8)]
    assert float(result.losses["box"]) == pytest.approx(float(sum(each)) / 8, rel=1e-4)


def test_what_is_drawn_depends_on_the_step_and_the_image_alone():
    config = tiny("faster-rcnn", *PLAIN)
    first, again, later = (done(config, [list(range(8))], number)[1] for number in (3, 3, 4))
    assert {n: float(v) for n, v in first.losses.items()} == {
        n: float(v) for n, v in again.losses.items()
    }
    assert float(first.losses["classification"]) != float(later.losses["classification"])


def test_seeds_of_images_are_spread_over_63_bits():
    seeds = [image_seed(0, step, image) for step in range(50) for image in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    for bit in range(63):
        share = sum(seed >> bit & 1 for seed in seeds) / len(seeds)
        assert 0.45 < share < 0.55, bit
    assert image_seed(1, 0, 0) != image_seed(0, 0, 0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_process_without_an_image_still_takes_the_step(precision):
    """Its gradients are the others' sum; alone it has none but the weight decay."""
    taken = stepper(tiny("retinanet", f"train.precision={precision}"))
    before = {n: v.clone() for n, v in taken.model.tensors().items()}
    result = taken.step(iter(()), 8, 0, 10)
    assert (result.images, result.moved, dict(result.losses)) == (0, True, {})
    assert not any(p.grad.any() for p in taken.model.parameters())
    assert_close(taken.model.tensors(), before, 1e-3)


def test_a_step_whose_images_are_all_damaged_moves_nothing():
    taken = stepper(tiny())
    taken.may_skip = True
    before = {n: v.clone() for n, v in taken.model.tensors().items()}
    result = taken.step(iter([Batch((), (), (), lambda: None)]), 8, 0, 10)
    assert not result.moved
    assert_same(taken.model.tensors(), before)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("norm", ["bn", "sync-bn"])
@pytest.mark.parametrize("parts", [[], [[]], [[0, 1], []], [[0], [1], [2]]])
def test_a_process_goes_through_the_neck_as_often_as_every_other(parts, norm, size):
    taken = stepper(tiny("retinanet", f"neck.norm={norm}", "train.accumulate=3"))
    taken.processes = Processes(World(0, size), CPU)
    given = []
    taken.model.detector.neck.register_forward_pre_hook(lambda _, x: given.append(len(x[0])))
    taken.step(batches_of(parts), 8, 0, 10)
    waits = size == 2 and norm == "sync-bn"
    counts = [len(part) for part in parts] + [0] * (3 - len(parts))
    assert given == [count for count in counts if count or waits]
    assert all(p.grad.isfinite().all() for p in taken.model.parameters())


def test_a_step_that_overflows_leaves_the_weights_and_halves_the_scale():
    taken = stepper(tiny("retinanet", "train.precision=fp16", "schedule.warmup_steps=0"))
    taken.loss_scale = (2.0**40, 7)
    before = {n: v.clone() for n, v in taken.model.tensors().items()}
    taken.step(batches_of([list(range(8))]), 8, 0, 10)
    assert_same(taken.model.tensors(), before)
    assert taken.loss_scale == (2.0**39, 0)
    while taken.loss_scale[1] == 0:
        taken.step(batches_of([list(range(8))]), 8, 0, 10)
    assert taken.loss_scale[0] < 2.0**39
    assert any(not torch.equal(v, before[n]) for n, v in taken.model.tensors().items())
    assert all(bool(torch.isfinite(v).all()) for v in taken.model.tensors().values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_fp16_there_is_no_loss_scale(precision):
    taken = stepper(tiny("retinanet", f"train.precision={precision}"))
    assert taken.loss_scale == (0.0, 0)
    taken.loss_scale = (0.0, 0)
    taken.step(batches_of([[0, 1]]), 8, 0, 10)
    assert taken.loss_scale == (0.0, 0)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.2), ("fp16", 0.05)])
def test_half_precision_has_nearly_the_same_gradients(precision, tolerance):
    """The scale is taken out again, and the clipping sees what is left."""
    exact, _ = done(tiny("retinanet", *PLAIN), [list(range(8))])
    half, _ = done(tiny("retinanet", *PLAIN, f"train.precision={precision}"), [list(range(8))])
    mine, theirs = (torch.cat([v.flatten() for v in gradients(s).values()]) for s in (exact, half))
    assert not torch.equal(mine, theirs)
    assert float((mine - theirs).norm() / mine.norm()) < tolerance


def test_a_long_gradient_is_cut_to_the_norm():
    taken, _ = done(tiny("retinanet", "train.clip_norm=0.01"), [list(range(8))])
    norm = torch.cat([g.flatten() for g in gradients(taken).values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_every_step_moves_the_average():
    taken = stepper(tiny())
    taken.average = MovingAverage(taken.model, 0.9, {})
    before = {n: v.clone() for n, v in taken.average.tensors.items()}
    taken.step(batches_of([[0, 1]]), 8, 0, 10)
    name = "head.regression_head.bbox_reg.weight"
    moved, average = taken.model.tensors()[name], taken.average.tensors[name]
    torch.testing.assert_close(average, 0.1 * before[name] + 0.9 * moved)
    assert not torch.equal(average, before[name])


@pytest.mark.parametrize("head", TINY)
def test_channels_last_is_the_same_step_within_rounding(head):
    plain, _ = done(tiny(head, *PLAIN), [list(range(8))])
    turned = stepper(tiny(head, *PLAIN, "train.channels_last=true"))
    turned.model.to(memory_format=torch.channels_last)
    turned.step(batches_of([list(range(8))]), 8, 0, 10)
    assert_close(gradients(plain), gradients(turned), ROUNDING)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_augmented_features_belong_to_the_image_however_the_batch_is_split(accumulate):
    settings = ("augment.brightness=0.3", "augment.noise=0.2", "augment.channel_dropout=0.1")
    parts = [list(range(k, 8, accumulate)) for k in range(accumulate)]
    whole, one = done(tiny("retinanet", *PLAIN, *settings), [list(range(8))])
    split, _ = done(tiny("retinanet", *PLAIN, *settings), parts)
    _, plain = done(tiny("retinanet", *PLAIN), [list(range(8))])
    assert_close(gradients(whole), gradients(split), ROUNDING)
    assert any(float(one.losses[n]) != float(loss) for n, loss in plain.losses.items())
    _, later = done(tiny("retinanet", *PLAIN, *settings), [list(range(8))], number=1)
    assert any(float(one.losses[n]) != float(loss) for n, loss in later.losses.items())
