"""The log of a server: a run directory that `loadlab report` reads, and beside its rows a record of each request in lake.jsonl.

Append-only. What was said is hashed unless it was asked for; every record says how long it may be kept, and where.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from loadlab.record.atomic_file import cannot_write
from loadlab.record.manifest import HostFacts, Manifest, Status, load_versions, save_manifest
from loadlab.record.request import OUTCOME_OF, Outcome, RequestRecord
from loadlab.record.run_dir import RunDir
from loadlab.server.answers import Channel
from loadlab.server.errors import ApiError
from loadlab.server.exchange import Asker, Exchange
from loadlab.server.gateway_spec import LakeSpec
from loadlab.server.service import Service
from loadlab.server.spans import spans_of
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.units import PS_PER_S

LAKE_FILE = "lake.jsonl"
LAKE_SCHEMA = "loadlab/lake/1"
ITL_SHARES = (0.5, 0.95, 0.99, 1.0)
NO_ITL = (None,) * len(ITL_SHARES)
MAX_ERROR_CHARS = 300


def manifest_of(cluster: SimulatedCluster, cluster_file: Path, seed: int, speed: float, host: HostFacts) -> Manifest:
    """The conditions of a served run: nobody planned its requests."""
    return Manifest(
        status=Status.RUNNING,
        name=cluster.spec.name,
        scenario={"served": True, "speed": speed},
        scenario_digest=None,
        plan_digest="served",
        planned=0,
        seed=seed,
        target=f"sim:{cluster_file.as_posix()}",
        engine="server",
        conditions=cluster.conditions(),
        versions=load_versions(),
        host=host,
    )


class Lake:
    """Writes one row and one record for each generating request, refused ones included. Watches a service."""

    def __init__(self, path: Path, manifest: Manifest, service: Service, spec: LakeSpec, *, keeps_text: bool) -> None:
        """Makes the directory. Raises InputError if it holds anything. `keeps_text`: prompts and answers themselves."""
        self._run = RunDir.create(path, manifest)
        self._service = service
        self._spec = spec
        self._keeps_text = keeps_text
        self._pipeline = service.real_time.cluster.spec.pipeline
        self._rows: list[RequestRecord] = []  # that wait to be written
        self._records: list[bytes] = []
        self._number = 0
        try:
            self._file: BinaryIO = (path / LAKE_FILE).open("xb")
        except OSError as error:
            raise cannot_write(path, error) from None
        service.watchers.append(self.note_end)

    def note_refusal(self, asker: Asker | None, error: ApiError) -> None:
        """A request that was refused before it came to a model."""
        now_s = self._service.real_time.now_ps / PS_PER_S
        asker = asker or Asker()
        row = RequestRecord(
            seq=self._number,
            traffic_class=asker.traffic_class,
            tier=asker.tier,
            region=asker.region,
            session=asker.session,
            scheduled_s=now_s,
            sent_s=now_s,
            finished_s=now_s,
            outcome=OUTCOME_OF[error.cause],
            cause=error.cause,
            http_status=error.status,
            error=error.message[:MAX_ERROR_CHARS],
        )
        self._note(row, self._record(asker, None, None))

    def note_end(self, exchange: Exchange) -> None:
        """A request is over."""
        self._note(self._row(exchange), self._record(exchange.asker, exchange.id, exchange))

    def _note(self, row: RequestRecord, record: dict[str, Any]) -> None:
        self._number += 1
        self._rows.append(row)
        self._records.append(orjson.dumps({"seq": row.seq, **record}, option=orjson.OPT_APPEND_NEWLINE))

    def _row(self, exchange: Exchange) -> RequestRecord:
        """The request as its client sees it; of several choices the first token of all, the last, and their sum."""
        question, asker, choices = exchange.question, exchange.asker, exchange.choices
        sequences = [choice.sequence for choice in choices]
        cause = exchange.injected or exchange.cause
        first = [choice.times_ps[0] for choice in choices if choice.times_ps]
        last = [choice.times_ps[-1] for choice in choices if choice.times_ps]
        ended = [sequence.ended_ps for sequence in sequences if sequence.ended_ps is not None]
        prompts = {id(choice.prompt): choice for choice in choices}.values()
        replica = next((sequence.replica for sequence in sequences if sequence.replica is not None), None)
        itl = _itl_quantiles_s([after - before for choice in choices for before, after in pairwise(choice.times_ps)])
        return RequestRecord(
            seq=self._number,
            traffic_class=asker.traffic_class,
            kind=question.kind.value,
            model=question.model,
            tier=sequences[0].tier,
            region=asker.region,
            mode=question.mode,
            session=asker.session,
            scheduled_s=sequences[0].arrival_ps / PS_PER_S,
            sent_s=sequences[0].arrival_ps / PS_PER_S,
            first_token_s=min(first) / PS_PER_S if first else None,
            last_token_s=max(last) / PS_PER_S if last else None,
            finished_s=max(ended) / PS_PER_S if ended else None,
            prompt_tokens=sum([choice.prompt.tokens - choice.prompt.image_tokens for choice in prompts]),
            image_tokens=sum([choice.prompt.image_tokens for choice in prompts]),
            cached_prompt_tokens=sum([choice.sequence.cached_tokens for choice in prompts]) if first else None,
            output_tokens=sum([choice.told for choice in choices]),
            outcome=Outcome.OK if cause is None else OUTCOME_OF[cause],
            cause=cause,
            http_status=200 if exchange.error is None or first else exchange.error.status,
            error=None if exchange.error is None else exchange.error.message[:MAX_ERROR_CHARS],
            replica=None if replica is None else self._service.real_time.cluster.replicas[replica].name,
            preemptions=None if replica is None else sum([sequence.preemptions for sequence in sequences]),
            itl_p50_s=itl[0],
            itl_p95_s=itl[1],
            itl_p99_s=itl[2],
            itl_max_s=itl[3],
        )

    def _record(self, asker: Asker, answer_id: str | None, exchange: Exchange | None) -> dict[str, Any]:
        """Who asked, what was said (hashed), where the time went, what the replica was doing, how long this may be kept."""
        now = datetime.datetime.now(datetime.UTC)
        keep_until = now + datetime.timedelta(seconds=min(self._spec.retention_s, 100 * 365 * 86400))
        record: dict[str, Any] = {
            "schema": LAKE_SCHEMA,
            "id": answer_id,
            "at": now.isoformat(timespec="milliseconds"),
            "key": asker.name or None,
            "request_id": asker.request_id,
            "trace": asker.trace,
            "retain_until": keep_until.isoformat(timespec="seconds"),
            "residency": self._spec.residency,
        }
        if exchange is None:
            return record
        prompts = [prompt.text for prompt in exchange.question.prompts]
        answers = [_said("".join(map(choice.answer.text_of, Channel)), choice.told, choice.tokens) for choice in exchange.choices]
        if self._keeps_text:
            record |= {"prompts": prompts, "answers": answers}
        else:
            record |= {"prompts_sha256": [_sha256(text) for text in prompts], "answers_sha256": [_sha256(text) for text in answers]}
        spans = spans_of(exchange.choices[0].sequence, self._pipeline)
        record["spans"] = [dataclasses.asdict(span) for span in spans]
        record["gpu"] = self._gpu_of(exchange)
        return record

    def _gpu_of(self, exchange: Exchange) -> dict[str, Any] | None:
        """What the replica was doing when the request was over."""
        index = exchange.choices[0].sequence.replica
        if index is None:
            return None
        replica = self._service.real_time.cluster.replicas[index]
        batcher = replica.batcher
        return {"replica": replica.name, "running": len(batcher.running), "waiting": batcher.num_waiting, "kv_usage": replica.kv_usage}

    # Writing

    def flush(self) -> None:
        """Writes what was noted. The manifest first, so that whoever looks meanwhile finds no row that it does not count."""
        if not self._rows:
            return
        self._run.manifest = dataclasses.replace(self._run.manifest, planned=self._number)
        save_manifest(self._run.path, self._run.manifest)
        self._run.append(self._rows)
        self._run.flush()
        self._file.writelines(self._records)
        self._file.flush()
        self._rows, self._records = [], []

    def close(self) -> None:
        """Writes the rest, the replicas' state over time, how late tokens were written, and that the run is complete."""
        self.flush()
        self._file.close()
        real_time = self._service.real_time
        self._run.append_timeline(real_time.cluster.timeline_rows())
        late = {f"write_lateness_p{percent}_s": real_time.lateness.quantile_s(percent / 100) for percent in (50, 99)}
        self._run.manifest = self._run.manifest.with_client(late, None)
        self._run.finalise(self._number)


def _itl_quantiles_s(gaps_ps: list[int]) -> tuple[float | None, ...]:
    """p50, p95, p99 (order statistics ceil(p n)) and maximum; None without gaps."""
    if not gaps_ps:
        return NO_ITL
    gaps_ps.sort()
    return tuple([gaps_ps[-int(-share * len(gaps_ps) // 1) - 1] / PS_PER_S for share in ITL_SHARES])


def _said(text: str, told: int, tokens: int) -> str:
    """As much of the answer as was told."""
    return text if told >= tokens else text[: 4 * told]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
