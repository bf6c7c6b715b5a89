"""Certificates are verified unless somebody says otherwise: a real handshake, with a certificate made for the test."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadlab.engines.endpoint import TargetUnreachableError
from loadlab.engines.page_fetch import PageError, PageFetcher, parse_page_url
from loadlab.record.request import Outcome
from loadlab.scenario.model import Scenario
from loadlab.schema import read_table
from tests.engines.null_target import TABLE, chat_class, open_loop, replay
from tests.http.fault_server import FaultServer
from tests.http.faults import FAULTS

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not here")
SCENARIO = read_table(Scenario, TABLE | {"load": open_loop(20, 10), "classes": {"chat": chat_class(4, model="ok")}}, "tls")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of localhost, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """TLS before a fault server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with FaultServer(FAULTS) as server, socket.create_server(("127.0.0.1", 0)) as listener:

        def relay(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

        def serve(raw: socket.socket) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as outer:
                inner = socket.create_connection(("127.0.0.1", server.port))
                back = threading.Thread(target=relay, args=(inner, outer), daemon=True)
                back.start()
                relay(outer, inner)
                back.join(5)
                inner.close()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_certificate_that_is_trusted_is_used_and_connections_are_kept(
    tmp_path: Path, certificate: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    rows = replay(SCENARIO, port, tmp_path / "run", scheme="https", host="localhost")
    assert [row.outcome for row in rows] == [Outcome.OK] * 10
    assert all(row.first_token_s is not None and row.output_tokens == 4 for row in rows)


def test_one_that_is_not_trusted_or_for_another_name_stops_the_run(
    tmp_path: Path, certificate: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TargetUnreachableError, match="tls: self-signed certificate"):
        replay(SCENARIO, port, tmp_path / "a", scheme="https", host="localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with pytest.raises(TargetUnreachableError, match="tls: IP address mismatch"):
        replay(SCENARIO, port, tmp_path / "b", scheme="https", host="127.0.0.1")


def test_insecure_takes_any(tmp_path: Path, port: int) -> None:
    rows = replay(SCENARIO, port, tmp_path / "run", scheme="https", host="127.0.0.1", insecure=True)
    assert [row.outcome for row in rows] == [Outcome.OK] * 10


def test_a_metrics_page_is_verified_too(port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = parse_page_url(f"https://localhost:{port}/metrics")
    with pytest.raises(PageError, match="TLS certificate not verified"):
        PageFetcher(page).fetch()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    fetcher = PageFetcher(page)
    with pytest.raises(PageError, match=r"HTTP 4|not a metrics page"):  # that server has none: but it was asked
        fetcher.fetch()
    fetcher.close()
