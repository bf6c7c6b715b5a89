"""How long plans and prompts take: CPU seconds and peak memory of a process of its own for each, beside a yardstick of the same machine.

Targets: a million requests, Poisson and lognormal, under 1 CPU-second and 300 MB; with sessions or retrieved prefixes under 5.
Prompts: text of 10,000 requests of 1,000 tokens under 2 CPU-seconds by the estimate, its count within 10 % (by our rule exact), and under
20 with a tokenizer file, its count exact: that of a byte-level BPE of 32,000 tokens, trained here on the words of the documents.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAKE = """
import json, resource, time
import numpy as np
from loadlab.scenario import arrivals, delays, lengths
from loadlab.scenario.applications import Agent, Rag
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.sessions import Sessions

PROMPT, ANSWER = lengths.Lognormal(median=400, sigma=0.8, max=4000), lengths.Lognormal(median=150, sigma=0.6, max=1000)
TALK = Sessions(turns=lengths.Geometric(mean=4, max=8), think_s=delays.Exponential(mean_s=8), shared_prefix_tokens=500)
RAG = Rag(top_k=5, chunk_tokens=lengths.Lognormal(median=300, sigma=0.3), corpus_chunks=50_000, instructions_tokens=400)
AGENT = Agent(
    tool_calls=lengths.Geometric(mean=3, max=6), call_tokens=lengths.Constant(value=40),
    result_tokens=lengths.Lognormal(median=300, sigma=0.6), tool_s=delays.Exponential(mean_s=1), system_tokens=500,
)
CHAT = dict(model="m", prompt_tokens=PROMPT, output_tokens=ANSWER)
SHAPES = {"plain": {}, "sessions": dict(sessions=TALK), "rag": dict(rag=RAG), "agent": dict(agent=AGENT)}
load = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=1000), requests=1_000_000)
scenario = Scenario(name="b", load=load, classes={"chat": TrafficClass(**CHAT, **SHAPES[SHAPE])})
np.sort(np.random.default_rng(1).random(1000))
base = resource.getrusage(resource.RUSAGE_SELF)
plan = build_plan(scenario, 1)
used = resource.getrusage(resource.RUSAGE_SELF)
start = time.process_time()
np.sort(np.random.default_rng(1).random(5_000_000))
print(json.dumps({
    "requests": len(plan), "pieces": len(plan.segment_content), "cpu_s": used.ru_utime + used.ru_stime - base.ru_utime - base.ru_stime,
    "peak_mb": used.ru_maxrss / 1024, "of_it_imports_mb": base.ru_maxrss / 1024, "yardstick_s": time.process_time() - start,
}))
"""


@pytest.mark.parametrize("shape", ["plain", "sessions", "rag", "agent"])
def test_plan_of_a_million_requests(shape: str) -> None:
    runs = []
    for _ in range(3):
        answer = subprocess.run([sys.executable, "-c", f"SHAPE = {shape!r}\n{MAKE}"], capture_output=True, text=True, check=True)
        runs.append(json.loads(answer.stdout))
    median = sorted(runs, key=lambda run: run["cpu_s"])[1]
    print(
        f"\n{shape}: "
        + ", ".join(f"{key} {value:,.2f}" if isinstance(value, float) else f"{key} {value:,}" for key, value in median.items())
    )


PROMPTS = """
import json, time
from pathlib import Path
from loadlab.scenario import arrivals, lengths
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.prompts import PromptWriter

chat = TrafficClass(model="m", prompt_tokens=lengths.Constant(value=1000), output_tokens=lengths.Constant(value=10))
plan = build_plan(Scenario(name="b", load=OpenLoop(arrivals=arrivals.Poisson(rate_per_s=10), requests=10_000), classes={"chat": chat}), 1)
start = time.process_time()
rule = None
if TOKENIZER:
    from loadlab.scenario.tokenizer_file import load_tokenizer
    rule = load_tokenizer(Path(TOKENIZER))
writer = PromptWriter(plan, rule)
texts = [writer.messages(request) for request in plan.requests()]
cpu_s = time.process_time() - start
counted = [sum(writer.rule.count(text) for _, text in messages) for messages in texts[:500]]
print(json.dumps({"rule": writer.rule.label, "cpu_s": round(cpu_s, 2), "tokens_low": min(counted), "tokens_high": max(counted),
    "distinct": len(set(texts))}))
"""


@pytest.mark.parametrize("kind", ["estimate", "tokenizer"])
def test_prompts_of_ten_thousand_requests(kind: str, tmp_path: Path) -> None:
    tokenizer = str(_tokenizer(tmp_path)) if kind == "tokenizer" else ""
    runs = []
    for _ in range(3):
        answer = subprocess.run([sys.executable, "-c", f"TOKENIZER = {tokenizer!r}\n{PROMPTS}"], capture_output=True, text=True, check=True)
        runs.append(json.loads(answer.stdout))
    print(f"\nprompts: {sorted(runs, key=lambda run: run['cpu_s'])[1]}")


def _tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pages = [page.read_text(encoding="utf-8") for page in sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))]
    tokenizer.train_from_iterator(pages, trainers.BpeTrainer(vocab_size=32_000, show_progress=False))
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return file
