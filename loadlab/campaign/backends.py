"""Where joblib runs its jobs: every core here, or a dask or ray cluster that exists, through joblib's own backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from loadlab.errors import InputError
from loadlab.schema import shown


@contextmanager
def joblib_backend(url: str | None) -> Iterator[None]:
    """Sends joblib's jobs to `url` meanwhile. Raises InputError on a scheme that is not known, or a package that is not installed."""
    if url is None:
        yield
        return
    scheme, _, address = url.partition("://")
    try:
        if scheme == "dask":
            from distributed import Client  # type: ignore[import-not-found]

            with Client(f"tcp://{address}", timeout=10), joblib.parallel_config("dask"):
                yield
        elif scheme == "ray":
            import ray  # type: ignore[import-not-found]
            from ray.util.joblib import register_ray  # type: ignore[import-not-found]

            ray.init(address=f"ray://{address}")
            register_ray()
            with joblib.parallel_config("ray"):
                yield
        else:
            raise InputError(f"= {shown(url)} must be dask://HOST:PORT or ray://HOST:PORT", key="--backend")
    except ImportError as error:
        raise InputError(
            f"= {shown(url)} needs a package that is not installed ({error.name}): pip install {error.name}", key="--backend"
        ) from None
    except OSError as error:
        raise InputError(f"= {shown(url)} cannot be reached: {error}", key="--backend") from None
