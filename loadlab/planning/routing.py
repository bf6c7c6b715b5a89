"""Traffic split among small, mid and expert models: what it costs a month, and for each answer that is right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from loadlab.planning.curves import DAYS_PER_MONTH
from loadlab.schema import NonNegative, Positive, Share, check_schema, read_table, read_toml, shown_path

SCHEMA = "loadlab/tiers/1"


class Style(StrEnum):
    """Who decides which model answers."""

    ROUTER = "router"  # before anybody answered: each token is paid once
    CASCADE = "cascade"  # after the cheaper model answered: what is escalated is paid at both


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One model: the share of requests whose answer is its own, how often that is wrong, and who serves it.

    Owned: `hosting` is a hosting file. Through an API: `api` names the book's entry, or `per_million_usd` with its `source`.
    """

    share: Annotated[float, Share]
    error_share: Annotated[float, Share] = 0.0
    hosting: Path | None = None
    api: str | None = None
    per_million_usd: Annotated[float | None, NonNegative] = None
    source: str = ""

    def __post_init__(self) -> None:
        given = [name for name in ("hosting", "api", "per_million_usd") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"; there are {', '.join(given)}" if given else ""
            raise ValueError(f"hosting, api or per_million_usd must stand, one of them{found}")
        if self.per_million_usd is not None and not self.source.strip():
            raise ValueError("source is missing: say where per_million_usd comes from")


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskClass:
    """Requests whose answers other models check: `models` of them, at a price, who find `caught_share` of the errors."""

    share: Annotated[float, Share]
    models: Annotated[int, Positive] = 1
    per_million_usd: Annotated[float, NonNegative]
    caught_share: Annotated[float, Share]
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """A routed mix, as a person writes it: tiers from the cheapest to the expert, in the order of the file."""

    name: str
    description: str = ""
    assumptions: tuple[str, ...] = ()
    prices: Path | None = None
    tokens_per_day: Annotated[float, Positive]
    tokens_per_request: Annotated[float, Positive]
    output_share: Annotated[float, Share]
    cached_share: Annotated[float, Share] = 0.0
    batch_share: Annotated[float, Share] = 0.0
    loss_per_error_usd: Annotated[float, NonNegative] = 0.0
    tiers: dict[str, Tier]
    risk: dict[str, RiskClass] | None = None

    def __post_init__(self) -> None:
        if not self.tiers:
            raise ValueError("tiers is empty: name at least one")
        total = sum(tier.share for tier in self.tiers.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"tiers have shares that sum to {total:.6g}, and must sum to 1")
        checked = sum(risk.share for risk in (self.risk or {}).values())
        if checked > 1 + 1e-6:
            raise ValueError(f"risk has shares that sum to {checked:.6g}, and must sum to at most 1")


def load_tiers(path: Path) -> Tiers:
    """The mix in a TOML file. Raises InputError on a bad one."""
    table, source = read_toml(path), shown_path(path)
    check_schema(table, SCHEMA, source)
    return read_table(Tiers, table, source)


def tier_tokens_per_day(mix: Tiers, style: Style) -> dict[str, float]:
    """Tokens a day that each tier computes: its own share, and in a cascade everything that went on to a later one too."""
    names, shares = list(mix.tiers), [tier.share for tier in mix.tiers.values()]
    computed = [sum(shares[k:]) for k in range(len(shares))] if style is Style.CASCADE else shares
    return {name: mix.tokens_per_day * share for name, share in zip(names, computed, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TierBill:
    """What a tier computes and costs a month."""

    name: str
    tokens_per_day: float
    usd_per_month: float
    replicas: int | None  # None: through an API


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Money per answer, errors counted."""

    requests_per_month: float
    error_share: float  # after cross-checks
    check_usd_per_month: float
    loss_usd_per_month: float
    usd_per_request: float  # serving and checks
    usd_per_good_answer: float | None  # serving, checks and losses over right answers; None where there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class MixBill:
    """One style of one mix."""

    style: Style
    asked_tokens_per_day: float
    tiers: tuple[TierBill, ...]
    quality: Quality

    @property
    def usd_per_month(self) -> float:
        """Serving alone."""
        return sum(tier.usd_per_month for tier in self.tiers)

    @property
    def usd_per_million(self) -> float:
        """Serving, for each million tokens that users asked for; what a cascade computes twice is paid, not counted."""
        return self.usd_per_month / (self.asked_tokens_per_day * DAYS_PER_MONTH) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A mix in both styles, beside everything sent to its last tier."""

    mix: Tiers
    bills: tuple[MixBill, ...]
    all_expert: MixBill
    premium_loss_usd: float | None  # loss per error at which the router's mix and all-expert cost the same; None: never


def quality_of(mix: Tiers, serving_usd_per_month: float, shares: dict[str, float] | None = None) -> Quality:
    """Errors and what they cost. `shares` replaces the mix's own, as {"expert": 1} does for everything to one tier.

    A risk class is drawn from all tiers alike: checks find caught_share of its errors, and cost its tokens times models at their price.
    """
    answered = {name: tier.share for name, tier in mix.tiers.items()} if shares is None else shares
    raw = sum(share * mix.tiers[name].error_share for name, share in answered.items())
    risk = list((mix.risk or {}).values())
    left = raw * (1 - sum(r.share * r.caught_share for r in risk))
    tokens = mix.tokens_per_day * DAYS_PER_MONTH
    check_usd = sum(r.share * r.models * r.per_million_usd for r in risk) * tokens / 1e6
    requests = tokens / mix.tokens_per_request
    loss_usd = requests * left * mix.loss_per_error_usd
    good = requests * (1 - left)
    return Quality(
        requests_per_month=requests,
        error_share=left,
        check_usd_per_month=check_usd,
        loss_usd_per_month=loss_usd,
        usd_per_request=(serving_usd_per_month + check_usd) / requests,
        usd_per_good_answer=None if good <= 0 else (serving_usd_per_month + check_usd + loss_usd) / good,
    )


def premium_loss_usd(mix_usd: float, mix: Quality, expert_usd: float, expert: Quality) -> float | None:
    """The loss per error above which sending everything to the expert is cheaper than the mix; 0 where it is cheaper anyhow.

    None: never, because the expert errs no less.
    """
    saved_errors = (mix.error_share - expert.error_share) * mix.requests_per_month
    premium = expert_usd - mix_usd
    if premium <= 0:
        return 0.0
    return None if saved_errors <= 0 else premium / saved_errors
