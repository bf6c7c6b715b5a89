"""Runs of other tools as run directories: the same rows, and a manifest that says what they are not."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from loadlab.campaign.imports.aiperf import read_aiperf
from loadlab.campaign.imports.foreign import ForeignRun, read_bytes
from loadlab.campaign.imports.guidellm import read_guidellm
from loadlab.campaign.imports.k6 import read_k6
from loadlab.campaign.imports.locust_log import read_locust
from loadlab.campaign.imports.vllm_bench import read_vllm_bench
from loadlab.errors import InputError
from loadlab.record.manifest import HostFacts, Manifest, Status, load_versions
from loadlab.record.run_dir import RunDir
from loadlab.report.imported import IMPORTED
from loadlab.report.summary import dump_summary, summarise_run
from loadlab.report.text import clean_tree


class Tool(StrEnum):
    """Whose results can be read."""

    GUIDELLM = "guidellm"
    AIPERF = "aiperf"
    VLLM_BENCH = "vllm-bench"
    K6 = "k6"
    LOCUST = "locust"


_READERS: Mapping[Tool, Callable[[Path], list[ForeignRun]]] = {
    Tool.GUIDELLM: read_guidellm,
    Tool.AIPERF: read_aiperf,
    Tool.VLLM_BENCH: read_vllm_bench,
    Tool.K6: read_k6,
    Tool.LOCUST: read_locust,
}


def import_file(tool: Tool, path: Path, out: Path, host: HostFacts) -> list[tuple[ForeignRun, RunDir]]:
    """Each run of a file as a run directory: `out` itself of one, `out`/1-NAME, `out`/2-NAME .. of several.

    Raises InputError, naming file and line or key, before anything is written.
    """
    runs = _READERS[tool](path)
    digest = f"sha256:{hashlib.sha256(read_bytes(path)).hexdigest()}"
    if len(runs) > 1 and out.exists():
        raise InputError("exists, and the file holds several runs: choose another --out", source=str(out))
    found = []
    for number, run in enumerate(runs, 1):
        where = out if len(runs) == 1 else out / f"{number}-{run.name}"
        found.append((run, _record(tool, path, run, f"{digest}#{number}", where, host)))
    return found


def _record(tool: Tool, path: Path, run: ForeignRun, digest: str, out: Path, host: HostFacts) -> RunDir:
    began = None if run.began_s is None else datetime.datetime.fromtimestamp(run.began_s, datetime.UTC).isoformat(timespec="seconds")
    facts = {"tool": tool.value, "file": path.name, "loop": run.loop.value, "said": dict(run.facts), "notes": list(run.notes)}
    manifest = Manifest(
        status=Status.RUNNING,
        name=run.name,
        scenario=clean_tree({"name": run.name, "imported_from": tool.value, "load": {"kind": run.loop.value}}),
        scenario_digest=None,
        plan_digest=digest,
        planned=len(run.records),
        seed=0,
        target=run.target,
        engine=IMPORTED,
        conditions=[clean_tree(facts)],
        versions=load_versions(),
        host=replace(host, t0=began or host.t0),
    )
    with RunDir.create(out, manifest) as directory:
        directory.append(run.records)
        directory.finalise(len(run.records))
        directory.save_summary(dump_summary(summarise_run(directory)))
    return directory
