"""How many trials go through one pass, by hand; and which can."""

from collections import Counter

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.ablation.estimate import Cost
from fdet.pipeline.tools.ablation.options import MAX_TOGETHER, parse_together
from fdet.pipeline.tools.ablation.plan import read_plan
from fdet.pipeline.tools.ablation.schedule import choose_together, cut, sharing, worth
from fdet.pipeline.tools.ablation.trials import trials_of


@pytest.mark.parametrize(
    ("reading", "step", "most", "expected"),
    [
        (0.001, 1.0, 16, 1),  # too little to share
        (1.0, 1.0, 64, 19),  # 1 / (1 + 19) is 5 %
        (1.0, 1.0, 6, 6),
        (0.1, 0.9, 16, 3),  # 0.1 / (0.1 + 3 * 0.9) is below 5 %
        (1.0, 0.0, 7, 7),
    ],
)
def test_as_many_as_make_reading_small(reading, step, most, expected):
    count, why = worth([Cost(reading, step, 0.0)], most)
    assert count == expected and f"{1e3 * reading:.1f} ms" in why


def test_what_is_measured_is_the_mean_over_heads():
    costs = [Cost(1.0, 0.5, 0.0), Cost(1.0, 1.5, 0.0)]
    assert worth(costs, 64) == worth([Cost(1.0, 1.0, 0.0)], 64)


@pytest.mark.parametrize("together", [1, 2, 3, 4, 100])
def test_groups_are_cut_evenly_and_nothing_is_lost(together):
    groups = [list(range(7)), list(range(10, 12))]
    found = cut(groups, together)
    assert [k for group in found for k in group] == [*range(7), 10, 11]
    assert max(map(len, found)) <= together
    sizes = Counter(len(group) for group in found if group[0] < 7)
    assert max(sizes) - min(sizes) <= 1


def test_those_that_share_order_and_batch_go_together(write, opened):
    axes = '[axes]\n"optim.lr" = [1.0, 2.0]\n"train.batch_size" = [2, 4]\n"train.epochs" = [1, 2]'
    trials = trials_of(read_plan(write(axes, "seeds = [0, 1]")), opened)
    found = sharing(trials)
    assert sorted(map(len, found)) == [4, 4, 4, 4]
    for group in found:
        assert len({(t.config.train.batch_size, t.seed) for t in group}) == 1


def test_without_a_pair_nothing_is_measured(write, opened):
    trials = trials_of(read_plan(write("", "seeds = [0, 1]")), opened)
    assert choose_together(sharing(trials), 1, None) == (
        1,
        "no two trials share cache, views, order and batch",
    )


def test_jobs_leave_no_process_idle(write, opened):
    class Dear:
        def of(self, trial):
            return Cost(1.0, 0.01, 0.0)

    trials = trials_of(read_plan(write("[axes]\n'optim.lr' = [1.0, 2.0, 3.0, 4.0]")), opened)
    assert choose_together(sharing(trials), 1, Dear())[0] == 4
    assert choose_together(sharing(trials), 2, Dear())[0] == 2
    assert choose_together(sharing(trials), 4, Dear())[0] == 1


def test_together_is_auto_or_a_number():
    assert parse_together("auto") is None and parse_together("3") == 3
    for text in ("0", "-1", "many", str(MAX_TOGETHER + 1)):
        with pytest.raises(InputError, match="--together: expected auto or a number"):
            parse_together(text)
