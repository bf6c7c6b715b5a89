"""How every figure looks: colours, type and lines, and the way from matplotlib to an <svg> that stands in a page."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.3,
    "path.simplify": True,
    "text.parse_math": False,  # names come from files
}  # fmt: skip

_PATH_DATA = re.compile(r' d="([^"]*)"')
_LONG_NUMBER = re.compile(r"(\.\d\d)\d+")


class Drawing(str):
    """An <svg> element that scales with its container, and the figure behind it for whoever wants pixels."""

    __slots__ = ("description", "figure")
    figure: Figure
    description: str

    def png(self) -> bytes:
        """The same as a PNG, 150 dots an inch. Equal figures give equal bytes."""
        buffer = io.BytesIO()
        with mpl.rc_context(RC):
            self.figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()


def as_svg(figure: Figure, description: str) -> Drawing:
    """The figure as an <svg> element: no prolog, metadata, or address of another site."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has other fonts
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _PATH_DATA.sub(lambda found: ' d="' + _LONG_NUMBER.sub(r"\1", found[1]).replace("\n", "") + '"', svg)
    tag, rest = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', tag)
    assert box is not None, "matplotlib's svg has a viewBox"
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    drawing = Drawing(f'<svg viewBox="{box[1]}" role="img" aria-label="{label}">{rest}')
    drawing.figure, drawing.description = figure, description
    return drawing


def as_svg_file(svg: str) -> bytes:
    """The bytes of a file that shows an element of `as_svg` by itself: the names that a page gives it are declared."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg ", f"<svg {names} ", 1).encode()
