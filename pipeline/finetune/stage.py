"""The stage ``finetune``: frozen features, a linear head on them, then what the strategy trains."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from pipeline.artifacts.checkpoint import CheckpointCard, Validation, save_checkpoint
from pipeline.artifacts.history import HeadRecord, History, TrainedRecord, TrialRecord, ViewsRecord
from pipeline.files.layout import RunFolder
from pipeline.files.samples import labels_of, read_samples
from pipeline.finetune.auto import Decision, decide, named
from pipeline.finetune.course.curves import remarks_of
from pipeline.finetune.course.loop import Outcome, Watch, train, unwatched
from pipeline.finetune.keep.candidates import Candidate
from pipeline.finetune.keep.distill import distill
from pipeline.finetune.plan import Plan, plan_of
from pipeline.finetune.resuming.file_keeper import FileKeeper
from pipeline.finetune.resuming.place import unfinished_of
from pipeline.finetune.resuming.unfinished import Unfinished
from pipeline.finetune.sheet import sheet_file
from pipeline.finetune.start.adjustment import adjusted
from pipeline.finetune.start.changes import decide_changes
from pipeline.finetune.start.features import Extractor
from pipeline.finetune.start.imbalance import choose_balance
from pipeline.finetune.start.opening import open_backbone
from pipeline.finetune.start.prepared import Prepared, Split, prepare
from pipeline.finetune.start.soft import soft_of, weights_of
from pipeline.finetune.steps.sharing import shared_plan
from pipeline.finetune.strategies.registry import strategy_named
from pipeline.finetune.strategies.strategy import Strategy
from pipeline.machine.processes import ALONE, Processes, join
from pipeline.machine.settings import Settings, apply_settings, choose_settings
from pipeline.modalities.training import Pretrained, Training, Views
from pipeline.recipe.finetune import Finetune
from pipeline.recipe.sections import Recipe
from pipeline.tasks.registry import task_of
from pipeline.tracking.current import tell_epochs

log = logging.getLogger("graft")


def finetune(recipe: Recipe, run: RunFolder) -> None:
    """Train the recipe's network, and write the run's checkpoint. The test split is not read.

    Args:
        recipe: The run's recipe.
        run: The run's folder, in which ``checkpoint/`` is replaced in one step.

    Raises:
        GraftError: The backbone cannot be had, or the training loss is no longer a number.
    """
    started = start(recipe, run, join(recipe.finetune.device))
    prepared, plan, pretrained = started.prepared, started.plan, started.pretrained
    unfinished = unfinished_of(recipe, run, started.settings, pretrained.weights_sha256, prepared.processes)
    decision = carry_out(recipe.finetune, prepared, plan, unfinished)
    remarks = remarks_of(recipe.finetune.mode, prepared, decision)
    decision, views = with_views(decision, prepared, started.views, unfinished)
    if not prepared.processes.is_first:
        return
    decision, kept = with_adjustment(decision, prepared)
    history = record(started.settings, prepared, decision, remarks, views)
    save_checkpoint(
        run.checkpoint,
        kept.state,
        CheckpointCard(pretrained.network, started.labels, pretrained.input, pretrained.weights_sha256),
        {**pretrained.files, **sheet_file(prepared.train, started.labels, recipe.seed)},
        Validation(kept.logits, prepared.validation.targets),
        history,
    )
    for told in (decision.why, *history.remarks):
        log.info("finetune: %s", told)


@dataclass(frozen=True)
class Started:
    """All that a recipe's training begins with.

    Attributes:
        extractor: The frozen backbone.
        labels: Names of the classes.
        settings: Device and precision of the training.
        prepared: The decoded samples, and the heads on the frozen backbone.
        plan: The plan of the training.
        views: The views that the network is to be taught after training; None for none.
    """

    extractor: Extractor
    labels: tuple[str, ...]
    settings: Settings
    prepared: Prepared
    plan: Plan
    views: Views | None

    @property
    def pretrained(self) -> Pretrained:
        """The backbone."""
        return self.extractor.pretrained

    @property
    def modality(self) -> Training:
        """The training side of the samples' kind of input."""
        return self.extractor.modality


def start(recipe: Recipe, run: RunFolder, processes: Processes = ALONE) -> Started:
    """Decode a run's samples, load its backbone and fit the heads; nothing is written but cached features.

    Args:
        recipe: The run's recipe.
        run: The run's folder, with the samples.
        processes: The processes that share the training; by default this one is alone.

    Raises:
        GraftError: The backbone cannot be had.
    """
    section = recipe.finetune
    settings = choose_settings(section.device, section.precision)
    apply_settings(settings, recipe.seed)
    extractor = open_backbone(recipe, settings, processes)
    pretrained, settings, modality = extractor.pretrained, extractor.settings, extractor.modality
    options = modality.training_options(section)
    augment = None if section.mode == "features" else options.augment
    training, validation, labels = _load_splits(run, modality, pretrained, augment, processes)
    plan = plan_of(section, options, settings, recipe.seed, len(training))
    plan = shared_plan(plan, len(training), processes)
    balance = choose_balance(section, training.sizes(len(labels)), labels)
    log.info("finetune: %s", balance.why)
    prepared = prepare(
        extractor, training, validation, balance=balance, task=task_of(recipe), penalty=section.penalty
    )
    if section.mode != "features":
        prepared = decide_changes(options.changes, labels, prepared, extractor)
    processes.check_equal("The choices", repr(prepared.remarks))
    return Started(extractor, labels, settings, prepared, plan, options.views)


