"""The picture of a report in the README: ``python -m tests.picture SUMMARY.md PICTURE.png [HEIGHT]``.

Draws a run's ``summary.md`` as GitHub shows it on a job's page. Needs markdown-it-py (comes with rich) and Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

from lisa_ci.process import check

_WIDTH: Final = 1000
_MARKS: Final = {
    "✅": ("#1a7f37", "M5 8.5l2 2 4-4.5"),
    "❌": ("#cf222e", "M5.5 5.5l5 5m0-5l-5 5"),
    "⚠️": ("#bf8700", "M8 4.5v4.5m0 2v.5"),
}
_STYLE: Final = """
body { font: 16px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; background: #fff; margin: 28px 36px; }
h2 { font-size: 22px; border-bottom: 1px solid #d1d9e0; padding-bottom: 8px; margin: 0 0 16px; }
h3 { font-size: 18px; margin: 24px 0 12px; } h4 { font-size: 16px; margin: 20px 0 12px; }
code { font: 85% "DejaVu Sans Mono", monospace; background: #eff1f3; padding: 2px 5px; border-radius: 5px; }
pre { background: #f6f8fa; padding: 14px; border-radius: 6px; overflow: hidden; }
pre code { background: none; padding: 0; }
table { border-collapse: collapse; font-size: 14px; } td, th { border: 1px solid #d1d9e0; padding: 6px 11px; }
tr:nth-child(even) { background: #f6f8fa; } svg { width: 18px; height: 18px; vertical-align: -3px; }
summary { margin: 12px 0; }
blockquote { margin: 0; padding-left: 14px; border-left: 4px solid #d1d9e0; color: #59636e; }
"""


def page(markdown: str) -> str:
    """The summary as a page of its own. Signs become drawings: a host without colour fonts has none for them."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    for sign, (colour, path) in _MARKS.items():
        stroke = f'stroke="#fff" stroke-width="1.8" stroke-linecap="round" fill="none" d="{path}"'
        html = html.replace(
            sign, f'<svg viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="{colour}"/><path {stroke}/></svg>'
        )
    return f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style>{html}'


def main() -> None:
    summary, picture, *height = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(page(Path(summary).read_text(encoding="utf-8")), encoding="utf-8")
        check(
            [
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={_WIDTH},{int(height[0]) if height else 900}",
                f"--screenshot={Path(picture).absolute()}",
                file.as_uri(),
            ],
            timeout=timedelta(minutes=2),
        )


if __name__ == "__main__":
    main()
