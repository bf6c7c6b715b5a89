"""`loadlab catalog`: the GPUs, links and models that a cluster file may name, each with its source and date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loadlab.catalog.specs import GpuSpec, LinkSpec, ModelSpec

app = typer.Typer(
    help="The GPUs, links and models that a cluster file may name, each with its source and date.",
    epilog="Examples:\n\n  loadlab catalog gpus\n\n  loadlab catalog models --json",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="Folder with more models: NAME/config.json or NAME.json, as on the Hugging Face hub.",
        metavar="DIR",
        show_default=False,
    ),
]
GpusOption = Annotated[
    Path | None,
    typer.Option(
        "--gpus",
        help="TOML file with more GPUs: tables with the keys of `loadlab catalog gpus --json`.",
        metavar="FILE",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Every figure of every row, as JSON on stdout.")]


def extend(models: Path | None, gpus: Path | None) -> None:
    """Puts a person's own models and GPUs beside the shipped ones."""
    from loadlab.catalog.specs import add_gpus, add_models

    if gpus is not None:
        add_gpus(gpus)
    if models is not None:
        add_models(models)


@app.command("gpus", epilog="Examples:\n\n  loadlab catalog gpus\n\n  loadlab catalog gpus --gpus mine.toml --json")
def list_gpus(gpus: GpusOption = None, as_json: JsonOption = False) -> None:
    """GPUs: memory, data-sheet peaks without sparsity, and whether their efficiencies were measured."""
    from loadlab.catalog.specs import gpus as rows

    extend(None, gpus)
    _show(rows(), as_json=as_json, columns=("GPU", "memory", "TB/s", "TFLOPS 16/8/4 bit", "kernels", "node"), cells=_gpu_cells)


@app.command("links", epilog="Examples:\n\n  loadlab catalog links\n\n  loadlab catalog links --json")
def list_links(as_json: JsonOption = False) -> None:
    """Links: latency and bandwidth of all-reduce by size of the group, and from one GPU to another."""
    from loadlab.catalog.specs import links as rows

    columns = ("link", "GPUs", "all-reduce us", "bus GB/s", "one GPU to another")
    _show(rows(), as_json=as_json, columns=columns, cells=_link_cells)


@app.command("models", epilog="Examples:\n\n  loadlab catalog models\n\n  loadlab catalog models --models checkpoints/ --json")
def list_models(models: ModelsOption = None, as_json: JsonOption = False) -> None:
    """Models: parameters, those that a token meets, KV of a token, context window, and what is told roughly."""
    from loadlab.catalog.specs import models as rows

    extend(models, None)
    columns = ("model", "parameters", "active", "layers", "attention", "experts", "KV/token", "context")
    _show(rows(), as_json=as_json, columns=columns, cells=_model_cells)


def _show(rows: dict[str, Any], *, as_json: bool, columns: tuple[str, ...], cells: Any) -> None:
    if as_json:
        import orjson

        from loadlab.schema import as_table

        table = {name: as_table(row) | _derived(row) for name, row in rows.items()}
        typer.echo(orjson.dumps({"schema": "loadlab/catalog/1", "rows": table}, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table_shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table_shown.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for name, row in rows.items():
        table_shown.add_row(name, *cells(row))
    console = Console(highlight=False, markup=False)
    console.print(table_shown)
    console.print("\nSources")
    for name, row in rows.items():
        note = getattr(row, "approximation", "")
        console.print(f"  {name}: {row.source} ({row.as_of})" + (f"; told roughly: {note}" if note else ""))


def _derived(row: Any) -> dict[str, Any]:
    """What follows from a row and is asked for as often."""
    from loadlab.catalog.specs import ModelSpec

    if not isinstance(row, ModelSpec):
        return {}
    return {
        "parameters": row.parameters,
        "active_parameters": row.active_parameters,
        "kv_bytes_per_token": row.kv_values_per_token * row.full_layers * 2,
    }


def _gpu_cells(gpu: GpuSpec) -> tuple[str, ...]:
    from loadlab.units import format_bytes

    flops = (gpu.bits16_flops_per_s, gpu.bits8_flops_per_s, gpu.bits4_flops_per_s)
    peaks = " / ".join("-" if peak is None else f"{peak / 1e12:.0f}" for peak in flops)
    node = f"{gpu.gpus_per_node} x {gpu.link or '-'}"
    return (
        format_bytes(gpu.memory_bytes), f"{gpu.memory_bytes_per_s / 1e12:.2f}", peaks, f"{gpu.kernels}, {gpu.calibration}", node,
    )  # fmt: skip


def _link_cells(link: LinkSpec) -> tuple[str, ...]:
    sizes = "/".join(str(size) for size in link.group_sizes)
    latencies = "/".join(f"{latency * 1e6:.3g}" for latency in link.all_reduce_latency_s)
    bandwidths = "/".join(f"{bandwidth / 1e9:.3g}" for bandwidth in link.bus_bytes_per_s)
    point = f"{link.point_latency_s * 1e6:.3g} us, {link.point_bytes_per_s / 1e9:.3g} GB/s"
    return sizes, latencies, bandwidths, point


def _model_cells(model: ModelSpec) -> tuple[str, ...]:
    from loadlab.units import format_bytes

    experts = model.experts
    attention = "latent" if model.latent else "MHA" if model.heads == model.kv_heads else f"GQA {model.heads}:{model.kv_heads}"
    if model.window:
        attention += f" +{model.window.layers}w"
    if model.recurrent:
        attention += f" +{model.recurrent.layers}r"
    kv = format_bytes(model.kv_values_per_token * model.full_layers * 2)
    routed = "-" if experts is None else f"{experts.top_k} of {experts.experts}" + (" + shared" if experts.shared_intermediate else "")
    return (
        f"{model.parameters / 1e9:.1f}B", f"{model.active_parameters / 1e9:.1f}B", str(model.layers), attention, routed, kv,
        f"{model.context_tokens:,}",
    )  # fmt: skip
