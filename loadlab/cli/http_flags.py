"""Flags of a run over HTTP, and the endpoint that they make. What the flags mean is said here once, for every verb that loads one."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.cli.spread_flags import SpreadFlags, spread_of
from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.cli.screen import Screen
    from loadlab.engines.endpoint import Endpoint
    from loadlab.engines.page_fetch import PageAddress
    from loadlab.scenario.plan import RequestPlan

DEFAULT_MAX_IN_FLIGHT = 4096
OWN_DESCRIPTORS = (
    48  # of the load generator, beside its connections: measured 20, and some for a new connection before an old one is closed
)
LEAST_IN_FLIGHT = 1

Model = Annotated[
    list[str] | None,
    typer.Option(
        help="HTTP: the model to ask for. NAME for every class, or OLD=NAME for those whose scenario says OLD; may be repeated.",
        metavar="NAME",
        show_default=False,
    ),
]
ApiKeyEnv = Annotated[
    str | None, typer.Option(help="HTTP: the environment variable that holds the API key.", metavar="VARIABLE", show_default=False)
]
ApiKeyFile = Annotated[Path | None, typer.Option(help="HTTP: the file that holds the API key.", show_default=False)]
MaxInFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=60_000,
        help=f"HTTP: requests in flight at most; one due above it is not sent. [default: {DEFAULT_MAX_IN_FLIGHT}, or what fits]",
        show_default=False,
    ),
]
AbortOn = Annotated[
    list[str] | None,
    typer.Option(help='HTTP: stop the run, such as "error_rate > 50% for 30s"; may be repeated.', metavar="RULE", show_default=False),
]
Timeout = Annotated[
    str, typer.Option(help="HTTP: limit on the whole answer, from when it was due, where the scenario gives none.", metavar="TIME")
]
IdleTimeout = Annotated[str, typer.Option(help="HTTP: limit on a pause within an answer that has begun.", metavar="TIME")]
Insecure = Annotated[bool, typer.Option("--insecure", help="HTTP: do not verify the TLS certificate. Recorded with the run.")]
Preflight = Annotated[bool, typer.Option("--preflight/--no-preflight", help="HTTP: try each model with one request before the run.")]
Tokenizer = Annotated[
    Path | None,
    typer.Option(
        help="HTTP: folder of the model's tokenizer, for prompts of exactly the planned tokens. [default: 4 characters a token]",
        show_default=False,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        help="HTTP: a server's Prometheus page, such as http://HOST:8000/metrics, looked at once a second; may be repeated.",
        metavar="URL",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="HTTP: load a target that is not on this machine without asking.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFlags:
    """The flags as they were given."""

    model: Sequence[str] | None
    api_key_env: str | None
    api_key_file: Path | None
    max_in_flight: int | None
    abort_on: Sequence[str] | None
    timeout: str
    idle_timeout: str
    insecure: bool
    preflight: bool
    tokenizer: Path | None = None
    metrics: Sequence[str] | None = None
    yes: bool
    spread: SpreadFlags | None = None

    def refuse(self, why: str) -> None:
        """Raises InputError if one of them was given; for targets that are not HTTP."""
        given = {
            "--model": self.model,
            "--api-key-env": self.api_key_env,
            "--api-key-file": self.api_key_file,
            "--max-in-flight": self.max_in_flight,
            "--abort-on": self.abort_on,
            "--insecure": self.insecure or None,
            "--tokenizer": self.tokenizer,
            "--metrics": self.metrics or None,
        }
        for flag, value in given.items():
            if value is not None:
                raise InputError(why, key=flag)
        if self.spread is not None and self.spread.given is not None:
            raise InputError(why, key=self.spread.given)


def is_http(target: str | None) -> bool:
    """True if a target is an HTTP endpoint, by its first letters."""
    return target is not None and target.partition(":")[0].lower() in ("http", "https")


def build_endpoint(target: str, flags: HttpFlags, screen: Screen) -> Endpoint:
    """The endpoint that target and flags describe. Raises InputError naming the flag. Says what a person must know of it."""
    from loadlab.engines.abort import parse_abort_rule
    from loadlab.engines.endpoint import Endpoint, load_api_key, parse_url
    from loadlab.engines.spread import Spread

    scheme, host, port, base_path = parse_url(target)
    every, models = _models(flags.model)
    if flags.insecure and scheme != "https":
        raise InputError("has no meaning for an http:// target: there is no certificate to verify", key="--insecure")
    endpoint = Endpoint(
        scheme=scheme,
        host=host,
        port=port,
        base_path=base_path,
        model=every,
        models=models,
        api_key=load_api_key(flags.api_key_env, flags.api_key_file),
        insecure=flags.insecure,
        max_in_flight=_max_in_flight(flags.max_in_flight, screen),
        timeout_s=_span("--timeout", flags.timeout),
        idle_s=_span("--idle-timeout", flags.idle_timeout),
        abort_on=tuple(map(parse_abort_rule, flags.abort_on or ())),
        preflight=flags.preflight,
        tokenizer=flags.tokenizer,
        metrics=_pages(flags.metrics),
        spread=Spread() if flags.spread is None else spread_of(flags.spread),
    )
    if flags.insecure:
        screen.say("WARNING: --insecure: the TLS certificate is NOT verified; whoever is between may read the API key and forge answers")
    return endpoint


def _pages(given: Sequence[str] | None) -> tuple[PageAddress, ...]:
    from loadlab.engines.page_fetch import parse_page_url

    return tuple(parse_page_url(text) for text in dict.fromkeys(given or ()))


def _models(given: Sequence[str] | None) -> tuple[str | None, dict[str, str]]:
    every, models = None, {}
    for text in given or ():
        old, has_map, name = text.partition("=")
        if has_map and old and name:
            models[old] = name
        elif text and not has_map and every is None:
            every = text
        else:
            raise InputError(f"= {text!r} must be NAME (once) or OLD=NAME", key="--model")
    if every is None and not models:
        raise InputError(
            "is missing: say which model to ask for, such as --model llama-3-8b, or OLD=NAME for what the scenario calls OLD", key="--model"
        )
    return every, models


def _span(flag: str, text: str) -> float:
    from loadlab.units import parse_duration_s

    try:
        span_s = parse_duration_s(text)
    except ValueError as error:
        raise InputError(f"= {error}", key=flag) from None
    if not 0.05 <= span_s <= 86400:
        raise InputError(f"= {text!r} must be from 50ms to a day", key=flag)
    return span_s


def _max_in_flight(asked: int | None, screen: Screen) -> int:
    """As many as asked for, if the system has descriptors for them; without a wish as many as it has, up to the default."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = 2**31 if hard == resource.RLIM_INFINITY else hard - OWN_DESCRIPTORS
    if (asked is not None and asked > room) or room < LEAST_IN_FLIGHT:
        wanted = f"= {asked:,} needs {asked + OWN_DESCRIPTORS:,} file descriptors" if asked is not None else "needs file descriptors"
        raise InputError(
            f"{wanted}, and this system allows {hard:,}: raise `ulimit -n`, or ask for {max(room, 0):,} at most", key="--max-in-flight"
        )
    if asked is None and room < DEFAULT_MAX_IN_FLIGHT:
        screen.say(f"note: {room:,} requests in flight at most: this system allows {hard:,} file descriptors (`ulimit -n`)")
    return asked if asked is not None else min(DEFAULT_MAX_IN_FLIGHT, room)


