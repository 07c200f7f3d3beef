"""The page on runs while they train: one HTML file without a script, which a browser reads again by itself.

Its content security policy allows the style sheet in the file, by its sha256, and nothing else. All text
from folders is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ....cache.errors import shown
from ...machines.duration import hours_minutes, shown_time
from ...runs.names import shortened, telling_names, unique_names
from ...runs.points import points
from .charts import Line, chart, look
from .readings import Reading

_STYLE = Path(__file__).parent / "page" / "page.css"
# The number of characters of a name in the table; the whole name is its tooltip.
_NAME = 42
_NOTE = 240
_HEADINGS = (
    *("run", "state", "epoch", "step", "left", "best AP", "last AP", "loss", "learning rate"),
    *("images/s", "trained for", "last line"),
)


def page(readings: Sequence[Reading], now: float, every: float | None) -> str:
    """Return the HTML file. every: after how many seconds a browser reads it again, None for never."""
    names = unique_names([reading.folder for reading in readings])
    style = "\n".join([_STYLE.read_text("utf-8"), *_highlights(len(readings))])
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'"
    refresh = (
        "" if every is None else f'<meta http-equiv="refresh" content="{max(1, round(every))}">'
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">',
            refresh,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><title>fdet watch</title>',
            f'<link rel="icon" href="data:,"><style>{style}</style></head>',
            "<body>",
            f"<header><h1>{_count(readings)}</h1><p>{_written(now, every)}</p></header>",
            "<main>",
            *_charts(readings, names),
            *_table(readings, names, now),
            "</main></body></html>",
            "",
        ]
    )


def _count(readings: Sequence[Reading]) -> str:
    training = sum(reading.state == "training" for reading in readings)
    runs = f"{len(readings)} run{'s' * (len(readings) != 1)}"
    return f"{runs}, {training} training" if training else runs


def _written(now: float, every: float | None) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    if every is None:
        return f"As of {at}; not renewed any more."
    return f"As of {at}. If this time stands still, <code>fdet watch</code> has ended."


def _highlights(count: int) -> Iterator[str]:
    """Yield rules that dim the other lines while a run's row is pointed at or has the focus."""
    for k in range(count):
        active = f"main:has(#r{k}:hover, #r{k}:focus-within)"
        yield f"{active} .line:not(.r{k}) {{ opacity: 0.12; }}"


def _charts(readings: Sequence[Reading], names: Sequence[str]) -> Iterator[str]:
    kinds = {
        "AP": [tuple((step, 100 * ap) for step, ap in reading.aps) for reading in readings],
        "loss": [reading.losses for reading in readings],
        "learning rate": [reading.rates for reading in readings],
    }
    yield '<div class="charts">'
    for title, curves in kinds.items():
        lines = [Line(k, names[k], curve) for k, curve in enumerate(curves)]
        drawn = chart(f"{title} over the steps", lines, cut=title == "loss")
        yield f"<figure><figcaption>{title}</figcaption>{drawn}</figure>"
    yield "</div>"


def _table(readings: Sequence[Reading], names: Sequence[str], now: float) -> Iterator[str]:
    if not readings:
        yield '<p class="nothing">No run yet in these folders.</p>'
        return
    yield '<div class="scroll" role="region" aria-label="Runs" tabindex="0"><table><thead><tr>'
    yield "".join(f'<th scope="col">{heading}</th>' for heading in _HEADINGS)
    yield "</tr></thead><tbody>"
    for k, (reading, short) in enumerate(zip(readings, telling_names(names, _NAME), strict=True)):
        cells = _cells(reading, now) if reading.state != "unreadable" else _note(reading)
        yield f'<tr id="r{k}" class="{reading.state}">{_name(k, names[k], short)}{cells}</tr>'
    yield "</tbody></table></div>"


def _name(number: int, name: str, short: str) -> str:
    sign = (
        f'<svg class="sign" viewBox="0 0 34 10" aria-hidden="true">'
        f'<path class="line {look(number)}" d="M1 5H33"/></svg>'
    )
    # Lines may end behind "_", and not behind what was left out, where it would stand alone.
    lines = escape(short).replace("_", "_<wbr>").replace("…", "…\N{WORD JOINER}")
    link = f'<a href="#r{number}">{lines}</a>'
    return f'<th scope="row" title="{escape(name)}">{sign}{link}</th>'


def _note(reading: Reading) -> str:
    """Return what is wrong with a run in place of its figures."""
    note = shortened(shown(reading.note.replace(f"{reading.folder}/", "")), _NOTE)
    return f'<td>unreadable</td><td class="note" colspan="{len(_HEADINGS) - 2}">{escape(note)}</td>'


def _cells(reading: Reading, now: float) -> str:
    of = "" if reading.epochs is None else f"/{reading.epochs}"
    best = "-" if reading.best is None else f"{points(reading.best[1])} (epoch {reading.best[0]})"
    cells = [
        f"{reading.state} ({shown(reading.note)})" if reading.note else reading.state,
        f"{reading.epoch}{of}",
        f"{reading.step}",
        "-" if reading.left is None else hours_minutes(reading.left),
        best,
        points(reading.aps[-1][1] if reading.aps else None),
        f"{reading.losses[-1][1]:.4g}" if reading.losses else "-",
        f"{reading.rates[-1][1]:.3g}" if reading.rates else "-",
        "-" if reading.images_per_second is None else f"{reading.images_per_second:.1f}",
        hours_minutes(reading.seconds),
        _ago(now - reading.changed) if reading.changed else "-",
    ]
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)


def _ago(seconds: float) -> str:
    if seconds > 2 * 86400:
        return f"{seconds / 86400:.0f} days ago"
    return f"{shown_time(max(0.0, seconds))} ago"
