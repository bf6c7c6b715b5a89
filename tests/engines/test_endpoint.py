from __future__ import annotations

import socket
from pathlib import Path

import pytest

from loadlab.engines.endpoint import ApiKey, Endpoint, TargetUnreachableError, is_loopback, load_api_key, parse_url, resolve
from loadlab.errors import ExitCode, InputError


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "base", "url", "authority"),
    [
        ("http://a", "http", "a", 80, "", "http://a:80", "a"),
        ("https://a.b", "https", "a.b", 443, "", "https://a.b:443", "a.b"),
        ("http://a:8000/v1", "http", "a", 8000, "", "http://a:8000", "a:8000"),
        ("http://a:8000/v1/", "http", "a", 8000, "", "http://a:8000", "a:8000"),
        ("https://gw/team/v1", "https", "gw", 443, "/team", "https://gw:443/team", "gw"),
        ("HTTP://A:1", "http", "a", 1, "", "http://a:1", "a:1"),
        ("http://[::1]:8000", "http", "::1", 8000, "", "http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_a_url_is_read_and_its_v1_is_dropped(text: str, scheme: str, host: str, port: int, base: str, url: str, authority: str) -> None:
    assert parse_url(text) == (scheme, host, port, base)
    endpoint = Endpoint(scheme=scheme, host=host, port=port, base_path=base)
    assert (endpoint.url, endpoint.authority) == (url, authority)


@pytest.mark.parametrize(
    "text", ["http://", "ftp://a", "a:80", "http://a:99999", "http://me:pw@a", "http://a/?q=1", "http://a#x", "http://[a"]
)
def test_what_is_no_url_of_an_endpoint_is_refused_without_quoting_a_password(text: str) -> None:
    with pytest.raises(InputError, match="--target") as error:
        parse_url(text)
    assert "pw" not in str(error.value)


def test_a_key_does_not_print() -> None:
    key = ApiKey("sk-secret")
    assert "secret" not in f"{key} {key!r} {Endpoint(scheme='http', host='a', port=1, api_key=key)}"
    assert key.reveal() == "sk-secret"


def test_a_key_comes_from_one_place_and_bad_ones_are_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-file\n")
    (tmp_path / "two").write_text("sk-one\nsk-two\n")
    (tmp_path / "long").write_text("x" * 20_000)
    monkeypatch.setenv("KEY", "sk-env")
    assert load_api_key(None, None) is None
    assert str(load_api_key("KEY", None)) == "[API key]"
    found = load_api_key(None, tmp_path / "key")
    assert found is not None
    assert found.reveal() == "sk-file"
    for env, file in (
        ("KEY", tmp_path / "key"),
        ("UNSET_KEY", None),
        (None, tmp_path / "none"),
        (None, tmp_path / "two"),
        (None, tmp_path / "long"),
    ):
        with pytest.raises(InputError) as error:
            load_api_key(env, file)
        assert "sk-" not in str(error.value)


def test_loopback_means_every_address() -> None:
    inet = int(socket.AF_INET)
    assert is_loopback(((inet, "127.0.0.1", 1), (int(socket.AF_INET6), "::1", 1)))
    assert not is_loopback(((inet, "127.0.0.1", 1), (inet, "10.0.0.1", 1)))


def test_a_name_that_nobody_knows_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TargetUnreachableError, match="cannot be resolved: Name or service not known") as error:
        resolve(Endpoint(scheme="http", host="a.invalid", port=80))
    assert error.value.exit_code is ExitCode.UNREACHABLE


def test_models_are_mapped_by_the_scenarios_name_and_else_by_the_one_given() -> None:
    endpoint = Endpoint(scheme="http", host="a", port=1, model="all", models={"llm-14b": "llama"})
    assert [endpoint.served_model(name) for name in ("llm-14b", "vlm-7b")] == ["llama", "all"]
    assert Endpoint(scheme="http", host="a", port=1).served_model("m") == "m"
