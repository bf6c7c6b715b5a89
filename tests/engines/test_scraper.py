"""Metrics pages over real sockets: good ones, and every way in which a page may be bad. None of them may raise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from loadlab.engines.page_fetch import PageError, PageFetcher, parse_page_url
from loadlab.engines.scraper import Scraper
from loadlab.errors import InputError

GOOD = "vllm:num_requests_running 3\nvllm:request_success_total 10\n"


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked += 1
        if self.path == "/slow":
            time.sleep(0.4)
        status, headers, body = {
            "/metrics": (200, {}, GOOD.replace("10", str(10 * server.asked))),
            "/moved": (307, {"Location": "/metrics"}, ""),
            "/away": (307, {"Location": "http://192.0.2.1/metrics"}, ""),
            "/other-port": (307, {"Location": "http://127.0.0.1:1/metrics"}, ""),
            "/round": (302, {"Location": "/round"}, ""),
            "/html": (200, {}, "<!doctype html>\n" + GOOD),
            "/json": (200, {}, '{"detail": "no"}'),
            "/huge": (200, {}, "# x\n" * 1000),
            "/slow": (200, {}, GOOD),
        }.get(self.path, (404, {}, "no"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def _server() -> Iterator[ThreadingHTTPServer]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.asked = 0
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _fetcher(server: ThreadingHTTPServer, path: str, **limits: Any) -> PageFetcher:
    return PageFetcher(parse_page_url(f"http://127.0.0.1:{server.server_port}{path}"), **limits)


def test_a_page_comes_again_and_again_over_one_connection() -> None:
    with _server() as server:
        fetcher = _fetcher(server, "")
        assert [fetcher.fetch().split()[-1] for _ in range(3)] == ["10", "20", "30"]
        assert fetcher._connection is not None
        fetcher.close()


def test_a_redirect_within_the_host_is_followed_and_remembered() -> None:
    with _server() as server:
        fetcher = _fetcher(server, "/moved")
        assert fetcher.fetch().startswith("vllm:")
        fetcher.fetch()
        assert server.asked == 3  # type: ignore[attr-defined]  # the second page needed one request
        fetcher.close()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/away", "redirected elsewhere"),
        ("/other-port", "redirected elsewhere"),
        ("/round", "redirected too often"),
        ("/html", "not a metrics page"),
        ("/json", "not a metrics page"),
        ("/gone", "HTTP 404"),
        ("/huge", "larger than 0 MiB"),
        ("/slow", "timeout"),
    ],
)
def test_a_bad_page_is_an_error_with_a_reason(path: str, why: str) -> None:
    with _server() as server:
        fetcher = _fetcher(server, path, max_bytes=1024, within_s=0.1 if path == "/slow" else 5.0)
        with pytest.raises(PageError, match=why):
            fetcher.fetch()
        fetcher.close()


def test_nobody_listens() -> None:
    with _server() as server:
        fetcher = _fetcher(server, "/metrics")
    with pytest.raises(PageError, match="refused"):
        fetcher.fetch()


@pytest.mark.parametrize("url", ["http://user:hunter2@h/metrics", "http://h/metrics?key=hunter2", "ftp://user:hunter2@h", "user:hunter2@h"])
def test_a_secret_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_page_url(url)
    assert "hunter2" not in str(caught.value)


class _Sink:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def append_timeline(self, rows: Any) -> None:
        self.rows += rows


def test_rows_begin_with_the_run_and_count_all_that_came_after_the_first_page() -> None:
    with _server() as server:
        pages = [parse_page_url(f"http://127.0.0.1:{server.server_port}{path}") for path in ("/metrics", "/html")]
        scraper, sink = Scraper(pages, every_s=0.05), _Sink()
        scraper.begin()
        zero_s = time.monotonic()
        time.sleep(0.12)
        scraper.hand_over(sink, float("inf"))  # type: ignore[arg-type]
        assert sink.rows == []  # second 0 is not known
        scraper.end(sink, zero_s)  # type: ignore[arg-type]
    good = [row for row in sink.rows if "failed" not in row]
    bad = [row for row in sink.rows if "failed" in row]
    assert good[0]["t_s"] == 0.0
    ends = [row["t_s"] + row["dt_s"] for row in good]
    assert [row["t_s"] for row in good[1:]] == pytest.approx(ends[:-1], abs=2e-6)
    assert all(row["finished"] % 10 == 0 and row["finished"] > 0 for row in good)
    assert {row["failed"] for row in bad} == {"not a metrics page"}
    assert all(row["dt_s"] > 0 for row in sink.rows)


def test_a_server_that_never_answers_does_not_hold_the_end() -> None:
    with _server() as server:
        scraper, sink = Scraper([parse_page_url(f"http://127.0.0.1:{server.server_port}/slow")], every_s=0.05), _Sink()
        scraper.begin()
        zero_s = time.monotonic()
        scraper.end(sink, zero_s)  # type: ignore[arg-type]
        assert time.monotonic() - zero_s < 3.0
