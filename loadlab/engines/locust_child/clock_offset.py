"""How much a worker's clock is ahead of the master's, by round trips, and how wrong that may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ClockOffset:
    """Of one worker. `is_shared`: both read the same clock, so that nothing has to be measured; it is all the same.

    A pong stamped `at` between ping `p` and return `r` shows an offset in [at - r, at - p] (NTP, RFC 5905 section 8, without its
    filters): its middle is right within half the round trip, whatever the two ways took. The shortest trip says most.
    """

    is_shared: bool
    best_trip_s: float | None = None
    measured_s: float = 0.0
    trips: int = 0
    last_s: float = 0.0
    last_bound_s: float = 0.0

    def add(self, pinged_s: float, at_s: float, returned_s: float) -> None:
        """One round trip. Raises ValueError or TypeError where it is none."""
        trip_s = returned_s - pinged_s
        if not 0 <= trip_s < 60:
            raise ValueError("no round trip")
        self.trips += 1
        self.last_s, self.last_bound_s = at_s - (pinged_s + returned_s) / 2, trip_s / 2
        if self.best_trip_s is None or trip_s < self.best_trip_s:
            self.best_trip_s, self.measured_s = trip_s, self.last_s

    @property
    def offset_s(self) -> float:
        """To add to the master's CLOCK_MONOTONIC for the worker's."""
        return 0.0 if self.is_shared else self.measured_s

    @property
    def bound_s(self) -> float | None:
        """The offset is right within it; None before the first round trip."""
        return 0.0 if self.is_shared else None if self.best_trip_s is None else self.best_trip_s / 2

    def facts(self) -> dict[str, float | int | bool | None]:
        """For the run's manifest."""
        return {
            "is_shared": self.is_shared,
            "offset_s": self.offset_s,
            "bound_s": self.bound_s,
            "measured_offset_s": self.measured_s,
            "round_trip_s": self.best_trip_s,
            "round_trips": self.trips,
        }
