"""How much a plan may hold, and the bounds that keep every law inside it.

The simulator counts picoseconds in 62 bits, which is 53 days. A plan may use 30 of them: whatever it says of time, arrivals, think
times after each other and the last timeout, ends by then. The rest is for the time that the target itself takes.
"""

from __future__ import annotations

from loadlab.schema import Bound

MAX_SPAN_S = 30 * 86400
MAX_REQUESTS = 5_000_000  # a plan is kept in memory, at some 150 bytes a request
MAX_SEGMENTS = 20_000_000  # pieces of prompt: a session of n turns that sends its history has n^2 of them
MAX_IMAGES = 5_000_000
MAX_STAYS = 5_000_000  # of an on/off law with random stays, which are drawn one by one
MAX_JUMPS = 1_000_000  # of an MMPP: each looks up which state follows
MAX_CLASSES = 100

Requests = Bound(f"from 1 to {MAX_REQUESTS:,}", lambda x: 1 <= x <= MAX_REQUESTS)
Span = Bound("> 0 and at most 30 days (2,592,000 s)", lambda x: 0 < x <= MAX_SPAN_S)
Delay = Bound(">= 0 and at most 30 days (2,592,000 s)", lambda x: 0 <= x <= MAX_SPAN_S)
Moment = Bound("within 30 days (2,592,000 s) of 0", lambda x: abs(x) <= MAX_SPAN_S)

# A ratio of 10^18 between two rates or two weights says all that float64 can keep apart in a sum.
Rate = Bound("> 0, from 1e-9 to 1e9 a second", lambda x: 1e-9 <= x <= 1e9)
RateOrZero = Bound(">= 0: 0, or from 1e-9 to 1e9 a second", lambda x: x == 0 or 1e-9 <= x <= 1e9)
Weight = Bound("> 0, from 1e-9 to 1e9", lambda x: 1e-9 <= x <= 1e9)
WeightOrZero = Bound(">= 0: 0, or from 1e-9 to 1e9", lambda x: x == 0 or 1e-9 <= x <= 1e9)
