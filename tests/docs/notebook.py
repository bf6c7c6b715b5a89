"""A page with Python blocks as a notebook with their outputs: `python -m tests.docs.notebook PAGE.md`, or `make notebook`.

Cells are the page's prose and blocks, in order; each block is run in the names of those before it. Jupyter is not needed, to make it or to
test it (format: https://nbformat.readthedocs.io/en/latest/format_description.html, 4.5).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook_of(page: str) -> Json:
    """The notebook, its blocks run in the present directory."""
    names: Json = {}
    cells = []
    for number, (kind, text) in enumerate(_parts(page)):
        cell: Json = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text}
        cells.append(cell if kind == "markdown" else cell | {"execution_count": None, "outputs": list(_run(text, names))})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _parts(page: str) -> Iterator[tuple[str, str]]:
    for i, text in enumerate(_BLOCK.split(page)):
        if text.strip():
            yield ("code" if i % 2 else "markdown"), text.strip()


def _run(code: str, names: Json) -> Iterator[Json]:
    """What a block prints, then the figures that it leaves open."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "cell", "exec"), names)
    if said.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": said.getvalue()}
    for number in plt.get_fignums():
        drawn = io.BytesIO()
        plt.figure(number).savefig(drawn, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        plt.close(number)
        picture = base64.b64encode(drawn.getvalue()).decode()
        yield {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture, "text/plain": "a figure"}}


def main(page: Path) -> None:
    """Writes the notebook beside the page."""
    text, out = page.read_text(), page.resolve().with_suffix(".ipynb")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("scenarios").symlink_to(ROOT / "scenarios")
        out.write_text(json.dumps(notebook_of(text), indent=1, ensure_ascii=False) + "\n")
        os.chdir(ROOT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
