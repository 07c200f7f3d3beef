"""The report as one HTML file that makes no network requests.

Its content security policy allows the scripts and styles in the file, by their sha256, and pictures in
data: URIs; everything else is refused. Text from files, such as class names, is in a block of JSON, which
no HTML parser takes for markup and which the scripts insert into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...evaluation.errors import KINDS
from ...runs.names import telling_names
from ...runs.paper import PAPER
from .axes import shown
from .effects import MEASURES
from .gallery import HEADS
from .report import COSTS, Report

_HERE = Path(__file__).parent / "page"
# The scripts, in the order in which they run.
_SCRIPTS = ("elements.js", "table.js", "plots.js", "scores.js", "gallery.js", "start.js")
# The number of characters of a name in tables and legends; the whole name is its tooltip.
NAME_LENGTH = 44
# For each column of the tidy table its heading, factor and number of digits.
_FIGURES: Mapping[str, tuple[str, float, int]] = {
    "epochs": ("epochs", 1, 0),
    "ap": ("AP", 100, 1),
    "best_epoch": ("best epoch", 1, 0),
    "ap50": ("AP50", 100, 1),
    "ap75": ("AP75", 100, 1),
    "ap_small": ("AP small", 100, 1),
    "ap_medium": ("AP medium", 100, 1),
    "ap_large": ("AP large", 100, 1),
    "ap_rare": ("AP rare", 100, 1),
    "ap_common": ("AP common", 100, 1),
    "ap_frequent": ("AP frequent", 100, 1),
    "mask_ap": ("AP of masks", 100, 1),
    "trained": ("trained, M", 1e-6, 2),
    "share": ("share, %", 100, 1),
    "seconds": ("seconds", 1, 1),
    "images_per_second": ("images/s", 1, 1),
    "process_mb": ("process, MiB", 1, 0),
    "device_mb": ("device, MiB", 1, 0),
}


def page(report: Report) -> str:
    """Return the whole HTML file."""
    plotly = _inline((files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8"))
    script = _inline("\n".join((_HERE / name).read_text("utf-8") for name in _SCRIPTS))
    style = _inline((_HERE / "page.css").read_text("utf-8"))
    parts = {
        "policy": _policy([plotly, script], [style, _PLOTLY_STYLE]),
        "style": style,
        "plotly-style": _PLOTLY_STYLE,
        "data": as_json(payload(report)),
        "maps": _map_style_id(plotly),
        "plotly": plotly,
        "script": script,
    }
    # There is only one pass, so that inserted text is not searched for placeholders.
    head, *blocks = (_HERE / "template.html").read_text("utf-8").split("{{")
    sections = (block.split("}}", 1) for block in blocks)
    return "".join([head, *(parts[name] + rest for name, rest in sections)])


# plotly.js adds its rules to this sheet by script, which the policy allows, and makes no other sheet.
_PLOTLY_STYLE = "/* plotly */"


def _map_style_id(plotly: str) -> str:
    """Return the id under which plotly.js looks for the styles of its maps before it makes them.

    The policy would refuse the styles that it makes. As there are no maps here, an empty element has the id.
    """
    found = re.search(r'getElementById\("([0-9a-f]{64})"\)', plotly)
    return found[1] if found else "maps"


def _inline(text: str) -> str:
    """Return a script or style as a browser will hash it."""
    text = text.replace("\r\n", "\n")
    assert "</script" not in text.lower() and "</style" not in text.lower() and "<!--" not in text
    return text


def _policy(scripts: list[str], styles: list[str]) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_source, scripts))}",
            f"style-src {' '.join(map(_source, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def as_json(value: Any) -> str:
    """Return JSON for a block within HTML, which no character of it can end."""
    text = json.dumps(_finite(value), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by None, as JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def payload(report: Report) -> dict[str, Any]:
    """Return everything that the page displays, as plain values."""
    classes = dict.fromkeys(name for record in report.records for name in record.per_class)
    known = {n for record in report.records for n, ap in record.per_class.items() if ap is not None}
    return {
        "sentence": report.sentence,
        "notes": report.notes,
        "axes": [{"name": axis.name, "label": axis.label} for axis in report.axes],
        "columns": [
            {"key": key, "label": label, "factor": factor, "digits": digits}
            for key, (label, factor, digits) in _FIGURES.items()
            if any(row[key] is not None for row in report.rows)
        ],
        "classes": [name for name in classes if name in known],
        "emptyClasses": [name for name in classes if name not in known],
        "kinds": list(KINDS),
        "runs": list(_runs(report)),
        "groups": list(_groups(report)),
        "costs": {cost: COSTS[cost] for cost in report.fronts},
        "fronts": report.fronts,
        "effects": {
            name: [effect.to_json() for effect in of] for name, of in report.effects.items()
        },
        "measures": dict(MEASURES),
        "paper": [asdict(point) for point in PAPER],
        "gallery": asdict(report.gallery),
        "scores": {r.name: r.scores for r in report.best_runs[:HEADS] if r.scores},
    }


def _runs(report: Report) -> Iterator[dict[str, Any]]:
    groups = {run: number for number, group in enumerate(report.groups) for run in group.runs}
    short = telling_names([record.name for record in report.records], NAME_LENGTH)
    for k, (record, row) in enumerate(zip(report.records, report.rows, strict=True)):
        yield {
            "name": record.name,
            "short": short[k],
            "folder": str(record.folder),
            "state": record.state,
            "note": record.note,
            "group": groups.get(k),
            "seeds": "" if record.seed is None else str(record.seed),
            "axes": [_axis_value(axis.values[k]) for axis in report.axes],
            "figures": {key: row[key] for key in _FIGURES},
            "spreads": {},
            "course": [asdict(point) for point in record.learning_curve],
            "perClass": record.per_class,
            "errors": record.errors,
            "advice": [advice.text for advice in record.advice],
            "command": report.commands[k],
        }


def _groups(report: Report) -> Iterator[dict[str, Any]]:
    labels = telling_names([group.label for group in report.groups], NAME_LENGTH)
    for group, short in zip(report.groups, labels, strict=True):
        spreads = {key: report.spread(group, key) for key in _FIGURES}
        done, records = report.finished_of(group), [report.records[k] for k in group.runs]
        yield {
            "name": group.label,
            "short": short,
            "state": f"{len(done)} of {len(group.runs)} finished",
            "note": "; ".join(record.note for record in records if record.note),
            "runs": group.runs,
            "seeds": ", ".join(str(record.seed) for record in records),
            "axes": list(map(_axis_value, group.values)),
            "figures": {key: s and s.mean for key, s in spreads.items()},
            "spreads": {key: s and [s.minimum, s.maximum] for key, s in spreads.items()},
        }


def _axis_value(value: Any) -> float | str:
    """Return a number as it is, so that it sorts as one, and any other value as text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else shown(value)
