"""The configuration of Sphinx for the site: `make docs`."""

import fdet

project = "fdet"
author = "The fdet contributors"
project_copyright = "The fdet contributors, Apache-2.0"
version = release = fdet.__version__

extensions = ["myst_parser", "sphinx_copybutton", "fdet.docs.extensions.pages"]
exclude_patterns = ["build", "extensions", "Thumbs.db", ".DS_Store"]
source_suffix = {".md": "markdown"}
highlight_language = "none"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# `$` and `{` in prose mean themselves.
myst_links_external_new_tab = False

html_theme = "furo"
html_title = f"fdet {version}"
html_favicon = "static/fdet.svg"
html_static_path = ["static"]
html_css_files = ["fdet.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
# Nothing is fetched when a page is opened.
html_use_opensearch = ""
