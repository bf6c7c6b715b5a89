"""One request before all others: does the target answer, take the key, know the model, and the fields that we send?"""

from __future__ import annotations

import time

import gevent
import numpy as np

from loadlab.engines.locust_child.clock import Clock
from loadlab.engines.locust_child.connection import Connector
from loadlab.engines.locust_child.exchange import Exchange, GivenUp
from loadlab.engines.locust_child.requests import ReadyRequest, RequestMaker
from loadlab.engines.messages import Job
from loadlab.record.request import Cause, Outcome
from loadlab.scenario.plan import RequestKind, RequestPlan
from loadlab.wire.answer import Answer, Ending
from loadlab.wire.openai import without_refused_field

PATIENCE_S = 60.0  # a cold model takes long to say its first word
SERVER_ERRORS = 500
NOT_IMPLEMENTED = 501  # llama.cpp's server without --embeddings: no failure, and it will not get better
_FATAL = (Outcome.CONNECTION_ERROR, Outcome.HTTP_ERROR, Outcome.NOT_SENT)


class Refusal(Exception):  # noqa: N818  what a target said
    """Why a run makes no sense."""


def try_target(job: Job, plan: RequestPlan, maker: RequestMaker, connector: Connector) -> list[str]:
    """Asks each model of the plan for one token, in each way that the plan will. Returns what a person should know; raises Refusal.

    An overloaded server (429, 503), one that is slow, and one that failed by itself (5xx) are what a load test is for.
    """
    notes: list[str] = []
    ways = np.unique(np.stack([plan.traffic_class.codes, plan.model.codes, plan.kind.codes]), axis=1).T
    for class_code, model_code, kind_code in ways.tolist():
        names = plan.traffic_class.names[class_code], plan.model.names[model_code], RequestKind(plan.kind.names[kind_code])
        _try(job, *names, maker, connector, notes)
    return notes


def _try(job: Job, traffic_class: str, model: str, kind: RequestKind, maker: RequestMaker, connector: Connector, notes: list[str]) -> None:
    while (request := maker.trial(traffic_class, model, kind)) is not None:
        answer = _ask(request, connector)
        if answer.outcome is Outcome.OK:
            return
        said = _words(job, answer)
        simpler = without_refused_field(maker.options, answer.error or "") if answer.http_status in (400, 422) else None
        if simpler is not None:
            maker.options = simpler
            notes.append(f"the target refused a field ({said}): it is left out, so that answers may be shorter than planned")
        elif answer.outcome in _FATAL and not _may_pass(answer.http_status):
            raise Refusal(f"asked model {job.models[model]!r} for one token ({kind}) and got {said}{_remedy(job, answer)}")
        else:
            is_keyless = job.api_key is None and answer.http_status == SERVER_ERRORS  # LiteLLM's whole answer to a missing key
            keyless = "; no API key is sent, --api-key-env would name one" if is_keyless else ""
            notes.append(f"the first request to model {job.models[model]!r} was answered with {said}{keyless}")
            return


def _remedy(job: Job, answer: Answer) -> str:
    """What to do about a refusal, where it is plain."""
    if answer.cause is Cause.TLS:
        return ". SSL_CERT_FILE=FILE names a certificate to trust; --insecure verifies none"
    if answer.http_status in (401, 403):
        return ". No API key was sent: --api-key-env names one" if job.api_key is None else ". An API key was sent"
    return ""


def _may_pass(http_status: int | None) -> bool:
    """True for a failure of the server itself, which a load test may go on to measure."""
    return http_status is not None and http_status >= SERVER_ERRORS and http_status != NOT_IMPLEMENTED


def _words(job: Job, answer: Answer) -> str:
    status = "" if answer.http_status is None else f"HTTP {answer.http_status}, "
    words = f"{status}{answer.cause or answer.outcome}" + (f": {answer.error.rstrip('.')}" if answer.error else "")
    return words if job.api_key is None else words.replace(job.api_key, "[API key]")


def _ask(request: ReadyRequest, connector: Connector) -> Answer:
    clock = Clock(time.monotonic())
    exchange = Exchange(request.reader, clock)
    timer = gevent.Timeout.start_new(PATIENCE_S, GivenUp(Ending.DEADLINE))
    try:
        how, ended_s = exchange.run(connector, request.data, timer.close)
    except GivenUp as given_up:
        how, ended_s = given_up.how, clock.now_s()
    finally:
        timer.close()
    return request.reader.end(how, ended_s, exchange.error)
