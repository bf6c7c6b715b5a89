"""Answers recorded from real servers, where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "captures"
WHY_SKIPPED = "the recorded answers (../shared/data/captures) are not at hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One recorded answer: status line, headers, and the body with its transfer coding taken off."""

    name: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def streams(self) -> bool:
        return dict(self.headers).get("content-type", "").startswith("text/event-stream")


def load(path: Path) -> Capture | None:
    """The answer in a file; None if it holds no status line (metrics pages are stored bare)."""
    raw = path.read_bytes()
    if not raw.startswith(b"HTTP/"):
        return None
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().splitlines()
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Capture(name=f"{path.parent.name}/{path.stem}", status=int(first.split()[1]), headers=headers, body=body)


def all_captures() -> list[Capture]:
    """Every recorded answer, by name; none where the folder is absent."""
    found = [load(path) for path in sorted(FOLDER.glob("*/*.txt"))]
    return [capture for capture in found if capture is not None]


CAPTURES = all_captures()
STREAMS = [capture for capture in CAPTURES if capture.streams]
