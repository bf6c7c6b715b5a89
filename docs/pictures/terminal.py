"""Pictures of a terminal for README and docs: commands are run, and what they print is drawn by rich, at 80 or 100 columns.

`make pictures` writes them into this folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PICTURES = {
    "terminal-start.svg": (80, "loadlab"),
    "terminal-run.svg": (
        100,
        'loadlab run smoke --target sim:t4-14b --slo ttft=2s --threshold "success_rate >= 90%" --no-band --no-report --out runs/first',
    ),
    "terminal-scenario.svg": (100, "loadlab scenario show insurer"),
}


_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # which rich takes from the network; the reader's own monospaced font will do


def screen_of(command: str, columns: int, folder: Path) -> str:
    """What the command prints in a terminal so wide, escape sequences included."""
    environment = os.environ | {"COLUMNS": str(columns), "FORCE_COLOR": "1", "TERM": "xterm-256color", "LINES": "50"}
    environment.pop("NO_COLOR", None)
    words = [sys.executable, "-m", "loadlab.cli.app", *shlex.split(command)[1:]]
    found = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  commands of the table above
    return found.stdout.replace(f"{ROOT}/", "")


def draw(command: str, columns: int, printed: str) -> str:
    """The screen as SVG; equal screens give equal bytes."""
    console = Console(record=True, width=columns, file=StringIO(), force_terminal=True, highlight=False)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(printed))
    return _FONTS.sub("", console.export_svg(title="loadlab", theme=DIMMED_MONOKAI, unique_id="loadlab"))


def main() -> None:
    """Writes every picture."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (columns, command) in PICTURES.items():
            (HERE / name).write_text(draw(command, columns, screen_of(command, columns, Path(folder))), encoding="utf-8")
            print(HERE.relative_to(ROOT) / name)  # noqa: T201  a script


if __name__ == "__main__":
    main()
