"""Types of what `loadlab/__init__.py` imports when it is asked for."""

from loadlab.api import Run as Run
from loadlab.api import break_even as break_even
from loadlab.api import capacity as capacity
from loadlab.api import load_run as load_run
from loadlab.api import run as run
from loadlab.api import simulate as simulate

__version__: str
