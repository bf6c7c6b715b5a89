"""Who may ask, how much, and what the filter lets through."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from loadlab.errors import InputError
from loadlab.server.gateway import Bucket, Gateway
from loadlab.server.gateway_spec import FilterSpec, GatewaySpec, KeySpec, load_gateway
from loadlab.simulator.spec import Pipeline
from tests.server.running import Running, plain_cluster, running

BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "ignore_eos": True}


def key(secret: str, **more: object) -> KeySpec:
    return KeySpec(key_sha256=hashlib.sha256(secret.encode()).hexdigest(), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    keys = {
        "all": key("sesame"),
        "other": key("other", models=("n",)),
        "slow": key("slow", requests_per_s=0.001, burst_requests=2),
        "small": key("small", tokens_per_s=0.001, burst_tokens=10),
    }
    with running(speed=50, gateway=GatewaySpec(keys=keys, filter=FilterSpec(patterns=("secret plan",), max_prompt_tokens=1000))) as server:
        yield server


def ask(server: Running, secret: str, **more: object) -> tuple[int, object]:
    return server.post("/v1/chat/completions", BODY | more, Authorization=f"Bearer {secret}")


def test_without_a_right_key_nothing_is_served(guarded: Running) -> None:
    assert guarded.post("/v1/chat/completions", BODY) == (401, {"error": "Unauthorized"})
    assert ask(guarded, "wrong")[0] == 401
    assert guarded.post("/v1/chat/completions", BODY, Authorization="Basic sesame")[0] == 401
    assert guarded.get("/v1/models")[0] == 401
    assert guarded.get("/health")[0] == 200
    assert ask(guarded, "sesame")[0] == 200
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_key_is_for_its_models(guarded: Running) -> None:
    status, answer = ask(guarded, "other")
    assert (status, answer["error"]["type"]) == (403, "PermissionDeniedError")  # type: ignore[index]


def test_a_quota_of_requests_is_used_up(guarded: Running) -> None:
    assert [ask(guarded, "slow")[0] for _ in range(3)] == [200, 200, 429]
    status, answer = ask(guarded, "slow")
    assert (status, answer["error"]["type"]) == (429, "rate_limit_exceeded")  # type: ignore[index]


def test_a_quota_of_tokens_counts_prompt_and_answer(guarded: Running) -> None:
    """One token of prompt and two of answer: three times three are nine of ten."""
    assert [ask(guarded, "small")[0] for _ in range(4)] == [200, 200, 200, 429]
    assert ask(guarded, "small", max_tokens=50)[0] == 429


def test_the_filter_refuses_patterns_and_length(guarded: Running) -> None:
    for text in ("tell me the SECRET PLAN", "x" * 4004):
        status, answer = ask(guarded, "sesame", messages=[{"role": "user", "content": text}])
        assert (status, answer["error"]["type"]) == (400, "content_filter")  # type: ignore[index]


def test_a_filtered_request_has_paid_for_the_stages_before() -> None:
    """Authenticate, tokenise, filter: 0.5 s simulated, at ten times real time."""
    spec = dataclasses.replace(plain_cluster(), pipeline=Pipeline(authenticate_s=0.2, tokenise_s=0.2, filter_s=0.1))
    with running(spec, speed=2, gateway=GatewaySpec(filter=FilterSpec(patterns=("no",)))) as server:
        begin_s = time.monotonic()
        assert server.post("/v1/chat/completions", BODY | {"messages": [{"role": "user", "content": "no"}]})[0] == 400
        assert time.monotonic() - begin_s > 0.2


def test_a_bucket_fills_with_time() -> None:
    bucket = Bucket(2.0, 4.0)
    assert bucket.take(4, 0.0) is None
    assert bucket.take(1, 0.0) == 0.5
    assert bucket.take(1, 0.5) is None
    assert bucket.take(5, 100.0) == float("inf")
    assert bucket.take(4, 100.0) is None


def test_a_gateway_file_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(
        'schema = "loadlab/gateway/1"\n[keys.a]\nkey_env = "A_KEY"\nmodels = ["m"]\nrequests_per_s = "60/min"\n'
        '[filter]\npatterns = ["bad"]\n[lake]\nretention_s = "7d"\nresidency = "eu"\n'
    )
    spec = load_gateway(path)
    assert spec.keys["a"].requests_per_s == 1
    assert spec.lake.retention_s == 7 * 86400
    assert Gateway(spec, lambda: 0.0, {"A_KEY": "sesame"}).authenticate({"authorization": "Bearer sesame"}).name == "a"
    with pytest.raises(InputError, match=r"keys\.a\.key_env = 'A_KEY': this environment variable is not set"):
        Gateway(spec, lambda: 0.0, {})
    path.write_text('schema = "loadlab/gateway/1"\n[keys.a]\nkey_sha256 = "sesame"\n')
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        load_gateway(path)
    path.write_text('schema = "loadlab/gateway/1"\n[filter]\npatterns = ["("]\n')
    with pytest.raises(InputError, match=r"patterns\[0\] must be a regular expression"):
        load_gateway(path)
