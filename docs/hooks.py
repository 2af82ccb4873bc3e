"""README.md as the start page of the site, so that nothing is written twice."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

README = Path(__file__).parent.parent / "README.md"


def on_files(files: Files, config: Any) -> Files:
    """Add README.md as index.md; its links into docs/ start here."""
    text = README.read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the pages' links to README.md into links to the start page."""
    home = "../" * page.file.src_uri.count("/") + "index.md"
    return re.sub(r"\]\((?:\.\./)+README\.md", f"]({home}", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show `a \\| b` in the cell of a table as `a | b`, as GitHub does; Python-Markdown keeps the backslash."""
    return re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace("\\|", "|"), html)
