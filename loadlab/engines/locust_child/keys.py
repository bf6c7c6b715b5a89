"""The master's CurveZMQ keys, made of the token."""

from __future__ import annotations

import hashlib

import zmq
from zmq.utils import z85

_SALT = b"loadlab cluster 1"


def key_pair(token: str) -> tuple[bytes, bytes]:
    """(public, secret) key of the master, in Z85. scrypt (RFC 7914) makes guessing tokens dear: some 50 ms a guess."""
    secret = z85.encode(hashlib.scrypt(token.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32))
    return zmq.curve_public(secret), secret
