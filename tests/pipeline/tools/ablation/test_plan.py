"""PLAN.toml: what it says, and that what it cannot say is refused by name."""

import re
from pathlib import Path

import pytest

from fdet.cache.errors import ConfigError
from fdet.pipeline.runs.config import RunConfig
from fdet.pipeline.tools.ablation.combinations import combinations_of
from fdet.pipeline.tools.ablation.plan import merged, read_plan

ROOT = Path(__file__).parents[4]


def plan(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return read_plan(path)


def test_paths_are_relative_to_the_plan(tmp_path):
    found = plan(tmp_path, 'cache = "a.fdet"\nout = "/o"\nannotations = "x/y.json"')
    assert found.paths == {"cache": tmp_path / "a.fdet", "annotations": tmp_path / "x/y.json"}
    assert found.out.as_posix() == "/o"


def test_a_base_is_a_preset_a_file_beside_the_plan_and_sections_on_top(tmp_path):
    (tmp_path / "own.toml").write_text('[head]\nname = "fcos"\nconvs = 3\n[optim]\nlr = 0.5')
    base = plan(tmp_path, '[base]\nconfig = "own.toml"\n[base.head]\nconvs = 2').base
    assert base == {"head": {"name": "fcos", "convs": 2}, "optim": {"lr": 0.5}}
    base = plan(tmp_path, '[base]\nconfig = "own.toml"\nhead = {name = "tal"}').base
    assert base["head"] == {"name": "tal"}
    base = plan(tmp_path, '[base]\nconfig = "retinanet-fpn-s"\n"optim.lr" = 1.0').base
    assert base["neck"]["channels"] == 64 and base["optim"]["lr"] == 1.0


def test_axes_are_settings_sections_and_bundles(tmp_path):
    axes = plan(
        tmp_path,
        """
        [axes]
        "optim.lr" = [0.1, 0.2]
        train.fraction = [0.5]
        head = [{name = "fcos", convs = 2}, {name = "tal", label = "other"}]
        size = [{label = "small", "neck.channels" = 8, head.norm = "gn"}]
        data = [{cache = "b.fdet", val = "v.fdet"}]
        """,
    ).axes
    assert {name: [c.label for c in choices] for name, choices in axes.items()} == {
        **{"optim.lr": ["0.1", "0.2"], "train.fraction": ["0.5"]},
        **{"head": ["fcos, convs 2", "other"], "size": ["small"], "data": ["b, v"]},
    }
    assert axes["optim.lr"][1].sections == {"optim": {"lr": 0.2}}
    assert axes["head"][1].sections == {"head": {"name": "tal"}}
    assert axes["size"][0].sections == {"neck": {"channels": 8}, "head": {"norm": "gn"}}
    assert axes["data"][0].paths == {"cache": tmp_path / "b.fdet", "val": tmp_path / "v.fdet"}


def test_a_named_section_replaces_and_comes_before_what_changes_it():
    base = {"head": {"name": "retinanet", "anchor_scales": [4]}, "optim": {"name": "sgd"}}
    changes = [{"head": {"convs": 2}}, {"head": {"name": "fcos"}}, {"optim": {"name": "adamw"}}]
    assert merged(base, changes) == {
        "head": {"name": "fcos", "convs": 2},
        "optim": {"name": "adamw"},
    }
    assert base["head"] == {"name": "retinanet", "anchor_scales": [4]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chache = 'x'", "unknown key 'chache'; did you mean 'cache'"),
        ("[axis]", "unknown key 'axis'; did you mean 'axes'"),
        ("[base.neks]", r"unknown key 'base.neks'; did you mean 'neck'"),
        ("[base]\nconfig = 'retinanet-fpm-s'", "did you mean 'retinanet-fpn-s'"),
        ("[axes]\n'optin.lr' = [1]", "axis 'optin.lr': unknown section; did you mean 'optim.lr'"),
        ("[axes]\nlr = [1, 2]", "axis 'lr': unknown setting; did you mean 'optim.lr'"),
        ("[axes]\n'optn.x' = [1]", "axis 'optn.x': unknown section; did you mean 'optim'"),
        ("[axes]\nsize = [{batch = 3}]", "unknown key 'batch'; did you mean 'train.batch_size'"),
        (
            "lr = 1",
            "unknown key 'lr'; did you mean 'optim.lr'. settings belong to .base. or .axes.",
        ),
        ("[base]\nepochs = 1", "unknown key 'base.epochs'; did you mean 'train.epochs'"),
        ("[axes]\nsize = [{chanels = 3}]", "axis 'size': unknown key 'chanels'"),
        ("[axes]\nsize = [3]", "axis 'size': expected a table, got 3"),
        ("[axes]\n'optim.lr' = 0.1", "axis 'optim.lr': expected a list, got 0.1"),
        ("[axes]\n'optim.lr' = []", "axis 'optim.lr': expected a list"),
        ("[axes]\n'optim.lr' = [1, 1]", "'1' appears twice"),
        ("[axes]\n'train.seed' = [1]", "train.seed is given by `seeds`"),
        ("[base.train]\nseed = 1", "base: train.seed is given by `seeds`"),
        (
            "[axes]\n'head.convs' = [1]\nhead = [{name = 'fcos', convs = 2}]",
            "axes 'head.convs' and 'head' both decide 'head.convs'",
        ),
        ("seeds = []", "seeds: expected some"),
        ("seeds = [1, 1]", "seeds: expected some, each once"),
        ("seeds = 'x'", "setting 'plan.seeds': expected a list"),
        ("mode = 'gird'", "setting 'plan.mode': expected one of"),
        ("mode = 'random'", "budget: expected the number of combinations"),
        ("budget = 3", "budget: expected the number .* got 3 with mode 'grid'"),
        ("[[trials]]\n'optim.lr' = 1", r"mode 'grid' takes \[axes\], not \[trials\]"),
        ("mode = 'list'\n[axes]\n", r"mode 'list' takes \[trials\], not \[axes\]"),
        ("[pruning]\nname = 'mediam'", "did you mean 'median'"),
        ("[pruning]\nname = 'median'\nreduction = 3", "unknown setting 'pruning.reduction'"),
        ("[base]\ncache = 'x'", "unknown key 'base.cache'"),
    ],
)
def test_what_no_plan_has_is_refused_by_name(text, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        plan(tmp_path, text)


def test_a_list_is_an_axis_of_its_own(tmp_path):
    found = plan(tmp_path, "mode = 'list'\n[[trials]]\n'optim.lr' = 1.0\n[[trials]]\nlabel='b'")
    assert [choice.label for choice in found.axes["trial"]] == ["lr 1.0", "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_plan_is_read_in_the_encodings_that_editors_write(encoding, line_end, tmp_path):
    text = "seeds = [1, 2]\nout = 'Größe'\n[axes]\n'optim.lr' = [0.1]\n"
    path = tmp_path / "plan.toml"
    path.write_bytes(text.replace("\n", line_end).encode(encoding))
    found = read_plan(path)
    assert (found.seeds, found.out) == ((1, 2), tmp_path / "Größe")
    assert found.axes["optim.lr"][0].sections == {"optim": {"lr": 0.1}}


def configurations(found):
    return [
        RunConfig.from_mapping(merged(found.base, [choice.sections for choice in choices]))
        for choices in combinations_of(found)
    ]


def test_the_plans_of_the_documentation_are_plans(tmp_path):
    pytest.importorskip("optuna")
    text = (ROOT / "docs" / "ablations.md").read_text()
    first, pruning = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    found = plan(tmp_path, first)
    assert len(configurations(found)) == 2**7 and found.seeds == (0, 1, 2)
    assert plan(tmp_path, pruning).pruning is not None


def test_the_plan_of_the_example_is_six_heads():
    found = read_plan(ROOT / "examples" / "ablation" / "plan.toml")
    configs = configurations(found)
    assert len({config.digest for config in configs}) == 6
