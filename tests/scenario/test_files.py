"""Scenario files: what they become, and a table of broken ones with the words that their errors must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.files import load_scenario, trace_of
from loadlab.scenario.lengths import Constant
from loadlab.scenario.load import OpenLoop, Replay
from loadlab.scenario.model import Scenario, with_trace
from loadlab.schema import as_table, read_table

SHIPPED = Path(__file__).parents[2] / "scenarios"

SCENARIO = """
schema = "loadlab/scenario/1"
name = "small"
timeout_s = "60s"
[load]
kind = "open_loop"
requests = 10
arrivals = { kind = "poisson", rate_per_s = "30/min" }
[classes.chat]
model = "m"
prompt_tokens = { kind = "constant", value = "4k" }
output_tokens = { kind = "constant", value = 5 }
"""


def scenario_file(folder: Path, text: str) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path


def test_a_scenario_file_is_read_with_its_units(tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file(tmp_path, SCENARIO))
    assert (scenario.name, scenario.timeout_s) == ("small", 60.0)
    assert isinstance(scenario.load, OpenLoop)
    assert scenario.load.requests == 10
    assert scenario.classes["chat"].prompt_tokens == Constant(value=4000)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")) + sorted(SHIPPED.glob("bursty/*.toml")), ids=lambda p: p.stem)
def test_shipped_scenarios_load_and_survive_the_way_through_a_manifest(path: Path) -> None:
    scenario = load_scenario(path)
    assert read_table(Scenario, as_table(scenario), "manifest.json") == scenario


def broken(old: str, new: str) -> str:
    assert old in SCENARIO
    return SCENARIO.replace(old, new)


SPIKE = '{ kind = "spike", base_per_s = 2, peak_per_s = 9, at_s = [10, 12], for_s = 5 }'
POISSON = '{ kind = "poisson", rate_per_s = "30/min" }'
FOUR_K = '{ kind = "constant", value = "4k" }'
ONOFF = '{{ kind = "onoff", rates_per_s = {}, dwell_s = {}, dwell = "exponential" }}'
BROKEN_SCENARIOS: list[tuple[str, str, str]] = [
    ("not TOML", "schema = ", "is not valid TOML"),
    ("no schema", broken('schema = "loadlab/scenario/1"', ""), "schema is missing: begin the file with"),
    ("a later schema", broken("scenario/1", "scenario/9"), "schema = 'loadlab/scenario/9' is not one that this version reads"),
    ("a campaign", 'schema = "loadlab/campaign/1"', "this file is a campaign"),
    ("no name", broken('name = "small"', ""), "name is missing (text in quotes)"),
    ("a name that is a path", broken('"small"', '"../x"'), "name = '../x' must be 1 to 80 letters"),
    ("unknown key", broken("timeout_s", "timout_s"), "timout_s is not a known key; did you mean 'timeout_s'?"),
    (
        "unknown kind of load",
        broken("open_loop", "open_lop"),
        "load.kind = 'open_lop' must be one of closed_loop, open_loop, replay; did you",
    ),
    ("unknown law", broken("poisson", "poison"), "load.arrivals.kind = 'poison' must be one of cluster, constant, diurnal"),
    ("no kind", broken('kind = "poisson", ', ""), "load.arrivals.kind is missing: it must be one of"),
    ("negative rate", broken('"30/min"', "-1"), "load.arrivals.rate_per_s = -1 must be > 0"),
    ("a rate without time", broken('"30/min"', '"30"'), "load.arrivals.rate_per_s = '30' is not a rate such as 12/s"),
    ("a wrong unit", broken('"60s"', '"60parsec"'), "timeout_s = '60parsec' has no known unit of time"),
    ("infinite", broken('"60s"', "inf"), "timeout_s = inf must be seconds, or a duration"),
    ("text for a number", broken("requests = 10", "requests = true"), "load.requests = True must be a whole number"),
    ("half a request", broken("requests = 10", "requests = 1.5"), "load.requests = 1.5 must be a whole number"),
    ("no requests", broken("requests = 10", "requests = 0"), "load.requests = 0 must be from 1 to 5,000,000"),
    ("too many requests", broken("requests = 10", 'requests = "1B"'), "load.requests = '1B' must be from 1 to 5,000,000"),
    ("no end", broken("requests = 10", ""), "load has no end: say when the load ends: requests = N, duration_s = T, or both"),
    ("too long", broken("requests = 10", 'duration_s = "31d"'), "load.duration_s = '31d' must be > 0 and at most 30 days"),
    (
        "too many arrivals",
        broken("requests = 10", 'duration_s = "30d"').replace("30/min", "3/s"),
        "duration_s = 2592000.0 must not mean 7.78e+06",
    ),
    ("a timeout of years", broken('"60s"', '"400d"'), "timeout_s = '400d' must be > 0 and at most 30 days"),
    (
        "a timeout in quotes",
        broken('"60s"', '"60"'),
        "timeout_s = '60' has no known unit of time (allowed: ns, us, ms, s, m, min, h, d); write 60 without quotes, or \"60s\"",
    ),
    ("a cluster", 'schema = "loadlab/cluster/1"', "schema = 'loadlab/cluster/1': this file is a cluster, and a scenario is needed here"),
    ("a kind of no text", broken('"poisson"', "[1]"), "load.arrivals.kind = [1] must be one of"),
    ("a vanishing rate", broken('"30/min"', "1e-300"), "load.arrivals.rate_per_s = 1e-300 must be > 0, from 1e-9 to 1e9 a second"),
    ("cv", broken(POISSON, '{ kind = "gamma", rate_per_s = 1, cv = 1e3 }'), "load.arrivals.cv = 1000.0 must be > 0, from 0.01 to 100"),
    (
        "dwell without end",
        broken(POISSON, ONOFF.format([0, 1e-9], [1e-6, 1e-6])),
        "load.arrivals.dwell_s = [1e-06, 1e-06] must be longer: the load would",
    ),
    (
        "dwell of ages",
        broken(POISSON, ONOFF.format([1, 1], [1e300, 1e-300])),
        "load.arrivals.dwell_s = [1e+300, 1e-300] must be > 0, from a microsecond",
    ),
    (
        "a rate of none",
        broken(POISSON, ONOFF.format([0, 1e-300], [1, 1])),
        "load.arrivals.rates_per_s = [0, 1e-300] must be >= 0: 0, or from 1e-9",
    ),
    ("a coloured label", broken('"m"', '"m"\ntier = "\\u001b[31mRED"'), "classes.chat.tier = '\\x1b[31mRED' must be text without control"),
    ("a label of two lines", broken('"m"', '"m"\ntier = "a\\nb"'), "classes.chat.tier = 'a\\nb' must be 1 to 80 printable characters"),
    ("mode and modes", broken('"m"', '"m"\nmode = "x"\nmodes.fast.share = 1'), "classes.chat.mode = 'x' must not stand beside modes"),
    (
        "modes of less than all",
        broken('"m"', '"m"\nmodes.fast.share = 0.8'),
        "classes.chat.modes = ['fast'] have shares that sum to 0.8, and must sum to 1",
    ),
    ("no modes", broken('"m"', '"m"\nmodes = {}'), "classes.chat.modes = 0 modes must be 1 to 100"),
    ("a mode without share", broken('"m"', '"m"\nmodes.fast.output_factor = 2'), "classes.chat.modes.fast.share is missing"),
    (
        "a negative factor",
        broken('"m"', '"m"\nmodes.fast = { share = 1, output_factor = -1 }'),
        "modes.fast.output_factor = -1 must be >= 0 and at most",
    ),
    ("warm-up", broken('"60s"', '"60s"\nwarmup_s = 3'), "warmup_s is not a known key"),
    ("no class", SCENARIO.partition("[classes")[0] + "[classes]\n", "classes is empty; a scenario needs at least one"),
    ("a class without a model", broken('model = "m"', ""), "classes.chat.model is missing"),
    ("an empty model", broken('"m"', '" "'), "classes.chat.model = ' ' must be the name of a served model"),
    ("a class name that is a path", broken("classes.chat", 'classes."../chat"'), "classes = '../chat' must be"),
    (
        "unknown kind of request",
        broken('model = "m"', 'model = "m"\nkind = "chatt"'),
        "classes.chat.kind = 'chatt' must be one of chat, completion",
    ),
    ("no share", broken('model = "m"', 'model = "m"\nshare = 0'), "classes.chat.share = 0 must be > 0"),
    ("no prompt law", broken(f"prompt_tokens = {FOUR_K}", ""), "classes.chat.prompt_tokens is missing; write for example"),
    ("an empty prompt", broken(FOUR_K, '{ kind = "constant", value = 0 }'), "classes.chat.prompt_tokens = 0 must not be possible"),
    ("a huge prompt", broken(FOUR_K, '{ kind = "constant", value = "2B" }'), "prompt_tokens.value = '2B' must be a count from 0 to 10^9"),
    ("min above max", broken(FOUR_K, '{ kind = "uniform", min = 9, max = 3 }'), "classes.chat.prompt_tokens.min = 9 must be <= max (3)"),
    (
        "weights",
        broken(FOUR_K, '{ kind = "empirical", values = [1, 2], weights = [1] }'),
        "prompt_tokens.weights = [1.0] must have 2 entries",
    ),
    ("no values", broken(FOUR_K, '{ kind = "empirical", values = [] }'), "prompt_tokens.values = [] must have at least one entry"),
    ("spikes overlap", broken(POISSON, SPIKE), "load.arrivals.at_s = [10.0, 12.0] must ascend in steps of at least for_s"),
    ("a spike downwards", broken(POISSON, SPIKE.replace("9", "1")), "load.arrivals.peak_per_s = 1.0 must be > base_per_s (2.0). Swap them"),
    ("no spike", broken(POISSON, SPIKE.replace("10, 12", "")), "load.arrivals.at_s = [] must name at least one time"),
    (
        "on/off",
        broken(POISSON, '{ kind = "onoff", rates_per_s = [1, 2], dwell_s = [3] }'),
        "arrivals.rates_per_s = [1.0, 2.0] must have as many",
    ),
    ("all off", broken(POISSON, '{ kind = "onoff", rates_per_s = [0, 0], dwell_s = [3, 3] }'), "must have an entry above 0"),
    (
        "dwell",
        broken(POISSON, '{ kind = "onoff", rates_per_s = [1, 2], dwell_s = [3, 3], dwell = "fix" }'),
        "dwell = 'fix' must be one of fixed",
    ),
    (
        "amplitude",
        broken(POISSON, '{ kind = "diurnal", mean_per_s = 1, amplitude = 2, period_s = 9 }'),
        "amplitude = 2 must be between 0 and 1",
    ),
    (
        "zero turns",
        SCENARIO + '[classes.chat.sessions]\nturns = { kind = "constant", value = 0 }',
        "classes.chat.sessions.turns = 0 must not be",
    ),
    (
        "an image without size",
        SCENARIO + 'images = { count = { kind = "constant", value = 1 }, sizes_px = [[448]] }',
        "sizes_px[0] = [448] must have 2",
    ),
    (
        "a flat image",
        SCENARIO + 'images = { count = { kind = "constant", value = 1 }, sizes_px = [[448, 0]] }',
        "sizes_px[0][1] = 0 must be from 1 to 65,536",
    ),
    ("not a table", broken("[classes.chat]", "[classes]\nchat = 3\n[x]"), "x is not a known key"),
]


@pytest.mark.parametrize(("why", "text", "words"), BROKEN_SCENARIOS, ids=[row[0] for row in BROKEN_SCENARIOS])
def test_a_broken_scenario_file_is_told_by_file_key_value_and_what_is_allowed(tmp_path: Path, why: str, text: str, words: str) -> None:
    path = scenario_file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(f"{path}: "), why
    assert words in str(caught.value), why


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ('kind = "closed_loop"\nusers = 0\nrequests = 10', "load.users = 0 must be from 1"),
        ('kind = "closed_loop"\nusers = 4\nduration_s = 60', "load.duration_s is not a known key"),
        ('kind = "replay"', "classes.chat.prompt_tokens must be left out in a replay"),
        ('kind = "closed_loop"\nusers = 4\nrequests = 4\nramp_up_s = "31d"', "load.ramp_up_s = '31d' must be >= 0 and at most 30 days"),
        ('kind = "replay"\nformat = "azure-1999"', "load.format = 'azure-1999' must be one of azure-2023"),
    ],
)
def test_a_load_refuses_what_does_not_belong_to_it(tmp_path: Path, load: str, words: str) -> None:
    head, _, tail = SCENARIO.partition("[load]")
    path = scenario_file(tmp_path, f"{head}[load]\n{load}\n[classes.chat]{tail.partition('[classes.chat]')[2]}")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert words in str(caught.value)


def test_sessions_belong_to_an_open_loop(tmp_path: Path) -> None:
    text = SCENARIO.replace('kind = "open_loop"', 'kind = "closed_loop"\nusers = 2').replace(f"arrivals = {POISSON}", "")
    path = scenario_file(tmp_path, text + '[classes.chat.sessions]\nturns = { kind = "constant", value = 2 }')
    with pytest.raises(InputError, match=r'classes\.chat\.sessions must be left out with load\.kind = "closed_loop"'):
        load_scenario(path)


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(InputError):
            load_scenario(path)


REPLAY = 'schema = "loadlab/scenario/1"\nname = "r"\nclasses.chat.model = "m"\n[load]\nkind = "replay"\n'


def test_a_trace_is_found_from_the_folder_of_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:00,30,3\n")
    trace = trace_of(load_scenario(scenario_file(tmp_path, REPLAY + 'trace = "trace.csv"')))
    assert trace is not None
    assert trace.prompt_tokens.tolist() == [30]


@pytest.mark.parametrize("outside", ["/etc/passwd", "../../etc/passwd", "a/../../../x.csv"])
def test_a_scenario_may_not_name_files_outside_its_folder_and_the_one_above(tmp_path: Path, outside: str) -> None:
    with pytest.raises(InputError, match=r"load\.trace = .* must be a relative path that stays inside"):
        load_scenario(scenario_file(tmp_path, REPLAY + f'trace = "{outside}"'))


def test_a_link_does_not_lead_outside_either(tmp_path: Path) -> None:
    (tmp_path / "deep" / "home").mkdir(parents=True)
    (tmp_path / "deep" / "home" / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match="must be a relative path that stays inside"):
        load_scenario(scenario_file(tmp_path / "deep" / "home", REPLAY + 'trace = "link.csv"'))


def test_the_command_line_gives_a_replay_its_trace_and_window(tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file(tmp_path, REPLAY))
    assert with_trace(scenario, Path("t.csv"), 600, 300).load == Replay(trace=Path("t.csv"), start_s=600, for_s=300)
    for window_s in (0, -1, 1e300, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"--window = \S+ s must be > 0 and at most 30 days"):
            with_trace(scenario, Path("t.csv"), for_s=window_s)
    with pytest.raises(InputError, match=r"--window-start = 1e\+300 s must be >= 0 and at most 100 years"):
        with_trace(scenario, Path("t.csv"), 1e300)
    with pytest.raises(InputError, match="name it with --trace FILE"):
        trace_of(scenario)


def test_only_a_replay_takes_a_trace(tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file(tmp_path, SCENARIO))
    assert trace_of(scenario) is None
    with pytest.raises(InputError, match=r'small: takes no --trace: its load is kind = "open_loop"'):
        with_trace(scenario, Path("t.csv"))
