"""NAS-FPN's graph against the published one, and its maps against loops over that."""

import pytest
import torch

from fdet.cache.errors import ConfigError
from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.necks.nas_fpn import CELLS, NASFPN
from fdet.heads.necks.settings import NASFPNSettings

from ..reference import SPEC, pyramid
from .literal import Weights, assert_same, conv, group_norm, pooled, repeated, scrambled

# As published: the level of P3..P7, the merge, two nodes by number, whether the result is an output.
GRAPH = """
(4,att,1,3) (4,sum,1,5) (3,sum,0,6)out (4,sum,6,7)out (5,att,7,8)out (7,att,6,9)out (6,att,9,10)out
"""


def published() -> list[tuple[int, str, int, int, bool]]:
    cells = []
    for text in GRAPH.split():
        inside, _, after = text.lstrip("(").partition(")")
        level, merge, first, second = inside.split(",")
        cells.append((int(level), merge, int(first), int(second), after == "out"))
    return cells


def test_the_graph_is_the_published_one():
    merges = {"attention": "att", "sum": "sum"}
    ours = [
        (cell.level + 3, merges[cell.merge], *cell.inputs, k >= 2) for k, cell in enumerate(CELLS)
    ]
    assert ours == published()


def test_the_gate_is_the_coarser_node_and_what_no_cell_takes_is_added_to_its_levels_output():
    levels = [3, 4, 5, 6, 7]
    taken = set()
    for cell, (level, merge, first, second, is_output) in zip(CELLS, published(), strict=True):
        taken |= {first, second}
        if merge == "att":
            assert levels[second] > levels[first]
        loose = [k for k, v in enumerate(levels) if v == level and k not in taken and is_output]
        assert list(cell.added) == loose
        taken |= set(loose)
        levels.append(level)
    assert sorted(levels[-5:]) == [3, 4, 5, 6, 7]
    assert [cell.added for cell in CELLS if cell.added] == [(2,), (4,)]


def brought(x, level, target, like):
    if target > level:
        return pooled(x, 2 ** (target - level))
    return repeated(x, 2 ** (level - target), like)


@pytest.mark.parametrize("canvas", [(256, 256), (264, 392)])
def test_it_is_the_graph_in_loops(canvas):
    neck = scrambled(NASFPN(SPEC, NASFPNSettings(channels=16, repeats=2)))
    weights, given = Weights(neck.state_dict()), pyramid(2, canvas)
    with torch.no_grad():
        projections = [weights / "inputs.convs" / k for k in range(3)]
        inputs = [
            group_norm(of / 1, conv(of / 0, x))
            for of, x in zip(projections, given.maps, strict=True)
        ]
        inputs += [pooled(inputs[-1], 2), pooled(inputs[-1], 4)]
        for repeat in range(2):
            nodes, levels, outputs = list(inputs), [3, 4, 5, 6, 7], {}
            for k, (level, merge, first, second, is_output) in enumerate(published()):
                like = inputs[level - 3]
                a = brought(nodes[first], levels[first], level, like)
                b = brought(nodes[second], levels[second], level, like)
                if merge == "att":
                    for i in range(a.shape[0]):
                        for c in range(a.shape[1]):
                            a[i, c] *= 1 / (1 + torch.exp(-b[i, c].max()))
                node = a + b
                if is_output and level in (5, 7):
                    node = node + inputs[level - 3]
                of = weights / "repeats" / repeat / "convs" / k
                nodes.append(group_norm(of / 1, conv(of / 0, node.clamp(min=0))))
                levels.append(level)
                if is_output:
                    outputs[level] = nodes[-1]
            inputs = [outputs[level] for level in (3, 4, 5, 6, 7)]
        assert_same(neck(given).maps, inputs)


def test_every_cached_level_has_its_part_in_every_output():
    torch.manual_seed(0)
    neck, given = NASFPN(SPEC, NASFPNSettings(channels=16, repeats=1)), pyramid(1, (256, 256))
    with torch.no_grad():
        out = neck(given).maps
        for k in range(3):
            maps = list(given.maps)
            maps[k] = maps[k].flip(-1)
            changed = neck(FeaturePyramid(SPEC, tuple(maps), given.canvas_hw)).maps
            differ = [not torch.equal(x, y) for x, y in zip(out, changed, strict=True)]
            # In one repeat c5 reaches p3 through p6, pooled from it.
            assert all(differ)


@pytest.mark.parametrize(("low", "high"), [(3, 6), (2, 7), (4, 4)])
def test_other_than_five_levels_are_refused(low, high):
    expected = rf"exactly 5 levels, expected {low + 4} with neck.min_level={low}, got {high}"
    with pytest.raises(ConfigError, match=expected):
        NASFPN(SPEC, NASFPNSettings(min_level=low, max_level=high))


@pytest.mark.parametrize("repeats", [0, 8])
def test_repeats_have_limits(repeats):
    with pytest.raises(ConfigError, match=r"neck\.repeats.*1 to 7, got"):
        NASFPNSettings(repeats=repeats)
