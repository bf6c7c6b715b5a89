"""Colours of words on a terminal: each reads on a white screen and on a black one, and none carries a meaning that the words do not.

Of the 256 colours of xterm, since the first 16 are whatever a theme makes of them: its plain yellow and green vanish on white.
"""

from __future__ import annotations

GOOD = "color(28)"  # #008700
OPEN = "color(130)"  # #af5f00: not decided, or to be read before the figures
