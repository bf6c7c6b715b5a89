"""The numbers behind a break-even, flat: every one may be varied, or be an array of draws."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from loadlab.planning.curves import HOURS_PER_MONTH, SECONDS_PER_DAY, LineCurve, Number, StepCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that decides who is cheaper. Dollars; a GPU that is bought has rent 0, one that is rented a price of 0."""

    tokens_per_s: Number  # of one replica, input and output, at its SLO
    peak_to_average: Number
    target_utilisation_share: Number
    rent_usd_per_gpu_hour: Number = 0.0
    purchase_usd_per_gpu: Number = 0.0  # with its share of the server
    power_usd_per_kwh: Number = 0.0
    colocation_usd_per_gpu_month: Number = 0.0
    reserve_share: Number = 0.0
    staff_usd_per_month: Number = 0.0
    network_usd_per_month: Number = 0.0
    output_share: Number
    cached_share: Number = 0.0
    batch_share: Number = 0.0
    api_input_usd_per_million: Number
    api_output_usd_per_million: Number
    api_cached_usd_per_million: Number
    api_batch_discount_share: Number = 0.0


SHARES = tuple(f.name for f in fields(Inputs) if f.name.endswith("_share") and f.name != "reserve_share")  # never above 1
VARIABLE = tuple(f.name for f in fields(Inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What no draw varies."""

    gpus_per_replica: int
    spare_replicas: int
    one_off_usd: float = 0.0
    residue_share: float = 0.0
    life_months: int = 48
    interest_share_per_year: float = 0.0
    kw_per_gpu: float = 0.0  # drawn on average, cooling included

    @property
    def annuity_per_usd(self) -> float:
        """Monthly payment that pays back one dollar over the life: i / (1 - (1 + i)^-n), or 1 / n without interest."""
        monthly = self.interest_share_per_year / 12
        return 1 / self.life_months if monthly == 0 else monthly / (1 - (1 + monthly) ** -self.life_months)


def blended_usd_per_million(inputs: Inputs) -> Number:
    """An API's price of a million tokens of this traffic: [(1-o)((1-h) p_in + h p_cache) + o p_out] (1 - b d)."""
    o, h = inputs.output_share, inputs.cached_share
    prompt = (1 - h) * inputs.api_input_usd_per_million + h * inputs.api_cached_usd_per_million
    return ((1 - o) * prompt + o * inputs.api_output_usd_per_million) * (1 - inputs.batch_share * inputs.api_batch_discount_share)


def gpu_usd_per_month(inputs: Inputs, terms: Terms) -> Number:
    """One GPU: rent, or annuity on what it loses in value (and interest on what it keeps), power, colocation; with the reserve."""
    residue = inputs.purchase_usd_per_gpu * terms.residue_share
    owning = (inputs.purchase_usd_per_gpu - residue) * terms.annuity_per_usd + residue * terms.interest_share_per_year / 12
    running = terms.kw_per_gpu * inputs.power_usd_per_kwh * HOURS_PER_MONTH + inputs.colocation_usd_per_gpu_month
    return (inputs.rent_usd_per_gpu_hour * HOURS_PER_MONTH + owning + running) * (1 + inputs.reserve_share)


def replica_tokens_per_day(inputs: Inputs) -> Number:
    """What one replica serves on an average day, so that it is at its target utilisation at the peak."""
    return inputs.tokens_per_s * SECONDS_PER_DAY * inputs.target_utilisation_share / inputs.peak_to_average


def own_curve(inputs: Inputs, terms: Terms) -> StepCurve:
    """The self-hosting bill as a function of volume."""
    return StepCurve(
        replica_tokens_per_day=replica_tokens_per_day(inputs),
        replica_usd_per_month=terms.gpus_per_replica * gpu_usd_per_month(inputs, terms),
        fixed_usd_per_month=inputs.staff_usd_per_month + inputs.network_usd_per_month,
        spare_replicas=terms.spare_replicas,
    )


def api_curve(inputs: Inputs) -> LineCurve:
    """The API's bill as a function of volume."""
    return LineCurve(usd_per_million=blended_usd_per_million(inputs))


def payback_months(inputs: Inputs, terms: Terms, tokens_per_day: float) -> float | None:
    """Months until (purchase + one-off) is paid back by what self-hosting saves over the API at this volume; None if it never is.

    The saving leaves out the annuity: a GPU is paid once. Interest is left out too.
    """
    saving = monthly_saving_usd(inputs, terms, tokens_per_day)
    invested = invested_usd(inputs, terms, tokens_per_day)
    return None if saving <= 0 else invested / saving


def invested_usd(inputs: Inputs, terms: Terms, tokens_per_day: float) -> float:
    """What is paid before the first token: every GPU that is bought, and the one-off cost."""
    gpus = float(own_curve(inputs, terms).replicas(tokens_per_day)) * terms.gpus_per_replica
    return gpus * float(inputs.purchase_usd_per_gpu) + terms.one_off_usd


def monthly_saving_usd(inputs: Inputs, terms: Terms, tokens_per_day: float) -> float:
    """API bill less running cost, annuity left out."""
    running = own_curve(replace(inputs, purchase_usd_per_gpu=0.0), terms).usd_per_month(tokens_per_day)
    return float(api_curve(inputs).usd_per_month(tokens_per_day) - running)


def net_present_usd(inputs: Inputs, terms: Terms, tokens_per_day: float, months: int, discount_share_per_year: float) -> float:
    """Net present value of hosting oneself for `months`: -invested + discounted savings + what the GPUs then fetch, straight-line."""
    monthly = discount_share_per_year / 12
    factors = (1 + monthly) ** -np.arange(1, months + 1, dtype=np.float64)
    bought = invested_usd(inputs, terms, tokens_per_day) - terms.one_off_usd
    worn = min(1.0, months / terms.life_months)
    residue = bought * (1 - worn * (1 - terms.residue_share))
    value = monthly_saving_usd(inputs, terms, tokens_per_day) * factors.sum() + residue * factors[-1] if months else 0.0
    return float(value - invested_usd(inputs, terms, tokens_per_day))
