"""Fits a simulator's few constants to measured figures. Pure: the simulator comes in as a function.

What is minimised is the sum of squares of log(simulated / measured) over the figures of every level, in units of FIGURE_ERROR, and of how
far each constant moves, in units of what is plausible: the prior, which keeps a constant in place that the figures do not tell. Gauss
and Newton's method on finite differences; what acts by a threshold (KV blocks, a step's token budget) has no slope and is tried value by
value first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import fmin, lsq_linear

from loadlab.analysis.table import FloatArray

FIGURE_ERROR = 0.02  # of a figure, as a share: what a model with few constants cannot be expected to better
STEPS = (0.2, 0.07)  # of finite differences, as what they make of a figure, in logs: far above how figures jump
FIRST_STEP, LONGEST = 0.05, 0.9  # of finite differences, coordinates
LEAST_TOLD = 0.5  # a constant whose error is above this share of what was plausible beforehand is not told by the figures
Z = 1.645  # 90 % intervals
WORTH = 9.0  # a threshold moves only where that gains so many times the variance that is left: three standard errors
CLOSE = 0.5  # of FIGURE_ERROR, root mean square: a fit this good needs no threshold moved
UNFELT = 1e-3  # a choice that changes no figure by more is not tried
SETTLINGS, SETTLED = 3, 0.1
POLISH = 0.12  # coordinates: edge of the first simplex
FINER = 2  # rounds of halfway values
FIRST_BOX, SHRINKS = 0.7, 4  # coordinates
LEAST_GAIN = 0.01  # of the sum of squares: a step that gains less is the last
EVALUATIONS = 10  # Jacobians of a fit at most

Values = Mapping[str, float]
Differences = Callable[[Values], FloatArray]  # constants to log(simulated / measured), float64[figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A constant that may be fitted. `unit` None: a scale, fitted in its logarithm, where `spread` says what is plausible.

    Else it may be 0, and is fitted in multiples of `unit`. `choices`: values that are tried one by one, in place of a slope; `is_fine`:
    then those halfway, in logs, to the neighbours of the best.
    """

    name: str
    start: float
    low: float
    high: float
    unit: float | None = None
    spread: float = 0.4
    choices: tuple[float, ...] = ()
    is_fine: bool = False

    def value(self, x: float) -> float:
        """The constant at coordinate x; 0 is where it starts."""
        return self.start * math.exp(x) if self.unit is None else self.start + self.unit * x

    def coordinate(self, value: float) -> float:
        """The inverse of `value`."""
        return math.log(value / self.start) if self.unit is None else (value - self.start) / self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What became of a constant. `is_told` False: kept at its start, since the figures do not tell it; `low`, `high`: 90 % interval."""

    constant: Constant
    value: float
    low: float | None
    high: float | None
    is_told: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The constants, and log(simulated / measured) of each figure before and after: float64[figures]."""

    constants: tuple[Fitted, ...]
    before: FloatArray
    after: FloatArray
    evaluations: int

    @property
    def values(self) -> dict[str, float]:
        """Every constant by name."""
        return {fitted.constant.name: fitted.value for fitted in self.constants}


def fit_constants(constants: Sequence[Constant], differences: Differences) -> Fit:
    """Fits the constants. `differences` is called some hundred times. Raises ValueError without constants or figures."""
    if not constants:
        raise ValueError("no constants to fit")
    search = _Search(constants, differences)
    start = {constant.name: constant.start for constant in constants}
    before = search.differences(start)
    if not len(before):
        raise ValueError("no figures to fit to")
    smooth = [constant for constant in constants if not constant.choices]
    values = search.settle(start, smooth)
    values, moved = search.try_choices(values, smooth)
    told = smooth
    while True:  # what the figures do not tell goes back to its start, one at a time: others may be told better without it
        errors = search.errors(values, told)
        vague = max(told, key=lambda c: errors[c.name] / _plausible(c), default=None)
        if vague is None or errors[vague.name] <= LEAST_TOLD * _plausible(vague):
            break
        told = [constant for constant in told if constant is not vague]
        values = search.settle({**values, vague.name: vague.start}, told)
    errors = search.errors(values, told)
    fitted = tuple(_fitted(c, values[c.name], errors.get(c.name), c.name in moved) for c in constants)
    return Fit(constants=fitted, before=before, after=search.differences(values), evaluations=search.evaluations)


def _plausible(constant: Constant) -> float:
    return constant.spread if constant.unit is None else 1.0


