"""`python -m tests.bench.wheel_install`: builds the wheel, installs it; seconds, megabytes, and how fast help comes.

Compiled bytecode is counted apart: pip writes it while it installs, uv and `pip --no-compile` leave it to the first import.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def timed(*command: str | Path) -> float:
    """Seconds of the wall that the command took. Raises CalledProcessError if it failed."""
    start_s = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
    return time.perf_counter() - start_s


def megabytes(folder: Path, pattern: str = "*") -> float:
    """Bytes of the files themselves, not of disk blocks."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file() and not path.is_symlink()) / 1e6


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built_s = timed(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        print(f"wheel: {wheel.stat().st_size / 1e6:.2f} MB, built in {built_s:.1f} s")
        for label, flags in (("pip", ()), ("pip --no-compile", ("--no-compile",))):
            home = folder / label.replace(" ", "")
            timed(sys.executable, "-m", "venv", home)
            before_mb = megabytes(home)
            took_s = timed(home / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *flags, wheel)
            compiled_mb = megabytes(home, "*.pyc")
            print(f"{label}: {took_s:.0f} s, {megabytes(home) - before_mb:.0f} MB added, environment's bytecode {compiled_mb:.0f} MB")
            for words in (("--help",), ("scenario", "list")):
                runs = sorted(timed(home / "bin" / "loadlab", *words) for _ in range(5))
                print(f"{label}: loadlab {' '.join(words)}: median of 5 {runs[2]:.2f} s")


if __name__ == "__main__":
    main()