def confirm(endpoint: Endpoint, plans: Sequence[RequestPlan], *, yes: bool) -> None:
    """Asks before a machine that is not this one is loaded. Raises InputError where nobody can be asked, or who was asked said no."""
    from loadlab.engines.endpoint import is_loopback, resolve

    addresses = resolve(endpoint)
    if yes or is_loopback(addresses):
        return
    ips = ", ".join(dict.fromkeys(ip for _, ip, _ in addresses))
    what = f"{sum(map(len, plans)):,} requests{_rate_words(plans)} to {endpoint.url} ({ips}), which is not this machine"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"sends {what}: pass --yes to confirm that you may load it", key="--target")
    try:
        is_confirmed = typer.confirm(f"Send {what}?", err=True)
    except typer.Abort:  # Ctrl-C or the end of input: no answer is a no
        is_confirmed = False
        typer.echo(err=True)
    if not is_confirmed:
        raise InputError("was not confirmed; nothing was sent", key="--target")


def _rate_words(plans: Sequence[RequestPlan]) -> str:
    """The highest mean rate of the plans that are in open loop."""
    import numpy as np

    rates = []
    for plan in plans:
        due_s = plan.arrival_s[~np.isnan(plan.arrival_s)]
        if len(due_s) > 1 and due_s[-1] > due_s[0]:
            rates.append((len(due_s) - 1) / float(due_s[-1] - due_s[0]))
    return f", up to {max(rates):,.3g} requests/s on average," if rates else ""
