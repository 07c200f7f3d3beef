"""What the heads of an audit report: detections of low scores, whatever the head."""

import pytest

from fdet.heads.build import HEADS
from fdet.heads.family import NMSSettings
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.audit.finding import LOWEST_SCORE, at_low_scores


@pytest.mark.parametrize("head", HEADS)
def test_every_head_reports_low_scores_and_each_class_by_itself(head):
    found = at_low_scores(load_config(head=head)).head
    assert found.score_threshold <= LOWEST_SCORE and found.max_detections >= 300
    assert not isinstance(found, NMSSettings) or found.nms == "class"
