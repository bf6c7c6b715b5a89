"""Locust's sockets between master and workers, locked: CurveZMQ encrypts them, and whoever has not the token is not heard at all.

ZeroMQ's own port takes any peer, and locust's messages say who they are from. Here both ends make the server's key pair from the token:
a handshake needs the server's public key, which nobody sends, so that having it proves the token. What fails the handshake never becomes
a message; it is counted. Of those who have the token, a message that is none, or that comes in another's name, is dropped and counted.
"""

from __future__ import annotations

from typing import Any

import gevent
import zmq.green as zmq
from locust.rpc import Message, zmqrpc
from locust.runners import MasterRunner
from zmq.utils.monitor import parse_monitor_message

from loadlab.engines.locust_child.keys import key_pair

MAX_MESSAGE_BYTES = 2**26
_OPENED, _SHAKEN = zmq.Event.ACCEPTED | zmq.Event.CONNECTED, zmq.Event.HANDSHAKE_SUCCEEDED


class Tally:
    """What was not heard."""

    def __init__(self) -> None:
        self.opened = 0  # connections, made or taken
        self.shaken = 0  # those whose handshake succeeded
        self.malformed = 0  # messages of peers with the token that were none of locust's, or in another's name

    @property
    def refused(self) -> int:
        """Connections whose handshake did not succeed: other tokens, and what speaks no CurveZMQ."""
        return self.opened - self.shaken


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
            _count(self.socket, tally)
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
            _count(self.socket, tally)
            self.socket.connect(f"tcp://{host}:{port}")

    vars(zmqrpc).update(Server=Server, Client=Client)
    return tally


def guard(runner: MasterRunner, tally: Tally) -> None:
    """A message that locust cannot read does not end the greenlet that listens: it is counted, and the next is read."""
    handle = runner.handle_message

    def handle_guarded(client_id: str, msg: Message) -> None:
        try:
            handle(client_id, msg)
        except Exception:  # whatever a forged message makes locust stumble over
            tally.malformed += 1

    vars(runner)["handle_message"] = handle_guarded


def _bind(socket: Any, host: str, port: int) -> int:
    socket.bind(f"tcp://{host}:{port}")
    return port


def _count(socket: Any, tally: Tally) -> None:
    monitor = socket.get_monitor_socket(_OPENED | _SHAKEN)

    def count() -> None:
        while True:
            event = parse_monitor_message(monitor.recv_multipart())["event"]
            tally.opened += bool(event & _OPENED)
            tally.shaken += bool(event & _SHAKEN)

    gevent.spawn(count)
