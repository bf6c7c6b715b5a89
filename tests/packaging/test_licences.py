"""What a user installs with loadlab is under licences that let a company use it; each distribution says which in its own metadata."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "requirements.lock"
NAMES = sorted(set(re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(), re.MULTILINE)))
# Permissive ones, and MPL-2.0, whose copyleft is per file: we change none of those files.
ALLOWED = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|MPL|Mozilla Public|ZPL|HPND)\b|License agreement for matplotlib",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b(A?GPL|LGPL|SSPL|BUSL|Commons Clause|Proprietary)\b|(?<!Lesser )General Public License", re.IGNORECASE)


def said_by(name: str) -> str:
    """The licence in the words of its metadata: the expression, else the classifiers, else the free text's beginning."""
    found = metadata.metadata(name)
    classifiers = [line for line in found.get_all("Classifier") or [] if line.startswith("License ::")]
    return found.get("License-Expression") or "; ".join(classifiers) or (found.get("License") or "")[:200]


@pytest.mark.parametrize("name", NAMES)
def test_its_licence_may_be_used(name: str) -> None:
    try:
        said = said_by(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed on this platform")
    assert ALLOWED.search(said), f"{name}: {said!r} is not among the licences that were looked at"
    assert not REFUSED.search(said), f"{name}: {said!r}"


def test_ours_is_in_the_package() -> None:
    found = metadata.metadata("loadlab")
    assert found["License-Expression"] == "Apache-2.0"
    assert found.get_all("License-File") == ["LICENSE"]
