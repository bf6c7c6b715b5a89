"""Locust's sockets between master and workers, locked: CurveZMQ encrypts them, and whoever has not the token is not heard at all.

ZeroMQ's own port takes any peer, and locust's messages say who they are from. Here both ends make the server's key pair from the token:
a handshake needs the server's public key, which nobody sends, so that having it proves the token. What fails the handshake never becomes
a message; it is counted. Of those who have the token, a message that is none, or that comes in another's name, is dropped and counted.
"""

from __future__ import annotations

import hashlib
from typing import Any

import gevent
import zmq.green as zmq
from locust.rpc import Message, zmqrpc
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

MAX_MESSAGE_BYTES = 2**26
_SALT = b"loadlab cluster 1"
_FAILED = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH


class Tally:
    """What was not heard."""

    def __init__(self) -> None:
        self.refused = 0  # handshakes that failed: other tokens, and what speaks no CurveZMQ
        self.malformed = 0  # messages of peers with the token that were none of locust's, or in another's name


def lock(token: str) -> Tally:
    """From here on the runners of this process use locked sockets. Before any runner is made; returns what they count."""
    tally, (public, secret) = Tally(), key_pair(token)

    class Server(zmqrpc.Server):
        """The master's end."""

        def __init__(self, host: str, port: int) -> None:
            zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
            self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
            self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a worker whose network came back is the same worker
            self.socket.curve_secretkey, self.socket.curve_publickey, self.socket.curve_server = secret, public, True
            _count_failures(self.socket, tally)
            self.port = self.socket.bind_to_random_port(f"tcp://{host}") if port == 0 else _bind(self.socket, host, port)

        def recv_from_client(self) -> tuple[str, Message]:
            """The next message that is one."""
            while True:
                frames = self.socket.recv_multipart()
                try:
                    sender, message = frames[0].decode(), Message.unserialize(frames[1])  # type: ignore[no-untyped-call]
                    is_sound = message.node_id == sender and isinstance(message.type, str)
                except Exception:  # msgpack raises many kinds
                    is_sound = False
                if is_sound:
                    return sender, message
                tally.malformed += 1

    class Client(zmqrpc.Client):
        """A worker's end."""

        def __init__(self, host: str, port: int, identity: str) -> None:
            zmqrpc.BaseSocket.__init__(self, zmq.DEALER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
            self.socket.setsockopt(zmq.IDENTITY, identity.encode())
            self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
            self.socket.setsockopt(zmq.LINGER, 1000)
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = public
            _count_failures(self.socket, tally)
            self.socket.connect(f"tcp://{host}:{port}")

    vars(zmqrpc).update(Server=Server, Client=Client)
    return tally


def key_pair(token: str) -> tuple[bytes, bytes]:
    """(public, secret) key of the master, in Z85. scrypt makes guessing tokens dear: some 50 ms a guess."""
    secret = z85.encode(hashlib.scrypt(token.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32))
    return zmq.curve_public(secret), secret


def _bind(socket: Any, host: str, port: int) -> int:
    socket.bind(f"tcp://{host}:{port}")
    return port


def _count_failures(socket: Any, tally: Tally) -> None:
    monitor = socket.get_monitor_socket(_FAILED)

    def count() -> None:
        while True:
            if parse_monitor_message(monitor.recv_multipart())["event"] & _FAILED:
                tally.refused += 1

    gevent.spawn(count)
