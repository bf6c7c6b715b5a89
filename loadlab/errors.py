"""The one family of exceptions that a person is meant to read.

Raised where the input is read, caught once in `cli/app.py`, which prints the message and exits with `exit_code`.
Anything else that escapes is our bug and exits 1 with a traceback.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller. A gate never passes on INCOMPLETE or INVALID."""

    OK = 0
    BUG = 1
    BAD_INPUT = 2
    UNREACHABLE = 96
    INCOMPLETE = 97
    INVALID = 98
    THRESHOLD_FAILED = 99
    INTERRUPTED = 130


class LoadlabError(Exception):
    """Base of every error that carries a message for people and an exit code for machines."""

    exit_code: ExitCode = ExitCode.BAD_INPUT


class InputError(LoadlabError):
    """A file, key or value that cannot be used: says where it is, what it is, what is allowed, what to do.

    `source` is a file or a flag, `key` a dotted path inside it; either may be None where it means nothing.
    """

    def __init__(self, problem: str, *, source: str | None = None, key: str | None = None) -> None:
        self.problem, self.source, self.key = problem, source, key
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{key} {problem}" if key else f"{where}{problem}")


class RunInterruptedError(LoadlabError):
    """The user asked to stop; everything recorded so far has been kept."""

    exit_code = ExitCode.INTERRUPTED
