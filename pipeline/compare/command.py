"""The command ``graft compare``: from a recipe and what is to be compared to the table and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.compare.comparing import Budget, attempt, probe_all, probe_without_transfer, tune_the_best
from pipeline.compare.curve import OPTION, Curve, Size, check_sizes, learn, read_sizes
from pipeline.compare.entries import Contender, name_contenders, read_entries
from pipeline.compare.extrapolating import Outlook, errors_of, look_ahead, sentence_of
from pipeline.compare.pieces import Pieces, key_of, without_training
from pipeline.compare.plot import plot_curves, plot_pareto
from pipeline.compare.ranking import Choice, Standing, accuracy_interval, choose, rows_of
from pipeline.compare.records import Classic
from pipeline.compare.result import Comparison, CurveRow, Expected, render
from pipeline.compare.suggesting import BECAUSE, suggest
from pipeline.compare.table import Row
from pipeline.compare.transfer import find_verdict
from pipeline.errors import GraftError
from pipeline.files import atomic
from pipeline.files.records import write_record
from pipeline.files.samples import read_samples
from pipeline.modalities.offers import Offer
from pipeline.modalities.registry import modality_of
from pipeline.recipe.reading import dump_recipe
from pipeline.recipe.sections import Recipe
from pipeline.run.backbones import list_offers
from pipeline.run.runner import Run, open_run, run_stage, working_on

NONE_FITS = "None of the backbones that could be had fits the budget."
NO_OWN_CURVE = "What more samples would bring is not known: the recipe's own backbone could not be had."


@dataclass(frozen=True)
class Wishes:
    """What is to be compared.

    Attributes:
        backbones: Entries that name backbones, as :mod:`pipeline.compare.entries` describes them.
        suggest: Whether all backbones that are here and fit the budget are compared, too.
        budget: What a backbone may cost.
        samples: Sizes of a learning curve, such as ``10%,30%,100%``; None, the default, for no curve.
        probe_only: Whether nothing is fine-tuned; by default the best are.
    """

    backbones: tuple[str, ...] = ()
    suggest: bool = False
    budget: Budget = field(default_factory=Budget)
    samples: str | None = None
    probe_only: bool = False


def compare(
    target: Path, wishes: Wishes, folder: Path | None = None, data_root: Path | None = None
) -> Comparison:
    """Compare backbones, or numbers of samples, in a run whose samples are read first if they are not yet.

    Args:
        target: A run's folder, or a recipe.
        wishes: What is to be compared.
        folder: The run's folder, when the target is a recipe; None for the usual one.
        data_root: The folder that the data are in now; None where they have not moved.

    Raises:
        GraftError: The wishes or the data cannot be used, or none of the backbones can be had.
    """
    if not wishes.backbones and not wishes.suggest and wishes.samples is None:
        raise GraftError(f"There is nothing to compare: give --backbones, --suggest or {OPTION}.")
    sizes = () if wishes.samples is None else read_sizes(wishes.samples)
    run = open_run(target, folder, data_root)
    contenders, untried = _find_contenders(run.recipe, wishes)
    run_stage("data", run)
    with working_on(run, after="data"):
        check_sizes(sizes, run.folder)
        pieces = Pieces(run.folder)
        pieces.sweep()
        return _carry_out(run, contenders, untried, pieces, wishes, sizes)


def _find_contenders(recipe: Recipe, wishes: Wishes) -> tuple[list[Contender], tuple[str, ...]]:
    """Return the backbones to compare, and names of further ones that are suggested but not tried."""

    def named(name: str) -> Sequence[Offer]:
        offers = list_offers(name).here
        return [offer for offer in offers if offer.name == name and offer.kind == recipe.modality]

    others, untried = read_entries(recipe, wishes.backbones, named), tuple[str, ...]()
    if wishes.suggest:
        found = suggest(recipe, list_offers().here, wishes.budget.parameters)
        others, untried = [*others, *found.recipes], found.named
    contenders = name_contenders(recipe, others)
    names = {contender.recipe.backbone.name for contender in contenders}
    return contenders, tuple(name for name in untried if name not in names)


def _carry_out(
    run: Run,
    contenders: Sequence[Contender],
    untried: Sequence[str],
    pieces: Pieces,
    wishes: Wishes,
    sizes: Sequence[Size],
) -> Comparison:
    """Compare, write what was found, and return it."""
    splits = [sample.split for sample in read_samples(run.folder)]
    train, validation = splits.count("train"), splits.count("validation")
    unit = modality_of(run.recipe).UNIT
    standings = probe_all(contenders, pieces, wishes.budget)
    without = probe_without_transfer(run.recipe, pieces)
    if len(contenders) > 1 and not wishes.probe_only and run.recipe.finetune.mode != "features":
        tune_the_best(contenders, standings, pieces, train)
    may_choose = len(contenders) > 1 and any(standing.is_in for standing in standings)
    choice = choose(standings, unit, validation) if may_choose else None
    recipes = {contender.name: contender.recipe for contender in contenders}
    judged = choice.taken if choice else next(each for each in standings if each.probe is not None)
    curves = _curves(contenders, standings, pieces, sizes) if sizes else {}
    outlook = _outlook(standings, curves, run.recipe.seed) if curves else None
    rows = (*rows_of(standings), *(Row(name=name, because=BECAUSE) for name in untried))
    comparison = Comparison(
        run=str(run.folder.root),
        unit=unit,
        train=train,
        validation=validation,
        rows=rows,
        without_transfer=None if without is None else _classic_row(without),
        transfer=find_verdict(judged, recipes[judged.name], without, pieces),
        recommendation=choice.sentence if choice else _no_choice(contenders),
        recipe=_write_recipe(run, contenders, choice),
        curve=tuple(_curve_rows(curves)),
        expected=() if outlook is None else tuple(map(Expected.of, outlook.ahead)),
        more_samples=_more_samples(outlook) if sizes else None,
        page=str(run.folder.compare / "report.html"),
    )
    _write(run, comparison, choice, curves, outlook)
    return comparison


def _no_choice(contenders: Sequence[Contender]) -> str | None:
    """Return why nothing is recommended; None where there was nothing to choose from."""
    return NONE_FITS if len(contenders) > 1 else None


def _more_samples(outlook: Outlook | None) -> str:
    """Return what is said of more samples."""
    return NO_OWN_CURVE if outlook is None else sentence_of(outlook)


def _classic_row(without: Classic) -> Row:
    """Return the line of the classic model without transfer."""
    return Row(
        name=f"without transfer: {without.name}",
        probe_accuracy=without.out_of_fold and without.out_of_fold.accuracy,
        probe_interval=without.folds and accuracy_interval(without.folds),
        probe_loss=without.out_of_fold and without.out_of_fold.loss,
        validation_accuracy=without.validation.accuracy,
    )


def _curves(
    contenders: Sequence[Contender], standings: Sequence[Standing], pieces: Pieces, sizes: Sequence[Size]
) -> dict[str, Curve]:
    """Return the learning curve of every backbone that has a probe, the recipe's own first."""
    curves: dict[str, Curve] = {}
    counts = [[size.value, size.is_share] for size in sizes]
    for contender, standing in zip(contenders, standings, strict=True):
        if standing.probe is not None:
            recipe = without_training(contender.recipe)

            def draw(recipe: Recipe = recipe, name: str = contender.name) -> None:
                key = key_of("pipeline.compare.curve", recipe, pieces.run, sizes=counts)
                curves[name] = pieces.get(Curve, key, lambda: learn(recipe, pieces.run, sizes))

            attempt(standing, draw)
    return curves


