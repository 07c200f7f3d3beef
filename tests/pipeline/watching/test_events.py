import dataclasses

import pytest

from fdet.pipeline.watching.events import Event


def test_an_event_says_what_kind_it_is_and_when():
    event = Event({"kind": "train", "step": 7, "loss": 1.0})
    assert (event.kind, event.step, dict(event.detections)) == ("train", 7, {})


def test_a_hook_cannot_put_another_line_in_its_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Event({"kind": "train", "step": 7}).line = {}
