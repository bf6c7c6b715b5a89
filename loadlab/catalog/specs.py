"""The catalogue: GPUs, links and models as rows, each figure in SI base units, with its source and date.

The shipped rows lie in the TOML files beside this; `add_models` and `add_gpus` put a person's own beside them, once, at the start of a
command.
"""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import TypeVar

from loadlab.catalog.engine_spec import EngineSpec as EngineSpec
from loadlab.catalog.kernel_spec import Calibration as Calibration
from loadlab.catalog.kernel_spec import GpuSpec as GpuSpec
from loadlab.catalog.kernel_spec import KernelSpec as KernelSpec
from loadlab.catalog.link_spec import LinkSpec as LinkSpec
from loadlab.catalog.model_spec import ModelSpec as ModelSpec
from loadlab.catalog.model_spec import VisionSpec as VisionSpec
from loadlab.catalog.quantisation import BF16_BYTES as BF16_BYTES
from loadlab.catalog.quantisation import BYTES_PER_WEIGHT as BYTES_PER_WEIGHT
from loadlab.catalog.quantisation import KV_BYTES as KV_BYTES
from loadlab.catalog.quantisation import KvFormat as KvFormat
from loadlab.catalog.quantisation import Quantisation as Quantisation
from loadlab.errors import InputError
from loadlab.schema import read_table, read_toml, shown_path

HERE = Path(__file__).parent

T = TypeVar("T")


@cache
def gpus() -> dict[str, GpuSpec]:
    """Every GPU of the catalogue by name."""
    return _rows(GpuSpec, HERE / "gpus.toml")


@cache
def kernels() -> dict[str, KernelSpec]:
    """Kernel constants by the name that a GPU calls them by."""
    return _rows(KernelSpec, HERE / "kernels.toml")


@cache
def engines() -> dict[str, EngineSpec]:
    """Serving engines by name."""
    return _rows(EngineSpec, HERE / "engines.toml")


@cache
def links() -> dict[str, LinkSpec]:
    """Every link of the catalogue by name."""
    return _rows(LinkSpec, HERE / "links.toml")


@cache
def models() -> dict[str, ModelSpec]:
    """Every model of the catalogue by name."""
    return _rows(ModelSpec, HERE / "models.toml")


def _rows(cls: type[T], path: Path) -> dict[str, T]:
    return {name: read_table(cls, table, path.name, name) for name, table in read_toml(path).items()}


def find(rows: dict[str, T], name: str, *, what: str) -> T:
    """The row called `name`. Raises InputError that lists what the catalogue has."""
    if name not in rows:
        close = [row for row in rows if name and row.startswith(name)] or difflib.get_close_matches(name, rows, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"{what} {name!r} is not in the catalogue; {hint}It has: {', '.join(sorted(rows))}")
    return rows[name]


def add_gpus(path: Path) -> tuple[str, ...]:
    """Adds the GPUs of a TOML file (rows as in gpus.toml) to the catalogue. Returns their names. Raises InputError."""
    source = shown_path(path)
    added: dict[str, GpuSpec] = {}
    for name, table in read_toml(path).items():
        if not isinstance(table, dict):
            raise InputError(f"must be a table: [{name}] and its keys below it", source=source, key=name)
        gpu = read_table(GpuSpec, table, source, name)
        if gpu.kernels not in kernels():
            raise InputError(f"= {gpu.kernels!r} must be one of {', '.join(sorted(kernels()))}", source=source, key=f"{name}.kernels")
        for key, link in (("link", gpu.link), ("node_link", gpu.node_link)):
            if link is not None and link not in links():
                raise InputError(f"= {link!r} must be one of {', '.join(sorted(links()))}", source=source, key=f"{name}.{key}")
        added[name] = gpu
    if not added:
        raise InputError("has no GPU: write a table [NAME] with the keys of `loadlab catalog gpus --json`", source=source)
    gpus().update(added)
    return tuple(added)


def add_models(folder: Path) -> tuple[str, ...]:
    """Adds the models of a folder to the catalogue, each from a Hugging Face config.json. Returns their names. Raises InputError."""
    from loadlab.catalog.hf_config import read_models

    added = read_models(folder)
    models().update(added)
    return tuple(added)


@cache
def shipped_names() -> tuple[frozenset[str], frozenset[str]]:
    """Names of the GPUs and models that come with loadlab, whatever was added since."""
    return frozenset(read_toml(HERE / "gpus.toml")), frozenset(read_toml(HERE / "models.toml"))


AddedRows = tuple[dict[str, GpuSpec], dict[str, ModelSpec]]


def added_rows() -> AddedRows:
    """What a person added, to be handed to other processes."""
    shipped_gpus, shipped_models = shipped_names()
    own_gpus = {name: row for name, row in gpus().items() if name not in shipped_gpus}
    return own_gpus, {name: row for name, row in models().items() if name not in shipped_models}


def put_rows(added: AddedRows) -> None:
    """Adds the rows that another process had."""
    gpus().update(added[0])
    models().update(added[1])
