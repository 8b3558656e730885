"""What more samples would bring: an inverse power law through the learning curve, with its own interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compare.curve import Curve, Point
from pipeline.compare.records import from_digits
from pipeline.compare.table import Bounds

# What is above the floor falls as 1 / n at the fastest where a head of so many weights is fitted; steeper
# laws would only fit the noise of the small parts.
EXPONENTS = np.geomspace(0.05, 1.0, 30)
REPLICATES = 1000
FACTORS = (2, 4)
LEAST_SIZES = 3
# A gain of which the lower bound is below that, in shares of right answers, is none that can be told.
LEAST_GAIN = 0.0005
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Laws:
    """Power laws ``a + b * (n / whole) ** -c``, one a curve, with a and b at least 0.

    Attributes:
        floor: The errors ``a`` that no number of samples goes below, of shape (curves,).
        scale: The factors ``b``, of shape (curves,).
        exponent: The exponents ``c``, of shape (curves,).
    """

    floor: Array
    scale: Array
    exponent: Array

    def errors(self, ratio: float) -> Array:
        """Return the errors at so many times the samples of the whole training split, of shape (curves,)."""
        return np.asarray(self.floor + self.scale * ratio**-self.exponent)


def fit_laws(ratios: Array, errors: Array) -> Laws:
    """Fit the least squares' power law to each of several curves.

    Args:
        ratios: Numbers of samples as shares of the whole, of shape (sizes,).
        errors: Errors, of shape (curves, sizes).
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    mean = errors.mean(axis=1)
    for exponent in EXPONENTS:
        powers = ratios**-exponent
        centred = powers - powers.mean()
        scale = np.maximum(errors @ centred / (centred @ centred), 0.0)
        floor = mean - scale * powers.mean()
        through_zero = errors @ powers / (powers @ powers)
        scale = np.where(floor < 0, through_zero, scale)
        floor = np.maximum(floor, 0.0)
        squares = ((floor[:, None] + scale[:, None] * powers - errors) ** 2).sum(axis=1)
        better = squares < best - 1e-15
        best = np.where(better, squares, best)
        found = np.where(better, np.stack([floor, scale, np.full(len(errors), exponent)]), found)
    return Laws(*found)


@dataclass(frozen=True)
class Replicates:
    """Draws of what the curves could have been.

    Attributes:
        errors: Errors of each draw at each size, of shape (draws, sizes).
        weights: How often each sample of validation is in each draw, of shape (draws, samples).
    """

    errors: Array
    weights: Array


def replicate(curve: Curve, seed: int) -> Replicates:
    """Draw curves by bootstrap, over samples of validation and over the draws of training samples.

    Validation is drawn once for all sizes, whose errors go together. A size of one draw, as the whole split,
    gets the spread of the next smaller one, which falls as the square root of the number of samples.

    Args:
        curve: The learning curve.
        seed: Seed of the draws; the same gives the same samples of validation for every curve.
    """
    generator = np.random.default_rng(seed)
    count = len(curve.points[0].rights[0])
    weights = generator.multinomial(count, np.full(count, 1 / count), REPLICATES).astype(np.float64)
    columns, spread, before = [], 0.0, 1
    for point in curve.points:
        wrong = wrong_of(point)
        means = weights @ wrong.T / count
        if len(wrong) > 1:
            spread, before = float(wrong.mean(axis=1).std(ddof=1)), point.samples
            chosen = generator.integers(0, len(wrong), means.shape)
            columns.append(np.take_along_axis(means, chosen, axis=1).mean(axis=1))
        else:
            noise = generator.normal(0.0, spread * (before / point.samples) ** 0.5, REPLICATES)
            columns.append(np.maximum(means[:, 0] + noise, 0.0))
    return Replicates(np.stack(columns, axis=1), weights)


def wrong_of(point: Point) -> Array:
    """Return 1.0 where a sample of validation was answered wrongly, of shape (draws, samples)."""
    return np.stack([~from_digits(digits) for digits in point.rights]).astype(np.float64)


def errors_of(curve: Curve) -> Array:
    """Return the mean error at each size, of shape (sizes,)."""
    return np.array([wrong_of(point).mean() for point in curve.points])


