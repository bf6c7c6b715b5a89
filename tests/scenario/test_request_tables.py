"""How a class is asked over HTTP: the tables `request` and `http` of a scenario file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.files import load_scenario
from loadlab.scenario.model import Scenario
from loadlab.wire.openai import OpenAIOptions, chat

HEAD = """
schema = "loadlab/scenario/1"
name = "s"
load = { kind = "open_loop", requests = 1, arrivals = { kind = "constant", rate_per_s = 1 } }
[classes.c]
model = "m"
prompt_tokens = { kind = "constant", value = 8 }
output_tokens = { kind = "constant", value = 8 }
"""


def load(tmp_path: Path, more: str) -> Scenario:
    path = tmp_path / "s.toml"
    path.write_text(HEAD + more)
    return load_scenario(path)


def test_a_class_may_ask_in_its_own_way_on_top_of_what_the_run_asks(tmp_path: Path) -> None:
    tools = """[{"type": "function", "function": {"name": "look"}}]"""
    table = load(tmp_path, f"""[classes.c.request]\nstream = false\njson_mode = true\ntools = '{tools}'\nextra = '{{"temperature": 0}}'""")
    request = table.classes["c"].request
    assert request is not None
    sent = json.loads(chat("m", [("user", "a")], 8, options=request.options(OpenAIOptions(ignore_eos=False, extra={"user": "u"}))).body)
    assert sent["tools"] == json.loads(tools)
    assert sent["response_format"] == {"type": "json_object"}
    assert (sent["temperature"], sent["user"]) == (0, "u")
    assert not {"stream", "stream_options", "ignore_eos"} & sent.keys()


def test_what_a_target_refused_in_the_preflight_stays_out_and_other_wishes_stay(tmp_path: Path) -> None:
    request = load(tmp_path, '[classes.c.request]\nmin_tokens = true\nmax_tokens_field = "max_completion_tokens"').classes["c"].request
    assert request is not None
    sent = json.loads(chat("m", [("user", "a")], 8, options=request.options(OpenAIOptions(ignore_eos=False, include_usage=False))).body)
    assert sent.keys() == {"model", "messages", "max_completion_tokens", "min_tokens", "stream"}


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ('kind = "http"', "classes.c.http", "is missing"),
        ('[classes.c.http]\npath = "/"', "classes.c.http", 'goes with kind = "http"'),
        ('kind = "http"\n[classes.c.request]\n[classes.c.http]\npath = "/"', "classes.c.request", "left out"),
        ('kind = "http"\n[classes.c.http]\nmethod = "GET"', "classes.c.http.path", "is missing"),
        ("[classes.c.request]\nstream = 1", "classes.c.request.stream", "true or false"),
        ("[classes.c.request]\ntools = '{'", "classes.c.request.tools", "must be JSON"),
        ("[classes.c.request]\ntools = '{}'", "classes.c.request.tools", "array of objects"),
        ("[classes.c.request]\ntools = '[1]'", "classes.c.request.tools", "array of objects"),
        ("[classes.c.request]\nextra = '[]'", "classes.c.request.extra", "JSON object"),
        ("""[classes.c.request]\nextra = '{"stream": true}'""", "classes.c.request.extra", "must not set stream"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_by_key(tmp_path: Path, more: str, key: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, more)
    assert key in str(error.value)
    assert says in str(error.value)
