"""Sphinx reads its settings here."""

import logging
import tomllib
from pathlib import Path

pyproject = Path(__file__).parent.parent / "pyproject.toml"

project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["name"]
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]

# The list in index.md may be empty. `suppress_warnings` cannot name this warning.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)
