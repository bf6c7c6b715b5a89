"""A worker's parent on a machine that is not the master's: starts it, says how it goes, stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from loadlab.engines.base import RunStoppedError
from loadlab.engines.child_process import Child
from loadlab.engines.following import LOOK_EVERY_S
from loadlab.engines.messages import DONE, DRAIN, JOINED, NOW, REFUSED, WAITING, Job, Link
from loadlab.engines.signals import stop_signals
from loadlab.errors import ExitCode


def send_share(job: Job, plan: bytes, link: Link, say: Callable[[str], None]) -> int:
    """Joins the master, sends what it assigns, and returns how many rows were told when the master lets us go.

    Raises RunStoppedError where the master turns us away (exit code 2), cannot be reached or falls silent, or the worker died (97);
    KeyboardInterrupt after a signal: the first sends nothing more and waits for what is in flight, the second does not.
    """
    with stop_signals() as asked, Child() as child:
        child.hand_over(replace(job, link=link), plan)
        told, done = 0, None
        while not child.has_ended:
            for message in child.messages(LOOK_EVERY_S):
                done = _take(message, say) or done
            if len(asked) > told:
                told = len(asked)
                child.say(DRAIN if told == 1 else NOW)
        if asked:
            raise KeyboardInterrupt
        if done is None:
            raise RunStoppedError(f"the worker died: {child.last_words()}", ExitCode.INCOMPLETE, is_lost=True)
        if done["stopped"]:
            raise RunStoppedError(f"{done['stopped']}: it sent nothing more", ExitCode.INCOMPLETE, is_lost=True)
        return int(done["rows"])


def _take(message: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any] | None:
    match message["kind"]:
        case str(kind) if kind == WAITING:
            say(f"waiting: {message['reason']}")
        case str(kind) if kind == JOINED:
            say(f"joined as worker {message['worker']}, of {message['workers']} (0 to {message['workers'] - 1}); begins when all have")
        case str(kind) if kind == REFUSED:
            raise RunStoppedError(message["reason"], ExitCode.BAD_INPUT if message.get("is_usage") else ExitCode.INCOMPLETE)
        case str(kind) if kind == DONE:
            return message
    return None