def _fitted(constant: Constant, value: float, error: float | None, has_moved: bool) -> Fitted:
    if constant.choices:
        why = "the value tried that fits best" if has_moved else "no other value that was tried fits better by much"
        return Fitted(constant=constant, value=value, low=None, high=None, is_told=has_moved, why=why)
    if error is None:
        return Fitted(constant=constant, value=value, low=None, high=None, is_told=False, why="these runs do not tell it")
    x = constant.coordinate(value)
    ends = [min(max(constant.value(x + sign * Z * error), constant.low), constant.high) for sign in (-1, 1)]
    return Fitted(constant=constant, value=value, low=ends[0], high=ends[1], is_told=True, why="")


def _halfway(best: float, tried: Sequence[float]) -> list[float]:
    """Whole values halfway, in logs, from the best to its neighbours on either side."""
    below, above = [t for t in tried if t < best], [t for t in tried if t > best]
    ends = ([max(below)] if below else []) + ([min(above)] if above else [])
    return [float(round(math.sqrt(best * end))) for end in ends]


def _gauss_newton(
    residuals: Callable[[FloatArray], FloatArray], x: FloatArray, low: FloatArray, high: FloatArray, jacobians: int
) -> FloatArray:
    """A minimum of the sum of squares within bounds, by Gauss and Newton's method in a box that shrinks where the model errs.

    Each step solves the linear problem within the box. J. Nocedal and S. Wright, Numerical Optimization (2006), ch. 4 and 10. Figures
    of a simulation jump a little as constants move, so slopes are taken over steps that move them by one of STEPS, the next
    where those of the last led nowhere.
    """
    box, steps = FIRST_BOX, list(STEPS)
    here = residuals(x)
    for _ in range(jacobians):
        jacobian = _slopes(residuals, x, high, steps[0])
        before = here @ here
        for _ in range(SHRINKS):
            step = lsq_linear(jacobian, -here, bounds=(np.maximum(low - x, -box), np.minimum(high - x, box) + 1e-12)).x
            next_x = np.clip(x + step, low, high)
            there = residuals(next_x)
            if there @ there < before:
                x, here, box = next_x, there, 1.5 * box
                break
            box /= 3
        if here @ here > (1 - LEAST_GAIN) * before:
            steps, box = steps[1:], max(box, FIRST_BOX / 3)
        if not steps:
            break
    return x


def _slopes(residuals: Callable[[FloatArray], FloatArray], x: FloatArray, high: FloatArray, least: float) -> FloatArray:
    """Differences, forward or, near the upper bound, backward: float64[residuals, constants].

    Each over a step that moves some figure by `least` or more, so that jumps do not hide the slope; at most over LONGEST.
    """
    here, columns = residuals(x), []
    for i in range(len(x)):
        by = FIRST_STEP
        while True:
            step = by if x[i] + by <= high[i] else -by
            moved = residuals(x + step * np.eye(len(x))[i]) - here
            if by >= LONGEST or np.abs(moved).max() * FIGURE_ERROR >= least:
                break
            by *= 3
        columns.append(moved / step)
    return np.stack(columns, axis=1)


