"""Pieces of HTML reports that are one file and need nothing else: style, head, tables, embedded pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --line: #8884; --error: #d0342c; --warning: #b7791f; --note: #4a7ab5; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; } .facts { opacity: .75; margin-top: .2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem;
border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.tag { font-weight: 600; } .error { color: var(--error); } .warning { color: var(--warning); }
.note { color: var(--note); } .ok { color: #2f8f4e; } .way { opacity: .75; }
.wide { overflow-x: auto; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .4rem 1rem 1rem; margin: 1rem 0; }
section h3 { margin: .5rem 0; } .pictures { display: flex; flex-wrap: wrap; gap: 10px; }
figure { margin: 0; } figure img { display: block; border-radius: 4px; } figcaption { font-size: 12px; }
.red { color: #e8463c; } .blue { color: #14a5c9; }
"""
PAGE_END = "</body></html>"


def page_head(title: str) -> Iterator[str]:
    """Everything up to the first line of the body.

    Args:
        title: Of the window.
    """
    yield "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    yield f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"


def figure(label: str, content: bytes, kind: str = "jpeg") -> str:
    """A picture inside the page, with its caption.

    Args:
        label: Caption, and text for those who do not see the picture.
        content: The encoded picture.
        kind: ``jpeg`` or ``png``.
    """
    text, data = escape(label), base64.b64encode(content).decode("ascii")
    picture = f"<img alt='{text}' src='data:image/{kind};base64,{data}'>"
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def encoded_png(picture_HW3: np.ndarray, largest: int = 384) -> bytes:
    """A uint8 picture as PNG, shrunk to a side of at most ``largest`` pixels."""
    picture = Image.fromarray(picture_HW3)
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()


def table(rows: Sequence[Sequence[str]], texts: int = 1) -> Iterator[str]:
    """A table.

    Args:
        rows: Plain text of the cells; the first row is the heading.
        texts: Columns at the left that hold text; the others hold numbers.
    """
    yield "<div class='wide'><table>"
    for place, row in enumerate(rows):
        tag = "td" if place else "th"
        cells = (
            f"<{tag}{'' if column < texts else ' class=number'}>{escape(cell)}</{tag}>"
            for column, cell in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table></div>"