def _outlook(standings: Sequence[Standing], curves: Mapping[str, Curve], seed: int) -> Outlook | None:
    """Extrapolate the curve of the recipe's own backbone, beside the best of those that are larger.

    Which one is the best is chosen on the training split alone, and validation then says by how much.
    """
    own = next(standing for standing in standings if standing.is_own)
    if own.cost is None or own.name not in curves:
        return None
    larger = [
        each
        for each in standings
        if each.name in curves and each.cost is not None and each.cost.parameters > own.cost.parameters
    ]
    best = min(larger, key=lambda each: each.probe_loss, default=None)
    larger_curve = None if best is None else (best.name, curves[best.name])
    return look_ahead(curves[own.name], larger_curve, seed)


def _curve_rows(curves: Mapping[str, Curve]) -> list[CurveRow]:
    return [
        CurveRow(name=name, samples=point.samples, error=float(error), draws=len(point.rights))
        for name, curve in curves.items()
        for point, error in zip(curve.points, errors_of(curve), strict=True)
    ]


def _write_recipe(run: Run, contenders: Sequence[Contender], choice: Choice | None) -> str | None:
    """Write the recommended recipe, with where it came from, and return its path; None, and none, without."""
    path = run.folder.compare / "recommended.yaml"
    if choice is None:
        path.unlink(missing_ok=True)  # that of an earlier comparison
        return None
    recipe = next(each.recipe for each in contenders if each.name == choice.taken.name)
    comment = (
        f"# Written by `graft compare` of {run.recipe.name}; the figures stand in report.html beside it.\n"
    )
    comment += f"# {choice.sentence}\n"
    atomic.write_bytes(path, (comment + dump_recipe(recipe)).encode())
    return str(path)


def _write(
    run: Run,
    comparison: Comparison,
    choice: Choice | None,
    curves: Mapping[str, Curve],
    outlook: Outlook | None,
) -> None:
    """Write the page and the record of a comparison."""
    without = comparison.without_transfer
    pareto = plot_pareto(
        comparison.rows,
        choice.taken.name if choice else "",
        None if without is None else without.probe_accuracy,
    )
    drawn = plot_curves(curves, outlook) if outlook else None
    page = render(comparison, run.recipe.name, pareto, drawn)
    write_record(run.folder.compare / "comparison.json", comparison)
    atomic.write_bytes(Path(comparison.page), page.encode())
