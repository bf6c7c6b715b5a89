"""`loadlab` alone: the five things that one can do, each with a command that works as it stands."""

from __future__ import annotations

FIVE = (
    ("Rehearse on a simulated cluster", "loadlab run smoke --target sim:t4-14b --slo ttft=2s"),
    ("Test an endpoint, or one of ours: loadlab serve t4-14b", "loadlab run smoke --target http://127.0.0.1:8000 --model llm-14b"),
    ("Find how much load holds at an SLO", "loadlab capacity smoke --target sim:t4-14b --slo ttft=2s --slo target=95%"),
    ("Price it: self-hosting against APIs", "loadlab break-even --capacity scenarios/hosting/l40s-70b.toml"),
    ("Fail a build that got slower", "loadlab gate runs/candidate --baseline runs/base --margin ttft.p90=5%"),
)
MORE = (
    ("loadlab new chat.toml", "write a scenario of your own"),
    ("loadlab scenario list", "the scenarios that ship, each with its question"),
    ("loadlab VERB --help", "options and examples; loadlab --help: all verbs"),
    ("loadlab --install-completion", "let the shell complete verbs and options"),
)


def welcome(version: str) -> str:
    """The screen, at most 80 columns wide, without colours."""
    lines = [f"loadlab {version}: how much load does an LLM endpoint hold, how sure is that,", "and what does it cost?", ""]
    for number, (what, command) in enumerate(FIVE, 1):
        lines += [f"  {number}. {what}", f"     {command}", ""]
    width = max(len(command) for command, _ in MORE)
    return "\n".join([*lines, *(f"  {command:{width}}  {what}" for command, what in MORE)])
