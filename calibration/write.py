"""Writes fitted constants as the TOML that the catalogue reads, three significant digits each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadlab.catalog.specs import HERE, KernelSpec, LinkSpec

HEAD = """# Written by calibration/fit_steps.py: change the script, not the figures. `rows` says how many measured steps of that GPU were
# seen; the formulas that the figures belong to stand in loadlab/simulator/roofline.py. Times in seconds.
"""


def write_kernels(kernels: dict[str, KernelSpec], links: dict[str, LinkSpec], path: Path = HERE / "kernels.toml") -> None:
    """kernels.toml anew; links are printed, to be put into links.toml by hand, since its other rows are nobody's measurement."""
    blocks = [HEAD]
    for name, row in kernels.items():
        blocks.append(_table(name, {"rows": row.rows, "source": row.source, "as_of": row.as_of}))
        for kind in ("gemm", "experts"):
            blocks += [_table(f"{name}.{kind}.{key}", asdict(kernel)) for key, kernel in getattr(row, kind).items()]
        blocks += [_table(f"{name}.attention", asdict(row.attention)), _table(f"{name}.elementwise", asdict(row.elementwise))]
    path.write_text("\n".join(blocks), encoding="utf-8")
    for name, link in links.items():
        print(_table(name, {k: v for k, v in asdict(link).items() if k.startswith(("all_reduce", "bus"))}))


def _table(name: str, values: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_shown(value)}" for key, value in values.items()), ""])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
