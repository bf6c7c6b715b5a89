"""A first scenario file, commented, from a few answers: what `loadlab new` writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Application(StrEnum):
    """What a new scenario's requests are."""

    CHAT = "chat"
    SESSIONS = "sessions"
    RAG = "rag"
    AGENT = "agent"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a person says of their traffic. Durations as they are written, such as "10min"."""

    name: str
    application: Application
    model: str
    rate_per_s: float | None  # None: closed loop
    users: int
    cv: float
    duration: str
    prompt_tokens: int
    output_tokens: int
    ttft: str | None


def write_scenario(answers: Answers) -> str:
    """The text of the file: TOML that loads, each choice with a word on what else it could be."""
    return (
        "\n".join(filter(None, (_head(answers), _slo(answers), _load(answers), _class(answers), _MORE[answers.application]))).rstrip()
        + "\n"
    )


def _head(a: Answers) -> str:
    return f'''# Question: what do you want to know? Write it here, then what in the report answers it.
# Every key is explained in docs/scenario-format.md; see what would be sent with `loadlab scenario plot`.
schema = "loadlab/scenario/1"
name = "{a.name}"
description = "{a.application.value} requests for {a.model}"
timeout_s = "60s"  # a client gives up this long after a request is due
'''


def _slo(a: Answers) -> str:
    if a.ttft is None:
        return ""
    return f'''[slo]
ttft = "{a.ttft}"
target = "95%"  # share of requests that must hold it
'''


def _load(a: Answers) -> str:
    if a.rate_per_s is None:
        return f"""[load]
kind = "closed_loop"  # users that wait for each answer; "open_loop": arrivals that wait for nobody
users = {a.users}
requests = {a.users * 20}
think_s = {{ kind = "exponential", mean_s = "5s" }}
"""
    law = (
        f'kind = "gamma", rate_per_s = {a.rate_per_s:g}, cv = {a.cv:g}' if a.cv != 1 else f'kind = "poisson", rate_per_s = {a.rate_per_s:g}'
    )
    return f'''[load]
kind = "open_loop"  # arrivals that wait for nobody; "closed_loop": users that wait for each answer
duration_s = "{a.duration}"
arrivals = {{ {law} }}  # burstier: gamma with cv = 4, onoff, mmpp; by the clock: ramp, spike, hourly
'''


def _class(a: Answers) -> str:
    kind = 'kind = "embedding"\n' if a.application is Application.EMBEDDING else ""
    output = (
        '{ kind = "constant", value = 0 }'
        if a.application is Application.EMBEDDING
        else f'{{ kind = "lognormal", median = {a.output_tokens}, sigma = 0.6, min = 1, max = {a.output_tokens * 8} }}'
    )
    return f'''[classes.{a.application.value}]
model = "{a.model}"  # as the target calls it
{kind}prompt_tokens = {{ kind = "lognormal", median = {a.prompt_tokens}, sigma = 0.8, min = 1, max = {a.prompt_tokens * 10} }}
output_tokens = {output}
'''


_MORE = {
    Application.CHAT: "",
    Application.EMBEDDING: "",
    Application.SESSIONS: """[classes.sessions.sessions]
turns = { kind = "geometric", mean = 4, max = 20 }
think_s = { kind = "lognormal", median_s = "10s", sigma = 0.8 }
shared_prefix_tokens = 500  # one system prompt for everybody
max_context_tokens = 8000   # oldest turns leave
""",
    Application.RAG: """[classes.rag.rag]
top_k = 5
chunk_tokens = { kind = "lognormal", median = 300, sigma = 0.3, min = 50, max = 600 }
corpus_chunks = 20000
instructions_tokens = 400
search_s = { kind = "lognormal", median_s = "80ms", sigma = 0.5 }
rerank_s = { kind = "constant", value_s = "100ms" }
""",
    Application.AGENT: """[classes.agent.agent]
tool_calls = { kind = "geometric", mean = 3, max = 10 }
call_tokens = { kind = "uniform", min = 20, max = 60 }
result_tokens = { kind = "lognormal", median = 400, sigma = 0.8, min = 10, max = 4000 }
tool_s = { kind = "lognormal", median_s = "500ms", sigma = 0.8 }
system_tokens = 500
tool_schema_tokens = 1000
""",
}