def _load_splits(
    run: RunFolder, modality: Training, pretrained: Pretrained, augment: object, processes: Processes
) -> tuple[Split, Split, tuple[str, ...]]:
    """Decode the training and the validation split through the code that serves them.

    Args:
        run: The run's folder, with the samples.
        modality: The training side of the samples' kind of input.
        pretrained: The backbone, with its preprocessor.
        augment: The random changes of training samples; None for none.
        processes: The processes that share the training.

    Returns:
        Both splits, and the names of the classes.
    """
    everything = read_samples(run)
    labels = labels_of(everything)

    def load(split: str, augment: object = None) -> Split:
        samples = [sample for sample in everything if sample.split == split]
        scratch = run.scratch(split if processes.is_alone else f"{split}-{processes.rank}")
        examples = modality.decode_examples(samples, pretrained.preprocessor, scratch, augment)
        targets = np.array([labels.index(sample.label) for sample in samples])
        hashes = [sample.sha256 for sample in samples]
        return Split(examples, targets, hashes, soft_of(samples), weights_of(samples))

    return load("train", augment), load("validation"), labels


def carry_out(
    section: Finetune,
    prepared: Prepared,
    plan: Plan,
    unfinished: Unfinished | None = None,
    watch: Watch = unwatched,
) -> Decision:
    """Train as the recipe's mode says.

    Args:
        section: The recipe's section ``finetune``.
        prepared: What the training starts from.
        plan: The plan of the recipe.
        unfinished: The place of the unfinished trainings, to go on with them; None, the default, keeps none.
        watch: Is told the figures of each epoch of each training, after the run's tracker; by default nobody
            is.
    """

    def fit(name: str, plan: Plan, strategy: Strategy) -> Outcome:
        if section.mode != "features":
            log.info("finetune: %s, epochs: %d", name, plan.epochs)
        keeper = None if unfinished is None else FileKeeper(unfinished, name)
        head = prepared.floor.judged
        return train(prepared, plan, strategy, keeper, tell_epochs(name, head.loss, head.accuracy, watch))

    if section.mode == "auto":
        return decide(prepared, plan, fit, rate_is_given=section.learning_rate is not None)
    outcome = fit(section.mode, plan, strategy_named(section.mode))
    return named(section.mode, prepared, plan, outcome)


def with_views(
    decision: Decision, prepared: Prepared, views: Views | None, unfinished: Unfinished
) -> tuple[Decision, ViewsRecord | None]:
    """Return a decision after its network was taught some views, if that is better, and their record."""
    if views is None:
        return decision, None
    kept, views_record = distill(
        prepared, decision.plan, decision.outcome.kept, views, FileKeeper(unfinished, "views")
    )
    why = decision.why
    if views_record.taught:
        why += f"; then {views_record.views} were taught to it (loss {kept.judged.loss:.3f})"
    outcome = replace(decision.outcome, kept=kept)
    return replace(decision, outcome=outcome, why=why), views_record


def with_adjustment(decision: Decision, prepared: Prepared) -> tuple[Decision, Candidate]:
    """Return a decision that tells of the classes' shares, if they are taken out, and what is shipped.

    What is compared with the head is compared before that, since both would be changed alike.
    """
    kept = adjusted(decision.outcome.kept, prepared)
    if kept is decision.outcome.kept:
        return decision, kept
    judged = kept.judged
    why = (
        f"{decision.why}; then the classes' shares were taken out of its answers with a strength of"
        f" {prepared.balance.adjustment:g}, after which loss and accuracy on validation are {judged.loss:.3f}"
        f" and {judged.accuracy:.3f}"
    )
    return replace(decision, why=why), kept


def record(
    settings: Settings,
    prepared: Prepared,
    decision: Decision,
    remarks: tuple[str, ...] = (),
    views: ViewsRecord | None = None,
) -> History:
    """Return what ``history.json`` says of a training."""
    weights, floor, plan = prepared.class_weights, prepared.floor.judged, decision.plan
    return History(
        settings=settings,
        class_weights=None if weights is None else tuple(weights.tolist()),
        balance=prepared.balance.why,
        head=HeadRecord(
            penalty=prepared.best_head.penalty,
            validation_loss=floor.loss,
            validation_accuracy=floor.accuracy,
        ),
        trained=TrainedRecord(
            mode=decision.mode,
            why=decision.why,
            epochs=plan.epochs if decision.outcome.epochs[1:] else 0,
            batch_size=plan.batch_size,
            learning_rate=plan.rates.learning_rate,
            layer_decay=plan.rates.layer_decay,
            batch_norm_frozen=plan.freeze_batch_norm,
        ),
        trials=tuple(
            TrialRecord(
                name=trial.name,
                learning_rate=trial.learning_rate,
                epochs=trial.epochs,
                validation_loss=trial.loss,
                validation_accuracy=trial.accuracy,
            )
            for trial in decision.trials
        ),
        best_epoch=decision.outcome.kept.epoch,
        kept=decision.outcome.kept.name,
        epochs=decision.outcome.epochs,
        remarks=remarks,
        views=views,
    )
