"""--target and its flags: a simulated cluster, or an endpoint over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loadlab.cli import http_flags
from loadlab.cli.http_flags import HttpFlags
from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.campaign.target import Target
    from loadlab.cli.screen import Screen


def parse_target(
    target: str | None, http: HttpFlags, screen: Screen, *, is_campaign: bool = False, scenario: Path | None = None
) -> Target | None:
    """What --target and its flags mean; None for a campaign without one, which names its clusters itself.

    Where it is missing, the error names the cluster that the header of `scenario` was made for.
    """
    if http_flags.is_http(target):
        assert target is not None
        return http_flags.build_endpoint(target, http, screen)
    http.refuse("belongs to a target over HTTP, such as --target http://127.0.0.1:8000")
    if is_campaign:
        if target is not None:
            raise InputError("must be an http:// URL for a campaign, which names its clusters itself", key="--target")
        return None
    from loadlab.scenario.library import find_cluster

    kind, _, path = (target or "").partition(":")
    if target is None:
        raise InputError(f"is missing: say what to load{_suggested(scenario)}", key="--target")
    if kind != "sim" or not path:
        forms = "sim:CLUSTER.toml, such as sim:scenarios/clusters/t4-14b.toml, or http://HOST:PORT"
        raise InputError(f"= {target!r} must be {forms}{_meant(target)}", key="--target")
    return find_cluster(Path(path))


def _meant(target: str) -> str:
    """What a target without its first word was meant to be, where that can be told: a cluster by its name or file, or HOST:PORT."""
    from loadlab.scenario.library import find_cluster

    host, _, port = target.partition("/")[0].rpartition(":")
    if host and port.isdecimal():
        return f"; did you mean 'http://{target}'?"
    try:
        return f"; did you mean 'sim:{target}'?" if find_cluster(Path(target)).is_file() else ""
    except InputError:
        return ""


def _suggested(scenario: Path | None) -> str:
    from loadlab.scenario.library import entry_of

    named = entry_of(scenario, is_campaign=False).target if scenario is not None and scenario.is_file() else ""
    if named:
        return f". The header of this scenario says --target {named}"
    return ", such as --target sim:scenarios/clusters/t4-14b.toml, or --target http://127.0.0.1:8000"
