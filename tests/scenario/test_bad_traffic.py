"""Broken laws and applications: each is told by key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario, trace_of

HEAD = 'schema = "loadlab/scenario/1"\nname = "bad"\n'
CHAT = 'model = "m"\nprompt_tokens = { kind = "constant", value = 40 }\noutput_tokens = { kind = "constant", value = 5 }\n'
LOAD = '[load]\nkind = "open_loop"\nrequests = 10\narrivals = { kind = "poisson", rate_per_s = 1 }\n'


def arriving(law: str, end: str = "requests = 10") -> str:
    return f'{HEAD}[load]\nkind = "open_loop"\n{end}\narrivals = {law}\n[classes.chat]\n{CHAT}'


def prompting(law: str) -> str:
    answer = 'output_tokens = { kind = "constant", value = 5 }\n'
    return f'{HEAD}{LOAD}[classes.chat]\nmodel = "m"\nprompt_tokens = {law}\n{answer}'


def asking(table: str, load: str = LOAD) -> str:
    return f"{HEAD}{load}[classes.chat]\n{CHAT}{table}"


RAG = 'rag = {{ top_k = {}, corpus_chunks = {}, chunk_tokens = {{ kind = "constant", value = {} }}{} }}\n'
AGENT = (
    'agent = { tool_calls = { kind = "constant", value = 2 }, call_tokens = { kind = "constant", value = 9 }, '
    'result_tokens = { kind = "constant", value = 9 } }\n'
)
SESSIONS = 'sessions = { turns = { kind = "constant", value = 2 } }\n'
FIVE = '{ kind = "constant", value = 5 }'
CLOSED = '[load]\nkind = "closed_loop"\nusers = 2\nrequests = 10\n'
REPLAY = '[load]\nkind = "replay"\n'
TIMED = '[load]\nkind = "open_loop"\nduration_s = 10\n'
OWN = 'arrivals = { kind = "poisson", rate_per_s = 1 }\n'

BAD: list[tuple[str, str, str]] = [
    ("weibull without cv", arriving('{ kind = "weibull", rate_per_s = 1 }'), "load.arrivals.cv is missing"),
    ("lognormal cv of 0", arriving('{ kind = "lognormal", rate_per_s = 1, cv = 0 }'), "load.arrivals.cv = 0 must be > 0, from 0.01 to 100"),
    ("one state", arriving('{ kind = "mmpp", rates_per_s = [1], dwell_s = [1] }'), "rates_per_s = [1.0] must have as many entries"),
    ("silent states", arriving('{ kind = "mmpp", rates_per_s = [0, 0], dwell_s = [1, 1] }'), "must have an entry above 0"),
    ("jumps too few", arriving('{ kind = "mmpp", rates_per_s = [1, 2], dwell_s = [1, 1], jumps = [[0, 1]] }'), "must have 2 rows of 2"),
    (
        "jumps of less than all",
        arriving('{ kind = "mmpp", rates_per_s = [1, 2], dwell_s = [1, 1], jumps = [[0, 0.5], [1, 0]] }'),
        "load.arrivals.jumps must have rows that sum to 1",
    ),
    (
        "jumps to oneself",
        arriving('{ kind = "mmpp", rates_per_s = [1, 2], dwell_s = [1, 1], jumps = [[1, 0], [1, 0]] }'),
        "with 0 where a state would follow itself",
    ),
    (
        "a state that nothing leads to",
        arriving('{ kind = "mmpp", rates_per_s = [1, 2, 3], dwell_s = [1, 1, 1], jumps = [[0, 1, 0], [1, 0, 0], [1, 0, 0]] }'),
        "load.arrivals.jumps must lead from every state to every other",
    ),
    (
        "stays too short",
        arriving('{ kind = "mmpp", rates_per_s = [1, 2], dwell_s = [1e-6, 1e-6] }'),
        "dwell_s = [1e-06, 1e-06] must be longer: the load would change its rate",
    ),
    ("a flat ramp", arriving('{ kind = "ramp", from_per_s = 2, to_per_s = 2, over_s = 9 }'), "to_per_s = 2.0 must differ from from_per_s"),
    ("steps without start", arriving('{ kind = "step", at_s = [5, 9], rates_per_s = [1, 2] }'), "at_s = [5.0, 9.0] must begin with 0"),
    ("steps back in time", arriving('{ kind = "step", at_s = [0, 9, 5], rates_per_s = [1, 2, 3] }'), "must begin with 0 and ascend"),
    (
        "steps without rates",
        arriving('{ kind = "step", at_s = [0, 9], rates_per_s = [1] }'),
        "rates_per_s = 1 entries must be as many as at_s",
    ),
    (
        "a decay of nothing",
        arriving('{ kind = "spike", base_per_s = 1, peak_per_s = 2, at_s = [1], for_s = 1, decay_s = 1e-9 }'),
        "decay_s = 1e-09 must be >= 0: 0, or from a millisecond",
    ),
    (
        "waves below zero",
        arriving('{ kind = "diurnal", mean_per_s = 1, amplitude = 0.8, period_s = 9, harmonics = [{ amplitude = 0.4 }] }'),
        "amplitude = 0.8 and those of harmonics add up to 1.2, and must be 1 at most",
    ),
    (
        "a weekend of months",
        arriving('{ kind = "diurnal", mean_per_s = 1, amplitude = 0, period_s = "20d", weekend_factor = 0.5 }'),
        "period_s = 1728000.0 must be a day or less where there is a weekend_factor",
    ),
    (
        "a day that is none",
        arriving('{ kind = "diurnal", mean_per_s = 1, amplitude = 0, period_s = 9, first_day = "monday" }'),
        "first_day = 'monday' must be one of mon, tue",
    ),
    ("hours of half a day", arriving('{ kind = "hourly", mean_per_s = 1, hours = [1, 2] }'), "hours = 2 entries must be 24"),
    (
        "the 25th hour",
        arriving(f'{{ kind = "hourly", mean_per_s = 1, hours = {[1] * 24}, first_hour = 24 }}'),
        "first_hour = 24 must be from 0 to 23",
    ),
    ("silent hours", arriving(f'{{ kind = "hourly", mean_per_s = 1, hours = {[0] * 24} }}'), "load.arrivals.hours = all 0 must have"),
    (
        "empty clusters",
        arriving('{ kind = "cluster", rate_per_s = 1, size = { kind = "constant", value = 0 } }'),
        "size = 0 must not be possible",
    ),
    (
        "endless clusters",
        arriving('{ kind = "cluster", rate_per_s = 1, size = { kind = "constant", value = 1000000 } }'),
        "size has a mean of 1e+06 requests, and 10,000 is the limit",
    ),
    (
        "clusters of weeks",
        arriving('{ kind = "cluster", rate_per_s = 9, size = { kind = "constant", value = 2 }, spread_s = "20d" }'),
        "spread_s = 1728000.0 must be shorter",
    ),
    (
        "modulated without cv",
        arriving('{ kind = "modulated", gaps = "gamma", profile = { kind = "ramp", from_per_s = 1, to_per_s = 2, over_s = 9 } }'),
        'load.arrivals.cv is missing: gaps = "gamma" need one',
    ),
    (
        "a cv too many",
        arriving(
            '{ kind = "modulated", gaps = "constant", cv = 2, profile = { kind = "ramp", from_per_s = 1, to_per_s = 2, over_s = 9 } }'
        ),
        "cv = 2.0 must be left out",
    ),
    (
        "a profile that is none",
        arriving('{ kind = "modulated", gaps = "constant", profile = { kind = "poisson", rate_per_s = 1 } }'),
        "profile.kind = 'poisson' must be one of diurnal, hourly, ramp, spike, step",
    ),
    ("nothing superposed", arriving('{ kind = "superposition", of = [] }'), "load.arrivals.of = 0 laws must be 1 to 100"),
    ("no phase", arriving('{ kind = "phases", phases = [] }'), "load.arrivals.phases = 0 must be 1 to 100"),
    (
        "a phase without end",
        arriving('{ kind = "phases", phases = [{ arrivals = { kind = "poisson", rate_per_s = 1 } }] }'),
        "load.arrivals.phases[0].duration_s or requests must say when the phase ends",
    ),
    (
        "phases within phases",
        arriving('{ kind = "phases", phases = [{ duration_s = 1, arrivals = { kind = "phases", phases = [] } }] }'),
        "phases[0].arrivals.kind = 'phases' must be one of",
    ),
    ("pareto without alpha", prompting('{ kind = "pareto", scale = 100 }'), "prompt_tokens.alpha is missing"),
    (
        "a zipf of millions",
        prompting('{ kind = "zipf", max = 9000000, exponent = 1 }'),
        "prompt_tokens.max = 9000000 must be from 1 to 1,000,000",
    ),
    ("bins back", prompting('{ kind = "histogram", edges = [9, 3], weights = [1] }'), "edges = [9, 3] must ascend"),
    ("bins without weights", prompting('{ kind = "histogram", edges = [1, 3, 9], weights = [1] }'), "weights = [1.0] must have 2 entries"),
    ("bins of nothing", prompting('{ kind = "histogram", edges = [0, 9], weights = [1] }'), "prompt_tokens = 0 must not be possible"),
    ("nothing mixed", prompting('{ kind = "mixture", of = [] }'), "prompt_tokens.of = 0 laws must be 1 to 20"),
    (
        "mixtures mixed",
        prompting('{ kind = "mixture", of = [{ kind = "mixture", of = [] }] }'),
        "prompt_tokens.of[0].kind = 'mixture' must be one of",
    ),
    ("min above max", prompting('{ kind = "gamma", mean = 9, cv = 1, min = 9, max = 3 }'), "prompt_tokens.min = 9 must be <= max (3)"),
    ("a perfect copula", asking('joint = { kind = "copula", correlation = 1 }\n'), "joint.correlation = 1 must be between -0.99 and 0.99"),
    (
        "pairs beside laws",
        asking('joint = { kind = "pairs", values = [[1, 1]] }\n'),
        "prompt_tokens must be left out: lengths come from classes.chat.joint",
    ),
    (
        "no pairs",
        asking('joint = { kind = "pairs", values = [] }\n').replace('prompt_tokens = { kind = "constant", value = 40 }\n', ""),
        "values = [] must",
    ),
    ("more chunks than there are", asking(RAG.format(5, 3, 10, "")), "rag.corpus_chunks = 3 must be at least top_k (5)"),
    ("empty chunks", asking(RAG.format(2, 3, 0, "")), "rag.chunk_tokens = 0 must not be possible"),
    ("no chunks", asking(RAG.format(0, 3, 9, "")), "rag.top_k = 0 must be from 1 to 100"),
    (
        "an embedder without name",
        asking(RAG.format(2, 3, 9, ', embed_model = " "')),
        "rag.embed_model = ' ' must be the name of a served model",
    ),
    ("an agent that chats", asking(AGENT + SESSIONS), "classes.chat.agent must not stand beside sessions: write two classes"),
    ("an agent that searches", asking(AGENT + RAG.format(2, 3, 9, "")), "classes.chat.agent must not stand beside rag"),
    (
        "an agent in a lane",
        asking(AGENT, CLOSED),
        'classes.chat.agent must be left out with load.kind = "closed_loop": it needs "open_loop"',
    ),
    ("calls of nothing", asking(AGENT.replace("value = 9 }, result", "value = 0 }, result")), "agent.call_tokens = 0 must not be possible"),
    (
        "a router without words",
        asking(f'router = {{ model = "r", instructions_tokens = 0, output_tokens = {FIVE} }}\n'),
        "instructions_tokens = 0 must",
    ),
    (
        "an expert for all and more",
        asking(f"escalation = {{ share = 1.2, output_tokens = {FIVE} }}\n"),
        "escalation.share = 1.2 must be between 0 and 1",
    ),
    ("a council of one", asking("fan_out = { share = 1, models = [] }\n"), "fan_out.models = 0 must be 1 to 100"),
    ("a council that chats", asking('fan_out = { share = 1, models = ["x"] }\n' + SESSIONS), "fan_out must not stand beside sessions"),
    (
        "a council of images",
        asking('fan_out = { share = 1, models = ["x"] }\nimages = { count = { kind = "constant", value = 1 }, sizes_px = [[9, 9]] }\n'),
        "classes.chat.images must not stand beside fan_out or escalation",
    ),
    (
        "an embedding with an expert",
        asking(f'kind = "embedding"\nescalation = {{ share = 1, output_tokens = {FIVE} }}\n'),
        'kind = "embedding" must be "chat"',
    ),
    ("arrivals of its own in a lane", asking(OWN, CLOSED), "classes.chat.arrivals must be left out"),
    ("nobody arrives", asking("", TIMED), "load.arrivals is missing, and class chat has none"),
    (
        "two laws for one",
        asking(OWN, LOAD.replace("requests = 10", "duration_s = 10")),
        "load.arrivals must be left out: every class has arrivals",
    ),
    (
        "arrivals of its own, counted",
        asking(OWN, '[load]\nkind = "open_loop"\nrequests = 9\n'),
        "load.duration_s must end a load whose classes",
    ),
    ("too many of its own", asking(OWN.replace("= 1 }", "= 1e9 }"), TIMED), "classes.chat.arrivals must not mean more than 5,000,000"),
    ("thinned to more", asking("", REPLAY + 'rate_factor = 2\nrescale = "thin"\n'), "load.rate_factor = 2.0 must be at most 1"),
    ("superposed to less", asking("", REPLAY + 'rate_factor = 0.5\nrescale = "superpose"\n'), "load.rate_factor = 0.5 must be at least 1"),
    (
        "a replay that searches",
        f'{HEAD}{REPLAY}[classes.chat]\nmodel = "m"\n{RAG.format(2, 3, 9, "")}',
        "classes.chat.rag must be left out in a replay",
    ),
]


def read_and_plan(path: Path) -> None:
    scenario = load_scenario(path)
    build_plan(scenario, 1, trace_of(scenario))


@pytest.mark.parametrize(("why", "text", "words"), BAD, ids=[row[0] for row in BAD])
def test_bad_traffic_is_told_by_key_value_and_what_is_allowed(tmp_path: Path, why: str, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_and_plan(path)
    message = str(caught.value)
    assert words in message, why
    assert message.startswith(f"{path}: ")
    assert message.isprintable()


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 40
