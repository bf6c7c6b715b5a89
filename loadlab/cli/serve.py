"""`loadlab serve`: a simulated cluster behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loadlab.errors import InputError

EPILOG = """Examples:

  loadlab serve scenarios/clusters/t4-14b.toml

  loadlab serve scenarios/clusters/h100-70b-healthy.toml --port 9000 --speed 10 --log runs/served
"""


def serve(
    cluster: Annotated[Path, typer.Argument(help="A cluster file, or the name of one that ships.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need --allow-remote.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    speed: Annotated[float, typer.Option(help="Simulated seconds in one of the wall.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Draws answers, and the simulator's own choices.")] = 1,
    answer_tokens: Annotated[float, typer.Option(help="Median length of answers that end by themselves.")] = 200.0,
    gateway: Annotated[
        Path | None, typer.Option(help="A gateway file: keys, quotas, safety filter, retention of the log.", show_default=False)
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Run directory to make, with a row and a record of each request.", show_default=False)
    ] = None,
    log_text: Annotated[bool, typer.Option("--log-text", help="Log prompts and answers themselves, not their hashes.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Offer /admin/faults to this machine, for faults on demand.")] = False,
    max_connections: Annotated[int, typer.Option(min=1, help="Clients at once; one more is refused.")] = 4096,
    max_body: Annotated[str, typer.Option(help="Largest body that is read.", metavar="SIZE")] = "16MiB",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, where the model's window allows more.")] = 131_072,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Listen on an address that others can reach.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
) -> None:
    """Serve a simulated cluster as an OpenAI-compatible endpoint, in real time or faster.

    Tokens come when the simulator says that they come. Ctrl-C lets requests under way finish.

    Exit codes: 0 stopped by Ctrl-C or a signal, 2 bad input, or the address cannot be listened on.
    """
    from loadlab.scenario.library import find_cluster
    from loadlab.server.limits import Limits
    from loadlab.server.run import Options, run
    from loadlab.units import parse_bytes

    try:
        limits = Limits(max_connections=max_connections, max_body_bytes=int(parse_bytes(max_body)), max_tokens=max_tokens)
    except ValueError as error:
        raise InputError(f"= {error}", key="--max-body") from None
    try:
        options = Options(
            cluster_file=find_cluster(cluster),
            host=host,
            port=port,
            speed=speed,
            seed=seed,
            answer_tokens=answer_tokens,
            gateway_file=gateway,
            log=log,
            log_text=log_text,
            has_admin=admin,
            allows_remote=allow_remote,
            argv=tuple(sys.argv),
            limits=limits,
        )
    except ValueError as error:
        key, _, problem = str(error).partition(" ")
        raise InputError(problem, key=f"--{key.replace('_', '-')}") from None
    run(options, lambda line: None if quiet else typer.echo(line, err=True), lambda line: typer.echo(f"warning: {line}", err=True))
