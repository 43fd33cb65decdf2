"""What `mkdocs build` does beside mkdocs: the site has no files of the repository, so links to them become text."""

import logging
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(?:#[^)\s]*)?\)")
LOG = logging.getLogger("mkdocs.hooks.site_hooks")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with each link to a file outside docs/ replaced by its text; a file that is not there is a warning."""
    docs = ROOT / "docs"
    place = (docs / page.file.src_uri).parent

    def outside(match: re.Match[str]) -> str:
        target = (place / match[2]).resolve()
        if target.is_relative_to(docs):
            return match[0]
        if not target.exists():
            LOG.warning(f"{page.file.src_uri}: {match[2]} is not there")
        return match[1]

    return LINK.sub(outside, markdown)
