"""--workers, --master and --worker: over which processes and machines a run over HTTP is spread."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.engines.spread import Spread

Workers = Annotated[
    int | None,
    typer.Option(min=1, max=256, help="HTTP: processes here that send, each its share of the plan. [default: 1]", show_default=False),
]
MasterFlag = Annotated[
    bool, typer.Option("--master", help="HTTP: send nothing from here; wait for workers that join, and record what they tell.")
]
ExpectWorkers = Annotated[int | None, typer.Option(min=1, max=256, help="With --master: how many.", show_default=False)]
Bind = Annotated[
    str | None,
    typer.Option(help="With --master: the address to listen on. [default: 127.0.0.1]", metavar="ADDRESS", show_default=False),
]
WorkerFlag = Annotated[
    bool,
    typer.Option("--worker", help="HTTP: join a master and send a share; --out gets this machine's own copy of its rows."),
]
MasterHost = Annotated[str | None, typer.Option(help="With --worker: where the master is.", metavar="HOST", show_default=False)]
MasterPort = Annotated[int | None, typer.Option(min=1, max=65535, help="The master's port. [default: 5557]", show_default=False)]
WebUi = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="HTTP: locust's own page on this port of 127.0.0.1, such as 8089.", metavar="PORT", show_default=False
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadFlags:
    """The flags as they were given."""

    workers: int | None
    master: bool
    expect_workers: int | None
    bind: str | None
    worker: bool
    master_host: str | None
    master_port: int | None
    web_ui: int | None

    @property
    def given(self) -> str | None:
        """One of the flags that was given, if any."""
        flags = {
            "--workers": self.workers is not None,
            "--master": self.master,
            "--expect-workers": self.expect_workers is not None,
            "--bind": self.bind is not None,
            "--worker": self.worker,
            "--master-host": self.master_host is not None,
            "--master-port": self.master_port is not None,
            "--web-ui": self.web_ui is not None,
        }
        return next((flag for flag, is_given in flags.items() if is_given), None)


def spread_of(flags: SpreadFlags) -> Spread:
    """What the flags mean for whoever records. Raises InputError naming the flag that does not fit."""
    from loadlab.engines.spread import DEFAULT_PORT, LOOPBACK, TOKEN_VARIABLE, Spread, check_token

    _check(flags)
    if not flags.master:
        return Spread(workers=flags.workers or 1, web_port=flags.web_ui)
    assert flags.expect_workers is not None
    return Spread(
        workers=flags.expect_workers,
        bind_host=flags.bind or LOOPBACK,
        port=flags.master_port or DEFAULT_PORT,
        token=check_token(os.environ.get(TOKEN_VARIABLE)),
        web_port=flags.web_ui,
    )


def master_of(flags: SpreadFlags) -> tuple[str, int, str]:
    """(host, port, token) of the master that a worker joins. Raises InputError where the token is missing."""
    from loadlab.engines.spread import DEFAULT_PORT, TOKEN_VARIABLE, check_token

    assert flags.master_host is not None, "checked with the flags"
    return flags.master_host, flags.master_port or DEFAULT_PORT, check_token(os.environ.get(TOKEN_VARIABLE))


def _check(flags: SpreadFlags) -> None:
    """Raises InputError where flags do not go together."""
    if flags.master and flags.worker:
        raise InputError("cannot be given with --master: one process is one or the other", key="--worker")
    if flags.workers is not None and (flags.master or flags.worker):
        raise InputError("starts workers on this machine, which have a master of their own: leave it out", key="--workers")
    if flags.master and flags.expect_workers is None:
        raise InputError("is missing: how many workers is the master to wait for?", key="--expect-workers")
    if flags.worker and flags.master_host is None:
        raise InputError("is missing: where is the master?", key="--master-host")
    for flag, value, needs, there in (
        ("--expect-workers", flags.expect_workers, "--master", flags.master),
        ("--bind", flags.bind, "--master", flags.master),
        ("--master-host", flags.master_host, "--worker", flags.worker),
        ("--master-port", flags.master_port, "--master or --worker", flags.master or flags.worker),
    ):
        if value is not None and not there:
            raise InputError(f"belongs to {needs}", key=flag)
    if flags.worker and flags.web_ui is not None:
        raise InputError("belongs to the master, not to a worker", key="--web-ui")
