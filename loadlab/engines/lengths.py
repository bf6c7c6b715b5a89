"""Whether prompts and answers were as long as planned: what the target counted, held against the plan."""

from __future__ import annotations

from loadlab.record.request import Outcome, RequestRecord
from loadlab.scenario.plan import RequestKind, RequestPlan

TOLERANCE = 0.2  # of the planned tokens
TEMPLATE_TOKENS = 20  # that a chat template may add to each prompt and nobody minds
_TEXT_KINDS = (RequestKind.CHAT, RequestKind.COMPLETION)


class LengthCheck:
    """Adds up planned and counted tokens of OK requests."""

    def __init__(self, plan: RequestPlan) -> None:
        self._plan = plan
        self._n = self._planned_prompt = self._prompt = self._planned_output = self._output = self._estimated = 0

    def add(self, record: RequestRecord) -> None:
        """One row. Image tokens are the model's affair and are not planned: requests with images do not count."""
        if record.outcome is not Outcome.OK or self._plan.kind.at(record.seq) not in _TEXT_KINDS:
            return
        if record.prompt_tokens is None or record.output_tokens is None:
            return
        plan, seq = self._plan, record.seq
        if plan.image_offsets[seq + 1] > plan.image_offsets[seq]:
            return
        self._n += 1
        self._planned_prompt += int(plan.prompt_tokens[seq])
        self._prompt += record.prompt_tokens
        self._planned_output += int(plan.output_tokens[seq])
        self._output += record.output_tokens
        self._estimated += record.tokens_estimated is True

    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures must know; nothing where all is as planned."""
        found, n = [], max(self._n, 1)
        asked, counted = self._planned_prompt / n, self._prompt / n
        if abs(counted - asked) > max(TOLERANCE * asked, TEMPLATE_TOKENS):
            found.append(
                f"the target counted {counted:,.0f} prompt tokens a request where {asked:,.0f} were planned: "
                "with --tokenizer FOLDER prompts have the planned length"
            )
        asked, counted = self._planned_output / n, self._output / n
        if abs(counted - asked) > TOLERANCE * asked:
            how = " (estimated from their text)" if self._estimated > n / 2 else ""
            found.append(
                f"answers had {counted:,.1f} tokens{how} where {asked:,.1f} were planned: "
                "the target did not keep to the asked length, and the load is not the planned one"
            )
        return tuple(found)
