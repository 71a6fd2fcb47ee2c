"""Configuration of the documentation site: `make docs`.

The source folder is the repository itself, so the chapters (README.md of each package) are pages where they lie, and
their links work here as they do on GitHub. The reference pages are written from the code before each build.
"""

from __future__ import annotations

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from data_exchange_center import VERSION
from docs import reference_pages

ROOT = Path(__file__).resolve().parents[1]

project = "recsys_pipeline"
version = release = VERSION
extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = [
    *("*.md", "docs/*.md", "docs/*/*.md", "docs/tutorial/*.ipynb"),
    *(
        "*/README.md",
        "*/README.zh-CN.md",
        "extras/*/README.md",
        "research/bench/README.md",
    ),
]
exclude_patterns = [".*", "build", "**/.ipynb_checkpoints"]

myst_heading_anchors = 3
myst_enable_extensions = [
    "colon_fence",
    "html_image",
]  # html_image: copies the pictures of <img>
# notebooks are run by tests/e2e/full/test_readmes.py and committed with their outputs
nb_execution_mode = "off"
highlight_language = "none"  # answers that are cut short with dots are in no language

html_theme = "furo"
html_title = f"recsys_pipeline {VERSION}"
# index.html of the site's root, which leads to docs/index.html
html_extra_path = ["extra"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[\w./-]+)\)")


def _adapt(app: Sphinx, name: str, content: list[str]) -> None:
    """Replace links to folders, which GitHub shows, by their text; leave out badges, which are GitHub's, too."""
    folder = (ROOT / name).parent
    content[0] = re.sub(r"^<a href=.+</a>\n", "", content[0], flags=re.MULTILINE)
    content[0] = _LINK.sub(
        lambda link: link["text"] if (folder / link["path"]).is_dir() else link[0],
        content[0],
    )


def setup(app: Sphinx) -> None:
    app.add_lexer("csv", TextLexer)  # Pygments has none
    app.connect("builder-inited", lambda _: reference_pages.write())
    app.connect("source-read", _adapt)
