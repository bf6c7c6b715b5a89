"""Whether an engine is up, and whether it takes new sequences: two things that faults, autoscaling and death change, each for itself."""

from __future__ import annotations


class Service:
    """Up or down; open or closed to new sequences. `closed` is the cluster's set of replicas that take none."""

    __slots__ = ("_closed", "_dead_until_ps", "_index", "_is_drained", "_is_retiring", "is_up")

    def __init__(self, index: int, closed: set[int]) -> None:
        self.is_up = True
        self._index = index
        self._closed = closed
        self._is_drained = self._is_retiring = False  # by a fault; by autoscaling
        self._dead_until_ps = 0

    @property
    def is_open(self) -> bool:
        """Up, and takes new sequences."""
        return self._index not in self._closed

    def drain(self, is_drained: bool) -> None:
        """A fault keeps new sequences away, or no longer."""
        self._is_drained = is_drained
        self._open_or_close()

    def retire(self, is_retiring: bool) -> None:
        """Autoscaling keeps new sequences away, or no longer."""
        self._is_retiring = is_retiring
        self._open_or_close()

    def die(self, ready_ps: int) -> None:
        """Dead until `ready_ps`, or longer if it was so already."""
        self._dead_until_ps = max(ready_ps, self._dead_until_ps)

    def stop(self, ready_ps: int) -> int:
        """Down; returns when it is ready again: at `ready_ps`, or later if it is dead until then."""
        self.is_up = False
        self._closed.add(self._index)
        return max(ready_ps, self._dead_until_ps)

    def start(self) -> None:
        """Up again."""
        self.is_up = True
        self._open_or_close()

    def _open_or_close(self) -> None:
        if self.is_up and not self._is_drained and not self._is_retiring:
            self._closed.discard(self._index)
        else:
            self._closed.add(self._index)
