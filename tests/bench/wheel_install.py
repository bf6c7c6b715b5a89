"""`python -m tests.bench.wheel_install`: builds the wheel, installs it; seconds, megabytes, and how fast help comes.

Compiled bytecode is counted apart: pip writes it while it installs, uv and `pip --no-compile` leave it to the first import.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVIEST = 16  # packages that are listed
RUNS = 10
# What a user's shell has: commands may keep the bytecode that they compile.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
WEIGH = """
import json, os
from importlib import metadata
found = {}
for package in metadata.distributions():
    files = [(os.path.realpath(package.locate_file(f)), str(f).endswith(".pyc")) for f in package.files or ()]
    sizes = [(os.path.getsize(path), compiled) for path, compiled in files if os.path.isfile(path)]
    found[package.name] = [sum(size for size, compiled in sizes if compiled == wanted) / 1e6 for wanted in (False, True)]
print(json.dumps(found))
"""


def timed(*command: str | Path) -> float:
    """Seconds of the wall that the command took. Raises CalledProcessError if it failed."""
    start_s = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    subprocess.run([str(word) for word in command], check=True, cwd=tempfile.gettempdir(), env=ENVIRONMENT, **quiet)
    return time.perf_counter() - start_s


def cpu_and_wall(*command: str | Path) -> tuple[float, float]:
    """CPU-seconds (user and system) and seconds of the wall that the command took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s = timed(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def heaviest(home: Path) -> str:
    """The packages that weigh most: megabytes of their files, and of their bytecode."""
    said = subprocess.run([home / "bin" / "python", "-c", WEIGH], check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout
    by_weight = sorted(json.loads(said).items(), key=lambda item: -sum(item[1]))
    return ", ".join(f"{name} {files:.0f} + {compiled:.0f}" for name, (files, compiled) in by_weight[:HEAVIEST])


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
            print(f"{label}: files and bytecode, MB: {heaviest(home)}")
            for words in (("--help",), ("scenario", "list")):
                first_s = timed(home / "bin" / "loadlab", *words)
                runs = [cpu_and_wall(home / "bin" / "loadlab", *words) for _ in range(RUNS)]
                cpu_s, wall_s = (sorted(column)[RUNS // 2] for column in zip(*runs, strict=True))
                print(
                    f"{label}: loadlab {' '.join(words)}: {wall_s:.2f} s, {cpu_s:.2f} CPU-s (medians of {RUNS}); the first {first_s:.2f} s"
                )


if __name__ == "__main__":
    main()
