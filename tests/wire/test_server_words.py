"""What the bundled server says of a cause is read back as that cause, as a refusal and as an event within a stream."""

from __future__ import annotations

import json

import pytest

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.server.errors import ApiError, RateLimitedError, context_too_long, of_cause, prompt_too_long
from loadlab.wire.answer import AnswerReader, Ending

SIMULATED = [cause for cause, outcome in OUTCOME_OF.items() if outcome in (Outcome.REJECTED, Outcome.OOM) or cause is Cause.ENGINE_DIED]
TOLD = [
    *[of_cause(cause) for cause in SIMULATED if cause is not Cause.RATE_LIMITED],
    RateLimitedError("too many requests", 1.0),
    prompt_too_long(2048, 2049),
    context_too_long(2048, 2000, 100),
]


@pytest.mark.parametrize("error", TOLD, ids=lambda error: error.message[:30])
def test_the_bundled_servers_words_are_read_back_as_their_cause(error: ApiError) -> None:
    body = json.dumps(error.body).encode()
    refused = AnswerReader()
    refused.head(error.status, [("content-type", "application/json")], 0.0)
    refused.feed(body, 0.0)
    assert refused.end(Ending.COMPLETE, 1.0).cause is error.cause
    cut_off = AnswerReader()
    cut_off.head(200, [("content-type", "text/event-stream")], 0.0)
    cut_off.feed(b"data: " + body + b"\n\ndata: [DONE]\n\n", 0.0)
    assert cut_off.end(Ending.COMPLETE, 1.0).cause is error.cause
