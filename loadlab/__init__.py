"""loadlab: random and bursty LLM traffic on a simulated sharded backend, from one scenario file."""

__version__ = "0.1.0"
