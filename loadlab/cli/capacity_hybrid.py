"""`loadlab capacity --hybrid`: a few levels measured, the simulator calibrated on them, and the capacity simulated."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from loadlab.errors import ExitCode, InputError, RunInterruptedError

if TYPE_CHECKING:
    from loadlab.campaign.hybrid import Hybrid
    from loadlab.campaign.probing import Probing
    from loadlab.cli.screen import Screen


def measure_hybrid(
    probing: Probing, cluster: Path | None, requests: int, out: Path | None, screen: Screen, *, is_resumed: bool
) -> dict[str, Any]:
    """The summary of a hybrid study, printed. Raises typer.Exit(99) where the calibration is refused, InputError where nothing is fit."""
    from loadlab.campaign.hybrid import find_hybrid

    file = cluster or (probing.target if isinstance(probing.target, Path) else None)
    if file is None:
        raise InputError("needs the cluster file that is to do what the target does: --cluster C.toml", key="--hybrid")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    with tempfile.TemporaryDirectory() as folder:
        where = out or Path(folder)
        try:
            with screen.progress("measuring below 70 % of saturation") as say:
                found = find_hybrid(probing, file, requests, where, today, say, is_resumed=is_resumed)
        except KeyboardInterrupt:
            kept = f"levels that ended are kept in {out / 'runs'}; go on with --resume {out}" if out else "nothing is kept without --out"
            raise RunInterruptedError(kept) from None
        return _shown(found, probing, file, out, screen)


def _shown(found: Hybrid, probing: Probing, file: Path, out: Path | None, screen: Screen) -> dict[str, Any]:
    from loadlab.campaign.calibration_summary import summarise_calibration
    from loadlab.campaign.hybrid import CALIBRATED_FILE
    from loadlab.cli.break_even import command_line
    from loadlab.cli.capacity import summarise
    from loadlab.report.calibration import print_calibration
    from loadlab.report.hybrid import add_hybrid, print_hybrid

    written = "" if out is None else str(out / CALIBRATED_FILE)
    calibration = summarise_calibration(found.calibrated, cluster=str(file), out=written, command=command_line())
    print_calibration(calibration, screen.tables)
    if found.result is None:
        screen.say("no capacity: a simulator that does not do what was measured predicts nothing")
        raise typer.Exit(ExitCode.THRESHOLD_FAILED)
    summary = add_hybrid(
        summarise(found.result, probing), calibration, found.pairs, low_per_s=found.low_per_s, high_per_s=found.high_per_s,
        saturation_per_s=found.saturation_per_s,
    )  # fmt: skip
    print_hybrid(summary, screen.tables)
    return summary
