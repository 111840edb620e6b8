"""A hook of MkDocs: a page says which language it is in, so that it is read aloud in that."""

import re
from typing import Any


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Name the language that the end of a page's name tells, if it is not the site's own."""
    told = re.search(r"\.(\w+)\.md$", page.file.src_uri)
    return output.replace('<html lang="en"', f'<html lang="{told[1]}"', 1) if told else output
