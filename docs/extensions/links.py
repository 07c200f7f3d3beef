"""Links of Markdown that people read on GitHub, as the site needs them.

A page in docs/ links to files of the repository by relative paths. Some of these files are pages of the site
under another name; others are offered as downloads, which Sphinx does by itself; a link to a folder becomes
its text.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Files outside docs/ that are pages of the site: the page of each, in docs/.
PAGES: Mapping[str, str] = {
    "README.md": "index.md",
    "CHANGELOG.md": "generated/project/changelog.md",
    "CODE_OF_CONDUCT.md": "generated/project/conduct.md",
    "CONTRIBUTING.md": "generated/project/contributing.md",
    "SECURITY.md": "generated/project/security.md",
    "benchmarks/RESULTS.md": "generated/project/results.md",
}
_LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^()\s#:]+)(#[^()\s]*)?\)")


def for_site(text: str, source: str, page: str) -> str:
    """Return a page's Markdown with its links as the site needs them.

    source: the file that was read, page: the page of the site that it becomes; both from the root.
    """

    def changed(match: re.Match[str]) -> str:
        picture, words, target, fragment = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES:
            path = f"docs/{PAGES[path]}"
        elif (ROOT / path).is_dir():
            return f"`{words}`" if "/" in words and "`" not in words else words
        elif source == page:
            return match[0]
        return f"{picture}[{words}]({os.path.relpath(path, posixpath.dirname(page))}{fragment})"

    return _LINK.sub(changed, text)
