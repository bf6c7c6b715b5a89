"""Text files line by line in bounded memory, gzip included: a cut archive, bytes that are no text, a line without end are errors."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.rows import Lines
from loadlab.schema import shown_path

MAX_LINE_CHARS = 4096
MAX_LONG_LINE_CHARS = 4 * 2**20  # of a format whose rows list the blocks of a prompt: a million tokens in blocks of 16
GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """The file's text, unpacked where it is gzip by its first bytes. Raises InputError on whatever goes wrong, here or inside."""
    source = shown_path(path)
    try:
        with path.open("rb") as raw:
            is_gzip = raw.peek(2)[:2] == GZIP_MAGIC
            unpacked = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline=None) as text:
                yield text
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text; expected a trace, such as a CSV", source=source) from None
    except FileNotFoundError:
        raise InputError("does not exist", source=source) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"is a damaged gzip file ({error}): fetch it again", source=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=source) from None


def share_read(text: io.TextIOBase) -> Callable[[int], float]:
    """Asks how much of the file behind an opened text was read, from 0 to 1, whatever the rows; of a gzip file as it is packed."""
    raw: Any = text.buffer  # type: ignore[attr-defined]
    raw = raw.fileobj if isinstance(raw, gzip.GzipFile) else raw
    size = max(1, os.fstat(raw.fileno()).st_size)
    return lambda _: float(raw.tell() / size)


def numbered(text: io.TextIOBase, source: str) -> Lines:
    """Numbered lines without their ends; blank ones are skipped. Raises InputError on a line that is too long for its format."""
    number, most = 0, MAX_LONG_LINE_CHARS
    try:
        while chunk := text.readline(most):
            number += 1
            if len(chunk) >= most:
                raise InputError(f"is longer than {most} characters; is this a trace?", source=source, key=f"line {number}")
            if line := chunk.strip():
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"is the last whole one, for the gzip file is damaged after it ({error})", source=source, key=f"line {number}"
        ) from None
    except UnicodeDecodeError:
        where = {"source": source, "key": f"line {number}"} if number else {"source": source}
        words = "is followed by bytes that are not UTF-8 text" if number else "is not UTF-8 text; expected a trace, such as a CSV"
        raise InputError(words, **where) from None


def short(lines: Lines, source: str) -> Lines:
    """The lines of a format whose rows are short. Raises InputError at a longer one."""
    for number, line in lines:
        if len(line) >= MAX_LINE_CHARS:
            raise InputError(f"is longer than {MAX_LINE_CHARS} characters; is this a trace?", source=source, key=f"line {number}")
        yield number, line
