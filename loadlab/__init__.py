"""loadlab: random and bursty LLM traffic on a simulated sharded backend or over HTTP, from one scenario file.

From Python: `from loadlab import simulate, run, capacity, break_even, load_run` (docs/python-api.md). They are imported when they are asked
for, so that the command line stays quick.
"""

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "break_even", "capacity", "load_run", "run", "simulate"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("loadlab.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
