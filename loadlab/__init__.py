"""loadlab: load-test an LLM endpoint, or a simulated sharded backend, with one scenario file."""

__version__ = "0.1.0"