@dataclass(frozen=True)
class Ahead:
    """What is expected at more samples.

    Attributes:
        factor: How many times as many training samples as now.
        error: Expected share of wrong answers.
        interval: Its 95 % interval.
        gain: By how much that is less than now.
        gain_interval: The 95 % interval of the gain.
    """

    factor: int
    error: float
    interval: Bounds
    gain: float
    gain_interval: Bounds

    @property
    def is_told(self) -> bool:
        """Whether the fit can tell that there is a gain."""
        return self.gain_interval[0] > LEAST_GAIN


@dataclass(frozen=True)
class Larger:
    """A larger backbone beside the recipe's own.

    Attributes:
        name: Its name.
        gain: By how much its error on validation is less, with the same samples.
        gain_interval: The 95 % interval of that.
        lead_interval: The 95 % interval of what twice the samples gain more than it does.
    """

    name: str
    gain: float
    gain_interval: Bounds
    lead_interval: Bounds


@dataclass(frozen=True)
class Outlook:
    """What a learning curve says of more samples.

    Attributes:
        whole: Number of training samples now.
        law: The power law through the curve; None where there are too few sizes.
        ahead: What is expected at more samples; empty where there are too few sizes.
        larger: The larger backbone; None where none was compared.
        wrong: Number of samples of validation that are answered wrongly now.
    """

    whole: int
    law: Laws | None
    ahead: tuple[Ahead, ...]
    larger: Larger | None
    wrong: int


def look_ahead(own: Curve, larger: tuple[str, Curve] | None, seed: int) -> Outlook:
    """Extrapolate a learning curve, and compare twice the samples with a larger backbone.

    Args:
        own: The curve of the recipe's backbone.
        larger: Name and curve of a larger backbone; None where none was compared.
        seed: Seed of the bootstrap.
    """
    whole, wrong = own.points[-1].samples, int(wrong_of(own.points[-1])[0].sum())
    if len(own.points) < LEAST_SIZES:
        return Outlook(whole, None, (), None, wrong)
    ratios = np.array([point.samples / whole for point in own.points])
    law, drawn = fit_laws(ratios, errors_of(own)[None]), replicate(own, seed)
    laws = fit_laws(ratios, drawn.errors)
    ahead = []
    for factor in FACTORS:
        gains = laws.errors(1.0) - laws.errors(factor)
        error = float(law.errors(factor)[0])
        gain = float(law.errors(1.0)[0]) - error
        ahead.append(Ahead(factor, error, _bounds(laws.errors(factor)), gain, _bounds(gains)))
    if larger is None:
        return Outlook(whole, law, tuple(ahead), None, wrong)
    twice = laws.errors(1.0) - laws.errors(FACTORS[0])
    differences = wrong_of(own.points[-1])[0] - wrong_of(larger[1].points[-1])[0]
    gained = drawn.weights @ differences / len(differences)
    told = Larger(larger[0], float(differences.mean()), _bounds(gained), _bounds(twice - gained))
    return Outlook(whole, law, tuple(ahead), told, wrong)


def _bounds(values: Array) -> Bounds:
    """Return the interval that holds 95 % of some draws."""
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return low, high


def sentence_of(outlook: Outlook) -> str:
    """Return in one sentence whether more data would help more than a larger model."""
    if not outlook.ahead:
        return (
            f"What more samples would bring is not known: {LEAST_SIZES} sizes at least are needed to"
            " extrapolate, such as --samples 10%,30%,100%."
        )
    twice = outlook.ahead[0]
    if outlook.wrong == 0:
        return "What more samples would bring cannot be told: no sample of validation is answered wrongly."
    low, high = (100 * bound for bound in twice.gain_interval)
    expected = (
        f"twice the {outlook.whole:,} training samples would bring {100 * twice.gain:.1f} points of accuracy"
        f" (95 % interval {low:.1f} to {high:.1f})"
    )
    if outlook.larger is None:
        told = "" if twice.is_told else ", so that it cannot be told whether they help"
        return f"With this backbone {expected}{told}; no larger one was compared."
    larger = outlook.larger
    least, most = (100 * bound for bound in larger.gain_interval)
    beside = f"{larger.name} brings {100 * larger.gain:+.1f} ({least:+.1f} to {most:+.1f})"
    if larger.lead_interval[0] > 0 and twice.is_told:
        return f"More data would help more than a larger model: {expected}, and {beside}."
    if larger.lead_interval[1] < 0:
        return f"A larger model helps more than twice the data would: {expected}, and {beside}."
    return f"Whether more data or a larger model helps more cannot be told: {expected}, and {beside}."
