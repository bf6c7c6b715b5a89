"""Other load generators on the work of `test_http_speed`: constant 200/s, streams of 32 tokens, the null server's own stamps as the truth.

    python -m tests.bench.peers --guidellm BIN --aiperf BIN --tokenizer FOLDER [--runs 3]

Each in an environment of its own; docs/interoperability.md makes the tokenizer. All are judged by when their requests reached the
server: lag is counted from an even grid of the asked rate that begins as late as the earliest request allows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.bench.test_http_speed import BARE, GAP_S, TOKENS, TTFT_S, ours
from tests.engines.null_target import NullTarget, Truth, null_target, percentile

RATE_PER_S, REQUESTS = 200, 1200
LIMIT_S = 100
Drive = Callable[[NullTarget, Path], None]


def guidellm(binary: str, tokenizer: str, target: NullTarget, folder: Path) -> None:
    """Its constant profile."""
    _quiet(
        binary, "run", "--backend", f"kind=openai_http,target={target.url},model=m",
        "--profile", f"kind=constant,rate={RATE_PER_S}", "--constraint", f"kind=max_requests,count={REQUESTS}",
        "--tokenizer", f"kind=hf_auto,model={tokenizer}", "--data", f"kind=synthetic_text,prompt_tokens=200,output_tokens={TOKENS}",
        "--output", f"kind=json,path={folder}/out.json", "--disable-console", folder=folder,
    )  # fmt: skip


def aiperf(binary: str, tokenizer: str, target: NullTarget, folder: Path) -> None:
    """Its constant request rate."""
    _quiet(
        binary, "profile", "--model", "m", "--url", target.url, "--endpoint-type", "chat", "--streaming", "--tokenizer", tokenizer,
        "--request-rate", str(RATE_PER_S), "--arrival-pattern", "constant", "--request-count", str(REQUESTS),
        "--isl", "200", "--osl", str(TOKENS), "--output-artifact-dir", str(folder), "--ui", "none", folder=folder,
    )  # fmt: skip


def bare(target: NullTarget, folder: Path) -> None:
    """The least that an asyncio client can do."""
    _quiet(sys.executable, str(BARE), str(target.port), str(RATE_PER_S), str(REQUESTS), str(TOKENS), folder=folder)


def loadlab(target: NullTarget, folder: Path) -> None:
    """Ours: engine and its parent."""
    ours_in_a_process = "import sys; from tests.bench.peers import run_ours; run_ours(int(sys.argv[1]), sys.argv[2])"
    _quiet(sys.executable, "-c", ours_in_a_process, str(target.port), str(folder / "run"), folder=folder)


def run_ours(port: int, folder: str) -> None:
    """What the process of `loadlab` does."""
    ours(NullTarget(port=port), Path(folder), RATE_PER_S, REQUESTS, is_truth_wanted=False)


def _quiet(*command: str, folder: Path) -> None:
    with (folder / "log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=log, timeout=LIMIT_S, check=False)


def judge(name: str, drive: Drive) -> None:
    """One run, one line."""
    with tempfile.TemporaryDirectory() as folder, null_target(ttft_s=TTFT_S, gap_s=GAP_S) as target:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        drive(target, Path(folder))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        truth = [answer for answer in target.truth() if answer.tokens == TOKENS]
        if len(truth) < REQUESTS // 2:
            print(f"{name}: {len(truth)} requests came\n{(Path(folder) / 'log').read_text()[-1500:]}")
            return
        said = _ttft_ms(Path(folder))
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name:9} n {len(truth)}, {words(truth)}, CPU {cpu_s:.1f} s{said}", flush=True)


def words(truth: list[Truth]) -> str:
    """Lag, rate error and the server's own TTFT, by its stamps."""
    received = np.sort([answer.received_s for answer in truth])
    late = received - np.arange(len(received)) / RATE_PER_S
    lag_ms = (1e3 * (late - late.min())).tolist()
    rate_error = (len(received) - 1) / RATE_PER_S / (received[-1] - received[0]) - 1
    ttft_ms = [1e3 * (answer.first_s - answer.received_s) for answer in truth]
    return (f"lag p50 {percentile(lag_ms, 0.5):.2f} p99 {percentile(lag_ms, 0.99):.2f} ms, rate error {100 * rate_error:+.3f} %, "
            f"true TTFT p50 {percentile(ttft_ms, 0.5):.2f} p99 {percentile(ttft_ms, 0.99):.2f} ms")  # fmt: skip


def _ttft_ms(folder: Path) -> str:
    """What a peer itself says of TTFT, from its JSON."""
    found = ""
    for file in sorted(folder.rglob("*.json")):
        report = json.loads(file.read_text())
        if "benchmarks" in report:
            quantiles = report["benchmarks"][0]["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]
            found = f", says TTFT p50 {quantiles['p50']:.1f} p99 {quantiles['p99']:.1f} ms"
        elif isinstance(report, dict) and "time_to_first_token" in report:
            quantiles = report["time_to_first_token"]
            found = f", says TTFT p50 {quantiles['p50']:.1f} p99 {quantiles['p99']:.1f} ms"
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--guidellm", "--aiperf", "--tokenizer"):
        parser.add_argument(flag)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    drives: dict[str, Drive] = {"loadlab": loadlab, "bare": bare}
    if asked.guidellm:
        drives["guidellm"] = lambda target, folder: guidellm(asked.guidellm, asked.tokenizer, target, folder)
    if asked.aiperf:
        drives["aiperf"] = lambda target, folder: aiperf(asked.aiperf, asked.tokenizer, target, folder)
    for _ in range(asked.runs):
        for name, drive in drives.items():
            judge(name, drive)


if __name__ == "__main__":
    main()
