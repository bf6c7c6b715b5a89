"""What prompts and answers cost, in CPU time, beside a yardstick of the same run: orjson alone on the same events.

`make bench` prints it; there are no verdicts. A tokenizer file: LOADLAB_TOKENIZER=/path/to/tokenizer.json.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from loadlab.scenario.arrivals import Constant
from loadlab.scenario.build import build_plan
from loadlab.scenario.lengths import Constant as Always
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.plan import Image
from loadlab.scenario.prompts import PromptWriter, png
from loadlab.scenario.tokenizer_file import load_tokenizer
from loadlab.wire.answer import AnswerReader, Ending
from loadlab.wire.openai import chat
from loadlab.wire.tokens import TokenRule, text_pieces

RUNS = 5
HEADERS = [("content-type", "text/event-stream")]
EVENT = (
    b'data: {"id":"chatcmpl-9c71d2b8e5426ae0","object":"chat.completion.chunk","created":1795434892,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
)
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'


def cpu_s(work: Callable[[], object]) -> float:
    """Median CPU-seconds of the work."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return statistics.median(once() for _ in range(RUNS))


def write_all(rule: TokenRule | None) -> float:
    """CPU-seconds for the texts of 10,000 prompts of 1,000 tokens."""
    traffic = TrafficClass(model="m", prompt_tokens=Always(value=1000), output_tokens=Always(value=1))
    load = OpenLoop(arrivals=Constant(rate_per_s=100), requests=10_000)
    plan = build_plan(Scenario(name="bench", load=load, classes={"c": traffic}), 1)
    writer = PromptWriter(plan, rule)
    return cpu_s(lambda: [writer.messages(request) for request in plan.requests()])


def test_prompts_by_the_estimate() -> None:
    print(f"\n10,000 prompts of 1,000 tokens by the estimate: {write_all(None):.2f} CPU-s; wanted: 2")


@pytest.mark.skipif("LOADLAB_TOKENIZER" not in os.environ, reason="needs LOADLAB_TOKENIZER=/path/to/tokenizer.json")
def test_prompts_for_a_tokenizer() -> None:
    rule = load_tokenizer(Path(os.environ["LOADLAB_TOKENIZER"]))
    text = rule.write(1, 1, 1000)
    print(f"\n10,000 prompts of 1,000 tokens for a tokenizer: {write_all(rule):.2f} CPU-s; wanted: 20; it counts {rule.count(text)}")


@pytest.mark.parametrize("tokens", [32, 1000])
def test_an_answer_piece_by_piece(tokens: int) -> None:
    repeats = 100_000 // tokens

    def read() -> None:
        for _ in range(repeats):
            reader = AnswerReader()
            reader.head(200, HEADERS, 0.0)
            for i in range(tokens):
                reader.feed(EVENT, float(i))
            reader.feed(LAST, 0.0)
            reader.end(Ending.COMPLETE, 0.0)

    def parse() -> None:
        for _ in range(repeats * tokens):
            orjson.loads(EVENT[6:])

    alone = cpu_s(parse)
    each = cpu_s(read)
    per_token = 1e6 / repeats / tokens
    print(f"\nstream of {tokens}: {each * per_token:.2f} us of CPU a piece; wanted: 25; orjson alone {alone * per_token:.2f} us")


def test_requests_images_and_pieces() -> None:
    messages = [("user", " word" * 1000)]
    print(f"\nbody of a chat of 1,000 tokens: {cpu_s(lambda: [chat('m', messages, 32) for _ in range(1000)]) * 1e3:.1f} us")
    image = Image(content=1, width_px=1024, height_px=768)
    print(f"PNG of 1024 x 768: {cpu_s(lambda: png(1, image)) * 1e3:.1f} ms, {len(png(1, image)):,} bytes")
    text = " word" * 100_000
    print(f"prefix pieces of 125,000 tokens: {cpu_s(lambda: text_pieces([text])) * 1e3:.1f} ms")
