"""The Sphinx extension: writes the generated pages before the sources are read, and adapts links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .commands import command_pages
from .links import PAGES, ROOT, for_site
from .python_names import python_pages
from .settings import setting_pages

GENERATED = "generated"


def generated_pages() -> dict[str, str]:
    """Return the Markdown of every generated page by its path in docs/."""
    pages = {**command_pages(), **setting_pages(), **python_pages()}
    found = {f"{GENERATED}/{name}": text for name, text in pages.items()}
    for source, page in PAGES.items():
        if page.startswith(f"{GENERATED}/"):
            found[page] = for_site((ROOT / source).read_text(), source, f"docs/{page}")
    return found


def write_pages(folder: Path) -> None:
    """Write the generated pages into docs/, and delete those of another version of the code."""
    pages = generated_pages()
    for path in (folder / GENERATED).rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def _adapt(app: Any, docname: str, content: list[str]) -> None:
    if not docname.startswith(f"{GENERATED}/"):
        content[0] = for_site(content[0], f"docs/{docname}.md", f"docs/{docname}.md")


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)))
    app.connect("source-read", _adapt)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
