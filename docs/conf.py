"""Sphinx's settings for the course's site. `docs/build.py` lays out the sources and calls Sphinx; nothing is executed here or there."""

import json
import os
from pathlib import Path

STAGED = json.loads(Path(os.environ["SITE_FACTS"]).read_text(encoding="utf-8"))  # what build.py found out: title, address, authors

project = STAGED["title"]
author = STAGED["author"]
copyright = f"{author}: code under the MIT License, texts under CC BY 4.0"
html_title = STAGED["title"]
language = "en"

extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx.ext.githubpages"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables among the outputs
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_static"]

html_theme = "sphinx_book_theme"
html_theme_options = {
    "repository_url": f"https://github.com/{STAGED['repository']}",
    "repository_branch": "main",
    "use_repository_button": True,
    "use_download_button": False,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "show_toc_level": 2,
    "footer_content_items": ["copyright.html"],
    **{f"navbar_{part}": [] for part in ("start", "center", "end", "persistent")},  # the sidebar has the search already
}
html_context = {"default_mode": "auto"}
html_static_path = [STAGED["static"]]
html_css_files = ["site.css"]
html_favicon = "favicon.svg"
html_last_updated_fmt = None
html_show_sphinx = False

# MathJax from npm, the parts that the course's formulas need; every other address in its configuration is switched off.
mathjax_path = "mathjax/startup.js"
mathjax4_config = {
    "loader": {
        "load": ["input/tex-base", "[tex]/ams", "output/chtml"],
        "paths": {"fonts": "[mathjax]/fonts"},
    },
    "tex": {"packages": {"[+]": ["ams"]}},
    "output": {"fontPath": "[mathjax]/fonts/%%FONT%%-font"},
}
