"""The trials of a plan: how many, in which order, and which cannot be."""

import json
import math

import pytest

from fdet.cache.errors import ConfigError, InputError
from fdet.pipeline.dataset.classes.long_tail import repeat_factors
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.ablation.combinations import MOST, combinations_of
from fdet.pipeline.tools.ablation.plan import read_plan
from fdet.pipeline.tools.ablation.trials import comparable, trials_of
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

RATES = '"optim.lr" = [0.1, 0.2, 0.3]'
HEADS = 'head = [{name = "fcos", convs = 1}, {name = "tal", convs = 1}]'


@pytest.fixture
def trials(write, opened):
    def made(below="", above=""):
        return trials_of(read_plan(write(below, above)), opened)

    return made


def test_a_grid_is_every_combination_seed_after_seed(trials):
    found = trials(f"[axes]\n{HEADS}\n{RATES}", "seeds = [3, 1]")
    assert [trial.seed for trial in found] == [3] * 6 + [1] * 6
    assert len({trial.digest for trial in found}) == 12
    assert [(t.config.head.name, t.config.optim.lr) for t in found[:4]] == [
        *(("fcos", lr) for lr in (0.1, 0.2, 0.3)),
        ("tal", 0.1),
    ]
    assert found[0].name == "fcos, convs 1, optim.lr 0.1, seed 3"


def test_no_axes_are_the_base_with_each_seed(trials):
    assert [trial.seed for trial in trials("", "seeds = [0, 5]")] == [0, 5]


def test_the_same_trial_twice_is_one(trials):
    below = "[[trials]]\nlabel = 'a'\n[[trials]]\nlabel = 'b'\n'train.epochs' = 2\n"
    (only,) = trials(below, "mode = 'list'")
    assert only.labels == {"trial": "a"}


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(write):
    def drawn(budget, seed=0):
        above = f"mode = 'random'\nbudget = {budget}\nrandom_seed = {seed}"
        found = combinations_of(read_plan(write(f"[axes]\n{HEADS}\n{RATES}", above)))
        return [tuple(choice.label for choice in choices) for choices in found]

    assert drawn(4)[:2] == drawn(2)
    assert len(set(drawn(6))) == len(drawn(100)) == 6
    assert drawn(6) != sorted(drawn(6)) and drawn(6) != drawn(6, seed=1)


def test_more_than_anyone_waits_for_is_refused(write):
    rates = ", ".join(str(k + 1) for k in range(101))
    axes = f"[axes]\n'optim.lr' = [{rates}]\n'optim.weight_decay' = [{rates}]"
    with pytest.raises(ConfigError, match=f"10201 trials are more than {MOST}; set mode"):
        list(combinations_of(read_plan(write(axes))))


def test_parameters_and_steps_are_counted(trials, opened):
    small, large = trials("[axes]\n'neck.channels' = [8, 16]\n")
    assert 0 < small.trained < large.trained < large.total
    assert large.total - large.trained == small.total - small.trained
    # 12 images on canvases of one shape, batches of 4, two epochs.
    assert small.steps == 6
    half, _ = trials("[axes]\n'train.fraction' = [0.5, 1.0]\n")
    assert half.steps == 3


def test_repeated_images_are_counted_in_the_steps(trials, opened):
    """Every image as often as the rarest class that it shows asks for."""
    (once,) = trials("")
    (often,) = trials("[axes]\n'train.repeat_factor' = [1.0]\n")
    data, _ = opened.of(often.caches, often.config)
    repeats = repeat_factors(data.annotations, data.image_ids, 1.0)
    assert often.steps == 2 * math.ceil(repeats.sum()) // 4 > once.steps


def test_all_that_cannot_be_is_named_before_anything_runs(trials, caplog):
    below = """[axes]
    "optim.lr" = [0.1, 0]
    "head.radius" = [1.5]
    "neck.min_level" = [1, 3]
    """
    with pytest.raises(ConfigError) as error:
        trials(below)
    assert "nothing was run" in str(error.value)
    assert "unknown setting 'head.radius'" in str(error.value)
    below = '[axes]\n"optim.lr" = [0.1, 0]\n"neck.min_level" = [1, 3]\n'
    with pytest.raises(ConfigError, match="3 of 4 trials are impossible, for 2 reasons"):
        trials(below)
    told = " ".join(record.message for record in caplog.records if record.levelname == "ERROR")
    assert "needs level c1" in told and "optim.lr" in told


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('"train.views" = [3]', "expected at most the 2 views"),
        ('"neck.levels" = [["c9"]]', "setting 'neck.levels'"),
        ('"train.epochs" = [1.5]', "'train.epochs': expected int"),
        ('"train.accumulate" = [5]', "train.accumulate"),
        ('neck = [{name = "fpm"}]', "did you mean 'fpn'"),
    ],
)
def test_what_does_not_go_with_the_caches_is_refused(setting, said, trials):
    with pytest.raises(ConfigError, match=said):
        trials(f"[axes]\n{setting}\n")


def test_caches_must_pair_and_be_there(trials, tmp_path, quick_caches):
    other = quick_caches["zarr"]
    with pytest.raises(ConfigError, match="holds other features"):
        trials(f'[axes]\ndata = [{{label = "x", val = "{other}"}}]')
    with pytest.raises(ConfigError, match="is not a cache"):
        trials('[axes]\ndata = [{label = "x", cache = "nowhere"}]')


def test_a_cache_must_be_given(tmp_path, opened):
    path = tmp_path / "plan.toml"
    path.write_text("")
    with pytest.raises((ConfigError, InputError), match="--cache: expected in the plan or on the"):
        trials_of(read_plan(path), opened)


def test_other_annotations_are_another_trial(trials, dataset, tmp_path):
    data = json.loads(dataset.read_text())
    data["annotations"] = data["annotations"][:-1]
    (tmp_path / "fewer.json").write_text(json.dumps(data))
    (tmp_path / "same.json").write_bytes(dataset.read_bytes())
    below = """[axes]
    boxes = [{label = "own"}, {annotations = "same.json"}, {annotations = "fewer.json"}]
    """
    found = trials(below)
    assert [trial.labels["boxes"] for trial in found] == ["own", "fewer"]


def test_comparable_are_those_of_the_same_caches_and_epochs(trials):
    one, two, three, four = trials("[axes]\n'train.epochs' = [1, 2]\n'optim.lr' = [1.0, 2.0]")
    assert comparable(one, [one, two, three, four]) == [one, two]


@pytest.fixture(scope="module")
def finished(exact_cache, tmp_path_factory):
    run = tmp_path_factory.mktemp("start") / "run"
    names = ("neck.channels=8", "neck.max_level=5", "head.convs=1", "head.anchor_scales=[4]")
    config = load_config(head="retinanet", assignments=(*names, "train.epochs=1"))
    train(config, TrainOptions(cache=exact_cache, out=run, threads=1, device="cpu"))
    return run


def test_a_start_is_part_of_a_trial_and_a_refiner_needs_one(trials, finished):
    stages = '[axes]\n"head.refine" = [1, 2]'
    with pytest.raises(ConfigError, match=r"head\.refine.*--start RUN"):
        trials(stages)
    one, two = trials(stages, f'start = "{finished}"')
    assert one.caches.start == finished and one.caches.options(finished).start == finished
    assert one.trained < two.trained < two.total
    (plain,) = trials()
    (begun,) = trials("", f'start = "{finished}"')
    assert plain.digest != begun.digest and plain.total == begun.total
