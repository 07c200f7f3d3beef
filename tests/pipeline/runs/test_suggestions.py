"""What somebody means by a setting that does not exist: by meaning before spelling."""

import pytest

from fdet.pipeline.runs.config import setting_names
from fdet.pipeline.runs.suggestions import (
    OPTIONS,
    SECTIONS,
    SYNONYMS,
    by_meaning,
    sections_of,
    suggestion,
    unknown_section,
    unknown_setting,
)

KNOWN = setting_names()


def test_every_synonym_stands_for_a_setting_and_is_none_itself():
    own = {name.rpartition(".")[2].replace("_", "") for name in KNOWN}
    assert set(SYNONYMS.values()) <= set(KNOWN)
    assert set(SECTIONS.values()) == set(sections_of(KNOWN))
    for table in (SYNONYMS, OPTIONS):
        assert not own & set(table)
    assert not set(SECTIONS) & set(sections_of(KNOWN))


def test_every_setting_is_found_by_its_last_part_in_any_section():
    for name in KNOWN:
        last = name.rpartition(".")[2]
        if last != "name":
            assert name in by_meaning(f"elsewhere.{last}", KNOWN)
        assert by_meaning(name.upper(), KNOWN) == [name]
        assert by_meaning(f"model.{name}", KNOWN) == [name]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("train.lr", "optim.lr"),
        ("optim.learning_rate", "optim.lr"),
        ("learningRate", "optim.lr"),
        ("solver.base_lr", "optim.lr"),
        ("epochs", "train.epochs"),
        ("optim.max-epochs", "train.epochs"),
        ("batch", "train.batch_size"),
        ("data.batch_size", "train.batch_size"),
        ("model.head", "head.name"),
        ("model.head.name", "head.name"),
        ("neck", "neck.name"),
        ("optimizer", "optim.name"),
        ("optimizer.name", "optim.name"),
        ("optimizer.weight_decay", "optim.weight_decay"),
        ("lr_scheduler.gamma", "schedule.gamma"),
        ("train.warmup_epochs", "schedule.warmup_steps"),
        ("train.grad_clip", "train.clip_norm"),
        ("model.roi_head.nms_iou", "head.nms_iou"),
        ("train.shufle_shards", "train.shuffle_shards"),
        ("model.neck.chanels", "neck.channels"),
        ("batch_sze", "train.batch_size"),
    ],
)
def test_a_name_of_another_program_or_section_is_understood(path, meant):
    assert suggestion(path, KNOWN) == f"; did you mean '{meant}'?"


def test_a_name_that_several_sections_have_is_answered_with_all_of_them():
    hint = suggestion("train.norm", KNOWN)
    assert hint == "; did you mean 'backbone.norm', 'head.norm' or 'neck.norm'?"


@pytest.mark.parametrize(
    ("path", "option"),
    [("train.device", "--device"), ("imgsz", "--size of `fdet extract`"), ("work_dir", "--out")],
)
def test_an_option_of_a_command_is_named(path, option):
    assert suggestion(path, KNOWN) == f"; that is an option: {option}"


def test_what_nothing_is_near_to_gets_the_list():
    assert unknown_setting("train.zzz", KNOWN, ["seed", "views"]) == (
        "unknown setting 'train.zzz'; known: train.seed, train.views"
    )
    assert unknown_setting("zzz", ["b.c", "a.d"]) == "unknown setting 'zzz'; known: a, b"


@pytest.mark.parametrize(
    ("section", "given", "said"),
    [
        ("optm", {"zzz": 1}, "unknown section 'optm'; did you mean 'optim'?"),
        ("solver", {}, "unknown section 'solver'; did you mean 'optim'?"),
        ("model", {"head": {"nme": 1}}, "unknown setting 'model.head.nme'; did you mean 'head.nam"),
        ("zzz", {"y": 1}, "unknown section 'zzz'; known: augment, backbone"),
        ("lr", 1, "unknown setting 'lr'; did you mean 'optim.lr'?"),
    ],
)
def test_a_section_is_understood_by_what_is_in_it(section, given, said):
    assert unknown_section(section, given, KNOWN).startswith(said)
