"""What large traces cost: `python -m tests.bench.large_traces [--two-gigabytes]`, CPU-seconds and peak memory of whole commands.

The files are made up, in a folder that is removed: a million rows of Azure's CSV, and of Mooncake's JSON lines with 25 block ids each,
about as many as in the published trace. Each figure is one process from start to end, imports included, beside a yardstick, since machines
differ. With `--two-gigabytes` instead an Azure CSV of two thousand million bytes; it needs that much room in the temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from tests.bench.test_simulator_speed import ROOT, yardstick_s

ROWS, IDS = 1_000_000, 25
RATE_PER_S = 20.0
BLOCK_TOKENS = 512
TWO_GIGABYTES = 2_000_000_000
CHUNK = 100_000


def azure(path: Path, rows: int | None = ROWS, size: int | None = None) -> None:
    """Azure's columns, seven-digit fractions and CRLF: so many rows, or so many bytes."""
    rng, begin = np.random.default_rng(1), datetime(2023, 11, 16)
    at_s, written = 0.0, 0
    with path.open("w", newline="") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\r\n")
        while (rows is None or written < rows) and (size is None or file.tell() < size):
            times = at_s + np.cumsum(rng.exponential(1 / RATE_PER_S, CHUNK))
            prompts, outputs = rng.integers(1, 7437, CHUNK), rng.integers(1, 1000, CHUNK)
            at_s, seconds, last = float(times[-1]), "", -1
            lines = []
            for time, prompt, output in zip(times.tolist(), prompts.tolist(), outputs.tolist(), strict=True):
                if int(time) != last:
                    last, seconds = int(time), f"{begin + timedelta(seconds=int(time))}"
                lines.append(f"{seconds}.{int(time % 1 * 10**7):07d},{prompt},{output}")
            file.write("\r\n".join(lines) + "\r\n")
            written += CHUNK


def mooncake(path: Path) -> None:
    """Rows of 25 ids, of which the first ones often stood in an earlier row; ids count up from 0."""
    rng = np.random.default_rng(1)
    shared, conversation = rng.integers(0, IDS, ROWS).tolist(), rng.integers(0, 5000, ROWS).tolist()
    new = 0
    with path.open("w") as file:
        last: dict[int, list[int]] = {}
        for k, (count, who) in enumerate(zip(shared, conversation, strict=True)):
            known = last.get(who, [])[:count]
            ids = [*known, *range(new, new + IDS - len(known))]
            new += IDS - len(known)
            last[who] = ids
            lengths = f'"input_length": {IDS * BLOCK_TOKENS - k % 500}, "output_length": {k % 900 + 1}'
            file.write(f'{{"timestamp": {k // 60 * 3000}, {lengths}, "hash_ids": {ids}}}\n')


def measure(words: str, *arguments: str) -> None:
    """Runs `loadlab` and prints what it took."""
    command = [str(Path(sys.executable).parent / "loadlab"), "trace", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    print(f"{words:<58} {usage.ru_utime + usage.ru_stime:6.1f} CPU-seconds, peak {usage.ru_maxrss / 1000:4.0f} MB", flush=True)


def million(folder: Path) -> Iterator[tuple[str, Callable[[Path], None], Path]]:
    """Each file: what it is, who makes it, where."""
    yield "Azure CSV", azure, folder / "azure.csv"
    yield "Mooncake, 25 ids a row", mooncake, folder / "mooncake.jsonl"


def main(*, two_gigabytes: bool) -> None:
    """Makes the files and runs the commands on them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if two_gigabytes:
            azure(path := folder / "azure.csv", rows=None, size=TWO_GIGABYTES)
            measure(f"inspect, Azure CSV of {path.stat().st_size / 1e9:.2f} GB", "inspect", str(path))
            return
        print(f"yardstick {yardstick_s():.3f} s")
        for what, make, path in million(folder):
            make(path)
            print(f"{what}: {ROWS:,} rows, {path.stat().st_size / 1e6:.0f} MB")
            measure("  inspect", "inspect", str(path))
            measure("  convert to CSV", "convert", str(path), "--out", str(folder / "ours.csv"))
            measure("  convert to Parquet", "convert", str(path), "--out", str(folder / "ours.parquet"))
            measure("  inspect that CSV", "inspect", str(folder / "ours.csv"))
            measure("  inspect that Parquet", "inspect", str(folder / "ours.parquet"))
        print(f"yardstick {yardstick_s():.3f} s")


if __name__ == "__main__":
    main(two_gigabytes="--two-gigabytes" in sys.argv[1:])
