"""Over how many processes, on which machines, the load generator is spread."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadlab.errors import InputError

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 5557  # locust's own
LEAST_TOKEN = 16  # characters: the port's keys are made of it
TOKEN_VARIABLE = "LOADLAB_CLUSTER_TOKEN"  # noqa: S105  the name of a variable
JOIN_WITHIN_S = 300.0
MAX_WORKERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One process (`workers` 1, no `bind_host`), several on this machine, or several that join from anywhere.

    `bind_host` None: the workers are ours to start, and the master listens on loopback, on a port that the system picks. `token`: whoever
    has it may join; "" where we start all workers, who are told a fresh one. `web_port`: of locust's own page, on loopback.
    """

    workers: int = 1
    bind_host: str | None = None
    port: int = 0
    token: str = field(default="", repr=False)
    web_port: int | None = None
    join_within_s: float = JOIN_WITHIN_S

    @property
    def is_alone(self) -> bool:
        """True for one process that has no master."""
        return self.workers == 1 and self.bind_host is None and self.web_port is None


def check_token(token: str | None) -> str:
    """A token that may guard a port. Raises InputError saying how to make one."""
    if not token or len(token) < LEAST_TOKEN:
        how = f"export {TOKEN_VARIABLE}=$(openssl rand -hex 16), the same on every machine"
        what = "is missing" if not token else f"has {len(token)} characters of the {LEAST_TOKEN} that it needs"
        raise InputError(f"{what}: it guards the master's port; {how}", key=TOKEN_VARIABLE)
    return token
