"""What docs/tutorial.md says of its commands is what they show."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from loadlab.campaign.trial import prepare, replay
from loadlab.record.request import Cause, Outcome
from loadlab.scenario.files import load_scenario
from tests.engines.test_simulation import Rows

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SPIKES = re.findall(r"^\$ loadlab run (scenarios/bursty/\S+) --target sim:(\S+) --seed (\d+)", TEXT, re.MULTILINE)


def replayed(scenario: str, cluster: str, seed: str) -> Rows:
    rows = Rows()
    replay(prepare(load_scenario(ROOT / scenario), ROOT / cluster, int(seed)), rows, lambda *_: None, itl=False)
    return rows


def test_the_two_spikes_show_rejection_and_out_of_memory() -> None:
    tuned, naive = (Counter(record.cause or record.outcome for record in replayed(*spike).records) for spike in SPIKES)
    assert tuned[Cause.QUEUE_FULL] > 0 < tuned[Cause.DEADLINE]
    assert tuned[Cause.OOM_REPORTED] == 0
    assert naive[Cause.OOM_REPORTED] > 0 < naive[Cause.NO_REPLICA]
    assert naive[Cause.QUEUE_FULL] == 0
    assert naive[Outcome.OK] < tuned[Outcome.OK] / 2


def test_another_seed_draws_a_spike_in_which_nobody_is_refused() -> None:
    scenario, cluster, _ = SPIKES[0]
    assert "1 draws one that nobody is refused in" in " ".join(TEXT.split())
    assert not any(record.outcome is Outcome.REJECTED for record in replayed(scenario, cluster, "1").records)
