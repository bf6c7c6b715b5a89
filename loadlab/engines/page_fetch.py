"""One metrics page over HTTP: verified, capped in size and time, never followed to another host."""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from loadlab.errors import InputError

MAX_PAGE_BYTES = 8 << 20  # a page of 64 engines with all their histograms has some 3 MiB
PAGE_WITHIN_S = 5.0
MAX_REDIRECTS = 2  # vLLM sends /metrics to /metrics/
_PIECE_BYTES = 1 << 16
_DEFAULT_PORT = {"http": 80, "https": 443}
_HEADERS = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "identity", "User-Agent": "loadlab"}


class PageError(Exception):
    """The page did not come, or is none; the text is short and holds nothing that the server said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAddress:
    """Where a metrics page is. `name` is what rows call it; neither has a user, a password or a query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """ "HOST:PORT", and the path where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + ("" if self.path == "/metrics" else self.path)

    @property
    def url(self) -> str:
        """The whole of it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_page_url(text: str) -> PageAddress:
    """ "http://HOST:PORT[/PATH]"; the path is /metrics where there is none. Raises InputError, which never quotes a password."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"= {_safe(text)} is not a URL: {error}. Write http://HOST:PORT/metrics", key="--metrics") from None
    if parts.scheme not in _DEFAULT_PORT or not parts.hostname:
        raise InputError(f"= {_safe(text)} must be http://HOST:PORT/metrics or https://HOST:PORT/metrics", key="--metrics")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise InputError(f"= {shown} carries a user, a password or a query, which would stand in the record: leave it out", key="--metrics")
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    if not path.isascii() or not path.isprintable() or " " in path:
        raise InputError(f"= {_safe(text)} has a path that is not plain ASCII: write it percent-encoded", key="--metrics")
    return PageAddress(scheme=parts.scheme, host=parts.hostname, port=port or _DEFAULT_PORT[parts.scheme], path=path)


def _safe(text: str) -> str:
    """The text without what stands before an @."""
    return repr(text.rpartition("@")[2])


class PageFetcher:
    """A connection that is kept open from page to page. Not for more than one thread."""

    def __init__(self, address: PageAddress, within_s: float = PAGE_WITHIN_S, max_bytes: int = MAX_PAGE_BYTES) -> None:
        self._address, self._within_s, self._max_bytes = address, within_s, max_bytes
        self._path = address.path
        self._connection: http.client.HTTPConnection | None = None

    def fetch(self) -> str:
        """The text of the page. Raises PageError."""
        deadline_s = time.monotonic() + self._within_s
        is_kept = self._connection is not None
        try:
            return self._fetch(deadline_s)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not is_kept:  # a connection that was idle may be closed by the other side at any time: that is no failure
                raise PageError("connection closed") from None
        except TimeoutError:
            raise PageError("timeout") from None
        except ssl.SSLCertVerificationError:
            raise PageError("TLS certificate not verified") from None
        except (OSError, http.client.HTTPException) as error:
            raise PageError("refused" if isinstance(error, ConnectionRefusedError) else "no HTTP answer") from None
        finally:
            if time.monotonic() > deadline_s:
                self.close()
        return self._again(deadline_s)

    def _again(self, deadline_s: float) -> str:
        try:
            return self._fetch(deadline_s)
        except TimeoutError:
            raise PageError("timeout") from None
        except (OSError, http.client.HTTPException):
            raise PageError("connection closed") from None

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fetch(self, deadline_s: float) -> str:
        for _ in range(MAX_REDIRECTS + 1):
            connection = self._connect()
            try:
                connection.request("GET", self._path, headers=_HEADERS)
                answer = connection.getresponse()
                moved = self._moved(answer)
                body = self._body(answer, deadline_s)
            except BaseException:
                self.close()
                raise
            if moved is None:
                return _checked(answer, body)
            self._path = moved
        raise PageError("redirected too often")

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            place = self._address
            if place.scheme == "https":
                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(place.host, place.port, timeout=self._within_s, context=context)
            else:
                self._connection = http.client.HTTPConnection(place.host, place.port, timeout=self._within_s)
        return self._connection

    def _moved(self, answer: http.client.HTTPResponse) -> str | None:
        """The path that a redirect names on the same host, None where it is none. Raises PageError if it leads elsewhere."""
        if answer.status not in (301, 302, 303, 307, 308):
            return None
        there = urlsplit(urljoin(self._address.url, answer.getheader("Location") or ""))
        place = self._address
        port = there.port or _DEFAULT_PORT.get(there.scheme)
        if (there.scheme, there.hostname, port) != (place.scheme, place.host, place.port) or there.query:
            raise PageError("redirected elsewhere")
        return there.path

    def _body(self, answer: http.client.HTTPResponse, deadline_s: float) -> bytes:
        pieces, size = [], 0
        while piece := answer.read1(_PIECE_BYTES):
            size += len(piece)
            if size > self._max_bytes:
                raise PageError(f"larger than {self._max_bytes >> 20} MiB")
            if time.monotonic() > deadline_s:
                raise TimeoutError
            pieces.append(piece)
        answer.close()  # else the connection waits for the rest of an answer that has none
        return b"".join(pieces)


def _checked(answer: http.client.HTTPResponse, body: bytes) -> str:
    if answer.status != http.HTTPStatus.OK:
        raise PageError(f"HTTP {answer.status}")
    if body.lstrip()[:1] in (b"<", b"{", b"["):
        raise PageError("not a metrics page")
    return body.decode("utf-8", "replace")
