"""The meaning of a run.json of an older format: later settings get the values that were implied then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...heads.roi import ROI_HEADS

# The oldest format that can be read, and the newest.
OLDEST, FORMAT = 7, 9
# The oldest format whose settings and steps are those of today, so that its runs can be resumed.
REPEATED = 8
# From this format on run.json and the checkpoints carry checksums.
SEALED = 9

# The values of settings that were added without a new format, in runs of any format that lack them.
_ADDED: Mapping[str, Mapping[str, Any]] = {"tal": {"reg_max": 0}}
_HEADS: Mapping[str, Mapping[str, Any]] = {
    "retinanet": {"anchor_grid": "canvas"},
    "faster-rcnn": {},
    "cascade-rcnn": {"stage_losses": "mean"},
}
_ROI_HEADS = {
    "anchor_grid": "canvas",
    "roi_aligned": False,
    "rpn_norm": "none",
    "rpn_convs": 1,
}
_NECKS: Mapping[str, Mapping[str, Any]] = {"bifpn": {"order": "conv-norm-act"}}


def current_config(values: Mapping[str, Any], format: int) -> Mapping[str, Any]:
    """Return the sections of a configuration as the newest format has them."""
    head, neck = values["head"], values["neck"]
    head = {**_ADDED.get(head["name"], {}), **head}
    if format >= REPEATED:
        return {**values, "head": head}
    return {
        **values,
        "head": {
            "normaliser": "image",
            **(_ROI_HEADS if head["name"] in ROI_HEADS else {}),
            **_HEADS.get(head["name"], {}),
            **_with_older_groups(head),
        },
        "neck": {**_NECKS.get(neck["name"], {}), **_with_older_groups(neck)},
    }


def _with_older_groups(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace "gn" by "gn32": it had 32 groups then, however few channels that left to each."""
    return {**settings, "norm": "gn32"} if settings.get("norm") == "gn" else settings
