"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from loadlab.errors import InputError


def save_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` through a sibling and a rename, so that a reader sees the old file or the new one, never a piece.

    A kill at any moment leaves `path` as it was, or as it shall be. Raises InputError where the file cannot be written.
    """
    sibling = path.with_name(f".{path.name}.new")
    try:
        sibling.write_bytes(data)
        sibling.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; one that exists is fine. Raises InputError where it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError("exists and is a file; choose another --out", source=str(path)) from None
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> InputError:
    """The message for an operating system's refusal, naming the file."""
    reason = error.strerror or os.strerror(error.errno or 0)
    return InputError(f"cannot be written: {reason}. Choose another --out, or make room or permission there", source=str(path))
