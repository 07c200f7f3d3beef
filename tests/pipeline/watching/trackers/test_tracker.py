import pytest

from fdet.cache.errors import CorruptCache
from fdet.pipeline.watching.events import Event
from fdet.pipeline.watching.trackers.tracker import flat, keep_id, kept_id, scalars, tracker_hook

from .conftest import EVAL_LINE, TRAIN_LINE


def test_figures_of_training_have_flat_names():
    assert scalars(TRAIN_LINE) == {
        "train/epoch": 1,
        "train/lr": 5e-4,
        "train/loss": 1.5,
        "train/losses/box": 0.5,
        "train/losses/class": 1.0,
        "train/images_per_second": 31.5,
        "train/waiting": 0.01,
        "train/process_memory_mb": 900,
    }


def test_figures_of_an_evaluation_have_flat_names_and_what_is_not_counted_is_absent():
    assert scalars(EVAL_LINE) == {
        "eval/epoch": 2,
        "eval/ap": 0.25,
        "eval/per_class/disc": 0.5,
        "eval/images": 4,
    }


def test_what_is_no_number_is_left_out():
    line = {"kind": "train", "step": 1, "note": "slow", "clipped": True, "loss": 2.0}
    assert scalars(line) == {"train/loss": 2.0}


def test_nested_mappings_become_flat():
    assert dict(flat({"a": {"b": {"c": 1}, "d": None}, "e": ()}, ".")) == {
        "a.b.c": 1,
        "a.d": None,
        "e": (),
    }


def test_the_hook_gives_a_tracker_every_line():
    given = []

    class Notebook:
        def scalars(self, step, values):
            given.append((step, values))

    hook = tracker_hook(Notebook())
    for line in (TRAIN_LINE, EVAL_LINE):
        hook(Event(line))
    assert given == [(10, scalars(TRAIN_LINE)), (20, scalars(EVAL_LINE))]


def test_an_id_is_kept_and_can_change(tmp_path):
    assert kept_id(tmp_path, "wandb") is None
    keep_id(tmp_path, "wandb", "first")
    keep_id(tmp_path, "wandb", "second")
    assert kept_id(tmp_path, "wandb") == "second"
    assert kept_id(tmp_path, "mlflow") is None


def test_an_id_is_not_read_through_a_link(tmp_path):
    (tmp_path / "secret").write_text("of another")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "id").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptCache):
        kept_id(tmp_path, "wandb")
