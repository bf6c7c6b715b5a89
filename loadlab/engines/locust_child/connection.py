"""Connections to one endpoint: opened, kept alive and reused, with or without TLS. Reading gives what the socket has, at once."""

from __future__ import annotations

import _socket
import errno
import os
import ssl
from typing import Protocol

from gevent import get_hub

RECEIVE_BYTES = 2**16
_READ, _WRITE = 1, 2


class Connection(Protocol):
    """A byte stream to the endpoint. Every method may suspend the calling greenlet, and only it."""

    uses: int  # requests that it has carried to their end

    def send(self, data: bytes) -> None:
        """Hands all of `data` to the socket. Raises OSError."""

    def receive(self) -> bytes:
        """What the socket has, at least a byte; b"" at its end. Raises OSError."""

    def is_idle(self) -> bool:
        """False if the other side closed it, or said something that nobody asked for."""

    def close(self) -> None:
        """Gives the socket back to the system."""


class PlainConnection:
    """A TCP connection."""

    def __init__(self, family: int, ip: str, port: int) -> None:
        self.uses = 0
        self._socket = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            self._hub = get_hub()
            self._readable = self._hub.loop.io(self._socket.fileno(), _READ)
            self._writable = self._hub.loop.io(self._socket.fileno(), _WRITE)
            self._connect((ip, port))
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, place: tuple[str, int]) -> None:
        code = self._socket.connect_ex(place)
        if code == errno.EINPROGRESS:
            self._hub.wait(self._writable)
            code = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code != 0:
            raise OSError(code, os.strerror(code))

    def send(self, data: bytes) -> None:
        """See Connection."""
        sent = self._try_send(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                self._hub.wait(self._writable)
                rest = rest[self._try_send(rest) :]

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> bytes:
        """See Connection."""
        while True:
            self._hub.wait(self._readable)
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    def is_idle(self) -> bool:
        """See Connection."""
        try:
            self._socket.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """See Connection."""
        self._readable.close()
        self._writable.close()
        self._socket.close()


class TlsConnection:
    """TLS over a TCP connection, by memory buffers: no part of it blocks anyone else."""

    def __init__(self, plain: PlainConnection, context: ssl.SSLContext, host: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        try:
            self._shake_hands()
        except BaseException:
            plain.close()
            raise

    @property
    def uses(self) -> int:
        """See Connection."""
        return self._plain.uses

    @uses.setter
    def uses(self, uses: int) -> None:
        self._plain.uses = uses

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._flush()  # the alert, so that the server's log says why
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._plain.send(self._outgoing.read())

    def _fill(self) -> None:
        data = self._plain.receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send(self, data: bytes) -> None:
        """See Connection."""
        self._tls.write(data)
        self._flush()

    def receive(self) -> bytes:
        """See Connection."""
        while True:
            try:
                return self._tls.read(RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def is_idle(self) -> bool:
        """See Connection."""
        return self._plain.is_idle()

    def close(self) -> None:
        """See Connection."""
        self._plain.close()


class Connector:
    """Opens connections to one endpoint and keeps up to `max_idle` of those that are free, the last used first."""

    def __init__(self, addresses: tuple[tuple[int, str, int], ...], max_idle: int, host: str, context: ssl.SSLContext | None) -> None:
        self._addresses, self._max_idle, self._host, self._context = addresses, max_idle, host, context
        self._idle: list[Connection] = []
        self.opened = 0

    def take(self) -> Connection:
        """A free connection, or a new one. Raises OSError where none can be opened, ssl.SSLError where TLS fails."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle():
                return connection
            connection.close()
        connection = self._open()
        self.opened += 1
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keeps the connection for the next request."""
        connection.uses += 1
        if len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()

    def _open(self) -> Connection:
        """The first address that accepts, and sticks: later connections begin with it."""
        failure: OSError | None = None
        for i, (family, ip, port) in enumerate(self._addresses):
            try:
                plain = PlainConnection(family, ip, port)
            except OSError as error:
                failure = failure or error
                if error.errno in OUT_OF_SOCKETS:
                    raise
                continue
            if i:
                self._addresses = (self._addresses[i], *self._addresses[:i], *self._addresses[i + 1 :])
            return plain if self._context is None else TlsConnection(plain, self._context, self._host)
        assert failure is not None, "an endpoint has an address"
        raise failure


OUT_OF_SOCKETS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})


def tls_context(*, insecure: bool) -> ssl.SSLContext:
    """Verifies against the system's certificates, unless `insecure`; SSL_CERT_FILE and SSL_CERT_DIR name others."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
