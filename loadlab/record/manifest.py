"""What was asked of a run, under which conditions, and how far it came: `manifest.json`."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from loadlab import __version__
from loadlab.errors import InputError
from loadlab.record.atomic_file import save_bytes

MANIFEST_SCHEMA = "loadlab/manifest/1"
MANIFEST_FILE = "manifest.json"


class Status(StrEnum):
    """How far a run came."""

    RUNNING = "running"  # begun; if no process works on it, it was killed
    COMPLETE = "complete"  # every planned request has a row, and the engine knows what became of it
    INCOMPLETE = "incomplete"  # the engine ended without rows for some requests: they are UNKNOWN
    ABORTED = "aborted"  # somebody stopped it: requests without a row are NOT_SENT


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Where and when it ran: the only block in which two equal runs may differ."""

    t0: str  # wall time of the run's second 0, ISO 8601
    argv: tuple[str, ...]  # the command that made it
    hostname: str
    platform: str
    git_commit: str | None  # of loadlab's own source, where that is a git checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Every condition of a run. Equal manifests but for `host` mean equal runs, on the simulated backend."""

    status: Status
    name: str
    scenario: Mapping[str, Any]  # as written
    scenario_digest: str | None
    plan_digest: str
    planned: int
    seed: int
    target: str
    engine: str  # simulation, locust
    conditions: Sequence[Mapping[str, Any]]  # one per pool: model, quantisation, sharding, GPU, interconnect, limits ..
    versions: Mapping[str, str]
    host: HostFacts
    target_seed: int | None = None  # of the simulated target's own noise and drawn choices, where that is not `seed`: pairs of a gate
    client: Mapping[str, Any] | None = None  # `ClientFacts` of a run over HTTP, once it has ended

    def with_client(self, client: Mapping[str, Any], t0: str | None) -> Manifest:
        """The same manifest with what the load generator says of itself; `t0` replaces the time at which the run was begun."""
        host = self.host if t0 is None else dataclasses.replace(self.host, t0=t0)
        return dataclasses.replace(self, client=client, host=host)

    def with_status(self, status: Status) -> Manifest:
        """The same manifest, further on."""
        return dataclasses.replace(self, status=status)


def load_versions() -> dict[str, str]:
    """Versions of what computes the numbers: loadlab, Python, numpy."""
    return {"loadlab": __version__, "python": platform.python_version(), "numpy": np.__version__}


def load_host_facts(t0: str, argv: Sequence[str]) -> HostFacts:
    """Facts of this machine; `t0` and `argv` are handed in. The commit is None outside a git checkout."""
    return HostFacts(t0=t0, argv=tuple(argv), hostname=platform.node(), platform=platform.platform(), git_commit=_load_git_commit())


def _load_git_commit() -> str | None:
    root, git = Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed command, no shell
    return answer.stdout.strip() or None


def save_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`, whole or not at all."""
    table = {"schema": MANIFEST_SCHEMA} | dataclasses.asdict(manifest)
    save_bytes(directory / MANIFEST_FILE, orjson.dumps(table, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def load_manifest(directory: Path) -> Manifest:
    """The manifest of a run directory. Raises InputError if it is absent, damaged, foreign, or of a later major version."""
    path = directory / MANIFEST_FILE
    table = _load_object(directory, path)
    found = table.get("schema")
    if found != MANIFEST_SCHEMA:
        says = f"= {found!r} is not one that this version reads (it reads {MANIFEST_SCHEMA!r}); is this a loadlab run directory?"
        raise InputError(says, source=str(path), key="schema")
    values = {f.name: _read_field(f.name, table, path) for f in dataclasses.fields(Manifest)}
    return Manifest(**values)


def _load_object(directory: Path, path: Path) -> dict[str, Any]:
    if not directory.is_dir():
        problem = "is a file, not a run directory" if directory.exists() else "does not exist"
        raise InputError(f"{problem}. A run directory is what `loadlab run --out` writes", source=str(directory))
    try:
        table = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"holds no {MANIFEST_FILE}, so it is not a run directory", source=str(directory)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg})", source=str(path)) from None
    if not isinstance(table, dict):
        raise InputError("line 1: is not a JSON object", source=str(path))
    return table


_TYPES: Mapping[str, tuple[type, ...]] = {
    "name": (str,), "scenario": (dict,), "scenario_digest": (str, type(None)), "plan_digest": (str,), "planned": (int,),
    "seed": (int,), "target": (str,), "engine": (str,), "conditions": (list,), "versions": (dict,),
    "target_seed": (int, type(None)), "client": (dict, type(None)),
}  # fmt: skip
_MAY_BE_ABSENT = frozenset({"client", "target_seed"})  # written by later versions of the same format


def _read_field(name: str, table: Mapping[str, Any], path: Path) -> Any:
    if name not in table and name in _MAY_BE_ABSENT:
        return None
    if name not in table:
        raise InputError("is missing; the file is damaged or was written by another program", source=str(path), key=name)
    value = table[name]
    if name == "status":
        if value not in list(Status):
            raise InputError(f"= {value!r} must be one of {', '.join(Status)}", source=str(path), key=name)
        return Status(value)
    if name == "host":
        return _read_host(value, path)
    if type(value) not in _TYPES[name] or (name == "planned" and value < 0):
        allowed = " or ".join("null" if t is type(None) else t.__name__ for t in _TYPES[name])
        raise InputError(f"= {value!r} must be {allowed}{' >= 0' if name == 'planned' else ''}", source=str(path), key=name)
    return value


def _read_host(value: Any, path: Path) -> HostFacts:
    names = [f.name for f in dataclasses.fields(HostFacts)]
    if not isinstance(value, dict) or not all(name in value for name in names) or not isinstance(value["argv"], list):
        raise InputError(f"must be an object with {', '.join(names)}", source=str(path), key="host")
    facts: dict[str, Any] = {name: value[name] for name in names}
    return HostFacts(**facts | {"argv": tuple(map(str, facts["argv"]))})
