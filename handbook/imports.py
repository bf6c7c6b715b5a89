"""The drawing of who imports whom, from the code: `python -m handbook.imports` writes it into docs/pictures/.

Rooms stand in the layers of the contract in pyproject.toml. An arrow that follows from others is left out: campaign reaches analysis by way
of report, whether or not it imports it too.
"""

from __future__ import annotations

import ast
import functools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

TOP = Path(__file__).parents[1]
PACKAGE = "loadlab"
PICTURE = TOP / "docs" / "pictures" / "imports.svg"
WIDTH, ROW, BOX_WIDTH, BOX_HEIGHT = 780, 62, 96, 32  # px
STYLE = """
  svg { background: #fff } text { font: 14px ui-sans-serif, system-ui, sans-serif; fill: #1a1a1a; text-anchor: middle }
  rect { fill: #eef3f8; stroke: #44546a } marker path { fill: #44546a }
  path { fill: none; stroke: #44546a; stroke-width: 1.2; marker-end: url(#head) }
"""

Imports = Mapping[str, frozenset[str]]


def layers() -> list[list[str]]:
    """Rooms by layer, the highest first, as the contract lists them."""
    contract = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert contract["type"] == "layers"
    return [[name.strip(" ()").removeprefix(f"{PACKAGE}.") for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]


@functools.cache
def imports() -> Imports:
    """Which rooms each room imports, itself left out: every import statement of every file, those inside of functions too."""
    found: dict[str, set[str]] = {}
    for path in sorted((TOP / PACKAGE).rglob("*.py")):
        room = path.relative_to(TOP / PACKAGE).parts[0].removesuffix(".py")
        found.setdefault(room, set()).update(_rooms_in(path))
    return {room: frozenset(others - {room}) for room, others in found.items() if room != "__init__"}


def _rooms_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if module.startswith(f"{PACKAGE}."):
                yield module.split(".")[1]
            case ast.Import(names=names):
                yield from (name.name.split(".")[1] for name in names if name.name.startswith(f"{PACKAGE}."))


def arrows(direct: Imports) -> list[tuple[str, str]]:
    """The imports that do not follow from others, in order."""
    below: dict[str, frozenset[str]] = {}

    def reach(room: str) -> frozenset[str]:
        if room not in below:
            below[room] = frozenset({room}).union(*(reach(other) for other in direct.get(room, frozenset())))
        return below[room]

    return sorted(
        (room, other) for room, others in direct.items() for other in others if not any(other in reach(way) for way in others - {other})
    )


def drawing() -> str:
    """The picture as SVG."""
    rows = layers()
    place = {room: (_x(row, k), 12.0 + ROW * y) for y, row in enumerate(rows) for k, room in enumerate(row)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * len(rows)}" role="img" aria-label="Who imports whom">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    lines += [_arrow(place[a], place[b], [xy for room, xy in place.items() if room not in (a, b)]) for a, b in arrows(imports())]
    for room, (x, y) in place.items():
        lines.append(f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>')
        lines.append(f'<text x="{x:g}" y="{y + 21:g}">{room}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _x(row: list[str], k: int) -> float:
    """The middle of a box: boxes of a row stand apart evenly."""
    return WIDTH * (k + 1) / (len(row) + 1)


def _arrow(start: tuple[float, float], end: tuple[float, float], others: list[tuple[float, float]]) -> str:
    """Down from a box to another, straight where no box stands in the way, else around them on the nearer side."""
    (x1, y1), (x2, y2) = start, end
    passed, quarter = round((y2 - y1) / ROW) - 1, math.copysign(BOX_WIDTH / 4, x2 - x1)
    y1 += BOX_HEIGHT
    for aside in (0.0, quarter):  # from middle to middle, else between the sides that face each other
        line = (x1 + aside, y1, x2 - aside, y2)
        if not any(_crosses(*line, box) for box in others):
            return '<path d="M{:g} {:g} {:g} {:g}"/>'.format(*line)
    side = 1 if x1 + x2 >= WIDTH else -1
    away = side * (BOX_WIDTH + 24 * passed)
    start_x, end_x = x1 + side * BOX_WIDTH / 4, x2 + side * BOX_WIDTH / 4
    return f'<path d="M{start_x:g} {y1:g} C{start_x + away:g} {y1 + ROW / 2:g} {end_x + away:g} {y2 - ROW / 2:g} {end_x:g} {y2:g}"/>'


def _crosses(x1: float, y1: float, x2: float, y2: float, box: tuple[float, float]) -> bool:
    """Whether a line passes through a box."""
    x, y = box
    steps = (k / 20 for k in range(21))
    return any(abs(x1 + k * (x2 - x1) - x) < BOX_WIDTH / 2 and y < y1 + k * (y2 - y1) < y + BOX_HEIGHT for k in steps)


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
