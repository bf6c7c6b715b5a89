"""The stages before a cluster is chosen, enacted: who asks, whether it may, whether the prompt is let through.

What these stages cost is the simulator's business ([pipeline] of a cluster file), so that HTTP and in process agree.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping

from loadlab.errors import InputError
from loadlab.server.errors import ApiError, RateLimitedError, UnauthorisedError
from loadlab.server.exchange import Asker
from loadlab.server.gateway_spec import GatewaySpec, KeySpec
from loadlab.server.question import Question

MAX_LABEL_CHARS = 80
BURST_S = 1.0  # of requests
TOKEN_BURST_S = 60.0


class Bucket:
    """A token bucket: `per_s` come in, at most `most` are kept; it is full at first."""

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most = per_s, most
        self._level, self._at_s = most, 0.0

    def take(self, amount: float, now_s: float) -> float | None:
        """None if so much was there, and is gone now; else the seconds until it may be there: infinity if it never is."""
        self._level = min(self._most, self._level + self._per_s * (now_s - self._at_s))
        self._at_s = now_s
        if amount <= self._level:
            self._level -= amount
            return None
        return (amount - self._level) / self._per_s if amount <= self._most else float("inf")

    def put_back(self, amount: float) -> None:
        """Of what was taken, so much was not needed."""
        self._level = min(self._most, self._level + amount)


class _Key:
    """A key and what is left of its quotas."""

    def __init__(self, name: str, spec: KeySpec, digest: bytes) -> None:
        self.name, self.spec, self.digest = name, spec, digest
        self.requests = self.tokens = None
        if (rate := spec.requests_per_s) is not None:
            self.requests = Bucket(rate, spec.burst_requests or max(1.0, rate * BURST_S))
        if (rate := spec.tokens_per_s) is not None:
            self.tokens = Bucket(rate, spec.burst_tokens or rate * TOKEN_BURST_S)


class Gateway:
    """Keys, quotas and the filter of one server. `now_s` tells simulated time."""

    def __init__(self, spec: GatewaySpec, now_s: Callable[[], float], environment: Mapping[str, str] = os.environ) -> None:
        """Raises InputError if a key's environment variable is not set."""
        self._now_s = now_s
        self._keys = [_Key(name, key, _digest_of(name, key, environment)) for name, key in spec.keys.items()]
        self._by_name = {key.name: key for key in self._keys}
        self._max_prompt_tokens = spec.filter.max_prompt_tokens
        self._patterns = [re.compile(pattern, re.IGNORECASE) for pattern in spec.filter.patterns]

    def authenticate(self, headers: Mapping[str, str]) -> Asker:
        """Who asks. Raises ApiError (401) unless the key is one of ours, where there are keys."""
        key = self._key_of(headers)
        session = headers.get("x-loadlab-session", "")
        spec = KeySpec(key_env="-") if key is None else key.spec
        return Asker(
            name="" if key is None else key.name,
            traffic_class=spec.traffic_class or _label(headers, "x-loadlab-class"),
            tier=spec.tier or _label(headers, "x-loadlab-tier"),
            region=spec.region or _label(headers, "x-loadlab-region"),
            session=int(session) if session.isascii() and session.isdigit() and len(session) < 16 else None,
            request_id=_label(headers, "x-request-id"),
            trace=_label(headers, "traceparent"),
        )

    def _key_of(self, headers: Mapping[str, str]) -> _Key | None:
        if not self._keys:
            return None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(secret.strip().encode("latin-1", "replace")).digest()
        found = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if scheme.lower() != "bearer" or not found:
            raise UnauthorisedError
        return found[0]

    def authorise(self, asker: Asker, question: Question) -> None:
        """Charges the asker's quotas. Raises ApiError: 403 where the model is not the key's, 429 where a quota is used up."""
        key = self._by_name.get(asker.name)
        if key is None:
            return
        if key.spec.models and question.model not in key.spec.models:
            words = f"this key may not use {question.model}; it may use {', '.join(key.spec.models)}"
            raise ApiError(403, words, kind="PermissionDeniedError", param="model")
        now_s = self._now_s()
        if key.requests is not None and (wait_s := key.requests.take(1, now_s)) is not None:
            raise RateLimitedError(f"Rate limit reached: {key.spec.requests_per_s:g} requests a second. Please try again later.", wait_s)
        tokens = most_tokens(question)
        if key.tokens is not None and (wait_s := key.tokens.take(tokens, now_s)) is not None:
            if key.requests is not None:
                key.requests.put_back(1)
            raise RateLimitedError(f"Rate limit reached: {key.spec.tokens_per_s:g} tokens a second. Please try again later.", wait_s)

    def is_filtered(self, question: Question) -> bool:
        """Whether the safety filter refuses a prompt of it."""
        if self._max_prompt_tokens is not None and any(prompt.tokens > self._max_prompt_tokens for prompt in question.prompts):
            return True
        return any(pattern.search(prompt.text) for pattern in self._patterns for prompt in question.prompts)


def most_tokens(question: Question) -> int:
    """Prompts, and the most that may be answered to them; of an answer without a limit nothing is charged."""
    return sum([prompt.tokens for prompt in question.prompts]) + (question.max_tokens or 0) * question.choices * len(question.prompts)


def _digest_of(name: str, key: KeySpec, environment: Mapping[str, str]) -> bytes:
    if key.key_sha256 is not None:
        return bytes.fromhex(key.key_sha256)
    assert key.key_env is not None
    secret = environment.get(key.key_env)
    if not secret:
        raise InputError(f"= {key.key_env!r}: this environment variable is not set", key=f"keys.{name}.key_env")
    return hashlib.sha256(secret.encode("latin-1", "replace")).digest()


def _label(headers: Mapping[str, str], name: str) -> str | None:
    value = "".join(c for c in headers.get(name, "")[:MAX_LABEL_CHARS] if c.isprintable())
    return value or None
