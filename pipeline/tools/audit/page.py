"""audit.html: the list with its pictures, on one page that needs no network."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ....cache.disk.publish import publish_bytes
from ....cache.wording import counted
from .paths import LIST, PAGE, TABLE
from .results import Results

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.4rem }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
li { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: 6px; padding: .7rem }
img { width: 100%; height: auto; background: white }
p { margin: .3rem 0; overflow-wrap: anywhere }
.kind { font-weight: 600 }
.file { font-size: .85rem; opacity: .75 }
"""


def write_page(out: Path, results: Results) -> None:
    """Write the page in place of an older one. Raises StorageError."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in results.kinds.items() if number)
    looked_at = f"{counted(results.objects, 'object')} in {counted(results.images, 'image')}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Labels to look at</title><style>{_STYLE}</style>",
        f"<h1>Labels to look at: {len(results.entries)}</h1>",
        f"<p>{escape(looked_at)} of {escape(str(results.cache))}; {escape(kinds or 'none')}. ",
        f"The same as values: <a href={LIST}>{LIST}</a>, <a href={TABLE}>{TABLE}</a>.</p>",
        "<ol>",
        *map(_item, results.rows()),
        "</ol></html>",
    ]
    publish_bytes(
        out / PAGE, "\n".join(parts).encode(errors="backslashreplace"), existing="replace"
    )


def _item(row: dict[str, Any]) -> str:
    label = f"label {row['label']!r}" if row["label"] is not None else "no label"
    found = (
        f"found {row['found']!r} ({row['found_score']:.2f})" if row["found"] else "nothing found"
    )
    text = escape(f"{label}, {found}")
    picture = ""
    if row["picture"]:
        source = quote(row["picture"])
        picture = f"<a href='{source}'><img src='{source}' loading=lazy alt='{escape(text, quote=True)}'></a>"
    return (
        f"<li><p class=kind>{row['rank']}. {escape(row['kind'])}, {row['suspicion']:.2f}</p>{picture}"
        f"<p>{text}: {escape(row['suggestion'])}</p><p class=file>{escape(row['image'])}, box "
        f"{escape(str(row['box'] or row['found_box']))}</p></li>"
    )