class _Search:
    """Least squares over some of the constants, the others held; every evaluation is remembered."""

    def __init__(self, constants: Sequence[Constant], differences: Differences) -> None:
        self._constants = constants
        self._differences = differences
        self._known: dict[tuple[float, ...], FloatArray] = {}

    @property
    def evaluations(self) -> int:
        """Simulations so far."""
        return len(self._known)

    def differences(self, values: Values) -> FloatArray:
        """log(simulated / measured) of each figure."""
        key = tuple(values[constant.name] for constant in self._constants)
        if key not in self._known:
            self._known[key] = self._differences(values)
        return self._known[key]

    def misfit(self, values: Values) -> float:
        """Sum of squares of figures and prior."""
        moves = [c.coordinate(values[c.name]) / _plausible(c) for c in self._constants if not c.choices]
        return float(np.sum((self.differences(values) / FIGURE_ERROR) ** 2) + np.sum(np.square(moves)))

    def settle(self, values: Values, free: Sequence[Constant]) -> dict[str, float]:
        """`descend`, then Nelder and Mead's method, which needs no slopes, until neither gains much: jumps of figures mislead slopes."""
        best = self.descend(values, free)
        for _ in range(SETTLINGS):
            if not free or self.rms(best) < CLOSE * FIGURE_ERROR:
                break
            again = self.descend(self._polish(best, free), free)
            if self.misfit(again) > (1 - SETTLED) * self.misfit(best):
                return min(again, best, key=self.misfit)
            best = again
        return best

    def rms(self, values: Values) -> float:
        """Root mean square of the figures' differences."""
        return float(np.sqrt(np.mean(self.differences(values) ** 2)))

    def _polish(self, values: Values, free: Sequence[Constant]) -> dict[str, float]:
        def at(x: FloatArray) -> dict[str, float]:
            inside = [min(max(c.value(float(xi)), c.low), c.high) for c, xi in zip(free, x, strict=True)]
            return {**values, **{c.name: value for c, value in zip(free, inside, strict=True)}}

        first = np.array([c.coordinate(values[c.name]) for c in free])
        simplex = np.stack([first, *(first + POLISH * row for row in np.eye(len(free)))])

        def misfit(x: FloatArray) -> float:
            return self.misfit(at(x))

        found = fmin(misfit, first, initial_simplex=simplex, maxfun=12 * len(free), disp=False)
        return at(np.asarray(found, dtype=np.float64))

    def descend(self, values: Values, free: Sequence[Constant], jacobians: int = EVALUATIONS) -> dict[str, float]:
        """The values at a minimum over the `free` constants."""
        if not free:
            return dict(values)

        def at(x: FloatArray) -> dict[str, float]:
            return {**values, **{c.name: c.value(float(xi)) for c, xi in zip(free, x, strict=True)}}

        def residuals(x: FloatArray) -> FloatArray:
            prior = np.array([xi / _plausible(c) for c, xi in zip(free, x, strict=True)])
            return np.concatenate([self.differences(at(x)) / FIGURE_ERROR, prior])

        low = np.array([c.coordinate(c.low) for c in free])
        high = np.array([c.coordinate(c.high) for c in free])
        x = np.clip([c.coordinate(values[c.name]) for c in free], low, high)
        return at(_gauss_newton(residuals, x, low, high, jacobians))

    def try_choices(self, values: dict[str, float], smooth: Sequence[Constant]) -> tuple[dict[str, float], frozenset[str]]:
        """Moves constants without a slope where another value fits much better, the smooth ones fitted to it; which were moved."""
        moved: set[str] = set()
        for constant in self._constants:
            if not constant.choices or self.rms(values) < CLOSE * FIGURE_ERROR:
                continue
            here = self.differences(values)
            felt = [c for c in constant.choices if np.abs(self.differences({**values, constant.name: c}) - here).max() > UNFELT]
            tried = {choice: self._settled(values, constant.name, choice, smooth) for choice in felt}
            for _ in range(FINER if constant.is_fine and tried else 0):
                misfits = {choice: self.misfit(found) for choice, found in tried.items()}
                for choice in _halfway(min(misfits, key=misfits.__getitem__), [*tried, constant.start]):
                    tried[choice] = self._settled(values, constant.name, choice, smooth)
            best = min(tried.values(), key=self.misfit, default=values)
            left = self.misfit(best) / max(1, len(here) - len(smooth) - 1)
            if self.misfit(values) - self.misfit(best) > WORTH * max(left, 1.0):
                values = best
                moved.add(constant.name)
        return values, frozenset(moved)

    def _settled(self, values: Values, name: str, choice: float, smooth: Sequence[Constant]) -> dict[str, float]:
        """The smooth constants fitted anew beside a choice. They may have been bent to suit another: it begins where the misfit is less."""
        start = {c.name: c.start for c in smooth}
        begin = min(({**values, name: choice}, {**values, **start, name: choice}), key=self.misfit)
        return self.descend(begin, smooth, jacobians=3)

    def errors(self, values: Values, free: Sequence[Constant]) -> dict[str, float]:
        """Standard error of each free constant, in coordinates: of the figures and the prior together, scaled by what the fit leaves."""
        if not free:
            return {}

        def residuals(x: FloatArray) -> FloatArray:
            return self.differences({**values, **{c.name: c.value(float(xi)) for c, xi in zip(free, x, strict=True)}}) / FIGURE_ERROR

        x = np.array([c.coordinate(values[c.name]) for c in free])
        slopes = _slopes(residuals, x, np.array([c.coordinate(c.high) for c in free]), STEPS[-1])
        left = residuals(x)
        scale = max(1.0, float(left @ left) / max(1, len(left) - len(free)))
        prior = np.diag([1 / _plausible(c) ** 2 for c in free])
        covariance = np.linalg.inv(slopes.T @ slopes / scale + prior)
        return {c.name: float(math.sqrt(covariance[i, i])) for i, c in enumerate(free)}
