"""An HTTP endpoint to be loaded: where it is, which model, how patient we are. The API key is a type that does not print."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from loadlab.engines.abort import AbortRule
from loadlab.engines.page_fetch import PageAddress
from loadlab.engines.spread import Spread
from loadlab.errors import ExitCode, InputError, LoadlabError

DEFAULT_TIMEOUT_S = 600.0  # for requests to which the scenario gives no limit
DEFAULT_IDLE_S = 60.0
MAX_KEY_BYTES = 16384
_DEFAULT_PORT = {"http": 80, "https": 443}

Address = tuple[int, str, int]  # family, IP address, port


class TargetUnreachableError(LoadlabError):
    """The target does not answer, refuses the key, or does not know the model: nothing was measured, or nothing more."""

    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret. It prints as [API key]; `reveal` is called only where it goes to the child process."""

    _value: str = field(repr=False)

    def __repr__(self) -> str:
        return "[API key]"

    def reveal(self) -> str:
        """The key itself: never to be printed, stored or passed on a command line."""
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One HTTP target and how it is to be loaded. `model` replaces the model of every class, but for those that `models` maps."""

    scheme: str  # http or https
    host: str
    port: int
    base_path: str = ""  # before "/v1/..", without a slash at its end
    model: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    api_key: ApiKey | None = None
    insecure: bool = False  # certificates are not verified
    max_in_flight: int = 1024
    timeout_s: float = DEFAULT_TIMEOUT_S  # on the whole answer, from the due time, where the scenario has none
    idle_s: float = DEFAULT_IDLE_S  # between two pieces of an answer that has begun
    abort_on: tuple[AbortRule, ...] = ()
    preflight: bool = True
    metrics: tuple[PageAddress, ...] = ()  # pages on which servers tell of themselves, looked at once a second
    spread: Spread = field(default_factory=Spread)
    tokenizer: Path | None = None  # folder with tokenizer.json, for prompts of exactly the planned tokens; None: four characters a token

    @property
    def url(self) -> str:
        """The target as a person writes it; holds no secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path}"

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORT[self.scheme] else f"{host}:{self.port}"

    def served_model(self, scenario_model: str) -> str:
        """What to ask for where the scenario says `scenario_model`."""
        return self.models.get(scenario_model, self.model if self.model is not None else scenario_model)


def parse_url(text: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, base path) of "http://HOST[:PORT][/PREFIX]". A trailing /v1 is dropped: paths bring their own.

    Raises InputError on anything else: credentials in a URL would end up in process lists and reports.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"= {text!r} is not a URL: {error}. Write http://HOST:PORT", key="--target") from None
    if parts.scheme not in _DEFAULT_PORT or not parts.hostname:
        raise InputError(f"= {text!r} must be http://HOST:PORT or https://HOST:PORT", key="--target")
    if parts.username is not None or parts.password is not None:
        shown = f"{parts.scheme}://{parts.hostname}"
        raise InputError(f"= {shown} carries a user or password: leave it out, and use --api-key-env or --api-key-file", key="--target")
    if parts.query or parts.fragment:
        raise InputError(f"= {text!r} must end with its path: leave out what follows ? or #", key="--target")
    base = parts.path.rstrip("/").removesuffix("/v1")
    return parts.scheme, parts.hostname, port if port is not None else _DEFAULT_PORT[parts.scheme], base


def load_api_key(env: str | None, file: Path | None) -> ApiKey | None:
    """The key from an environment variable or a file, None where neither is named. Raises InputError that never quotes the key."""
    if env is not None and file is not None:
        raise InputError("and --api-key-file cannot be given together", key="--api-key-env")
    if env is not None:
        value = os.environ.get(env, "")
        if not value.strip():
            raise InputError(f"= {env} names an environment variable that is empty or not set", key="--api-key-env")
        return _checked(value.strip(), f"the value of {env}", "--api-key-env")
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            value = opened.read(MAX_KEY_BYTES + 1).decode("ascii").strip()
    except OSError as error:
        raise InputError(f"= {file} cannot be read: {error.strerror}", key="--api-key-file") from None
    except UnicodeDecodeError:
        raise InputError(f"= {file} is not ASCII text", key="--api-key-file") from None
    return _checked(value, f"the text of {file}", "--api-key-file")


def _checked(value: str, what: str, flag: str) -> ApiKey:
    if not (0 < len(value) <= MAX_KEY_BYTES and value.isascii() and value.isprintable() and " " not in value):
        raise InputError(f": {what} must be one line of printable ASCII without spaces", key=flag)
    return ApiKey(value)


def resolve(endpoint: Endpoint) -> tuple[Address, ...]:
    """The addresses of the endpoint, looked up once before the first request. Raises TargetUnreachableError."""
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise TargetUnreachableError(f"{endpoint.url}: the name {endpoint.host!r} cannot be resolved: {error.strerror}") from None
    addresses = [(int(family), str(place[0]), endpoint.port) for family, _, _, _, place in found]
    return tuple(dict.fromkeys(addresses))


def is_loopback(addresses: tuple[Address, ...]) -> bool:
    """True if every address is this machine's own loopback."""
    return all(ipaddress.ip_address(ip.partition("%")[0]).is_loopback for _, ip, _ in addresses)
