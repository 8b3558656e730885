"""The group of commands, each of which is imported when it is called, so that ``--help`` stays light."""

from __future__ import annotations

import importlib
import os

import click

from pipeline.cli.errors import FriendlyGroup
from pipeline.machine.launch import launched

COMMANDS = {
    "init": ("pipeline.cli.init", "init", "Look at labelled data and write a commented recipe."),
    "run": (
        "pipeline.cli.run",
        "run",
        "Carry out a recipe: data, finetune, transfer, evaluate, export, verify, package.",
    ),
    "data": ("pipeline.cli.stage", "data", "Read, audit and split the samples."),
    "rates": ("pipeline.cli.rates", "rates", "Look for a learning rate by a short training at rising ones."),
    "search": (
        "pipeline.cli.search",
        "search",
        "Search for the values of a recipe that do best on validation.",
    ),
    "compare": (
        "pipeline.cli.compare",
        "compare",
        "Compare backbones or numbers of samples, and say what to take.",
    ),
    "finetune": ("pipeline.cli.stage", "finetune", "Train the backbone on the samples."),
    "transfer": ("pipeline.cli.stage", "transfer", "Fit what does without transfer, to compare with."),
    "evaluate": (
        "pipeline.cli.evaluate",
        "evaluate",
        "Measure the checkpoint on the test split, or the served model on new data.",
    ),
    "export": ("pipeline.cli.export", "export", "Write the model files of every format, to be proven."),
    "verify": (
        "pipeline.cli.verify",
        "verify",
        "Prove that every artifact predicts what the checkpoint predicts.",
    ),
    "sign": ("pipeline.cli.sign", "sign", "Sign a proven bundle with its receipts, or an image."),
    "package": ("pipeline.cli.package", "package", "Build the BentoML service, an image, or another target."),
    "budget": (
        "pipeline.cli.budget",
        "budget",
        "Measure the container against the limits of the recipe.",
    ),
    "benchmark": (
        "pipeline.cli.benchmark",
        "benchmark",
        "Measure every artifact's speed here, and choose what is served.",
    ),
    "predict": ("pipeline.cli.predict", "predict", "Print labels and probabilities of files or texts."),
    "serve": ("pipeline.cli.serve", "serve", "Start the prediction service."),
    "backbones": (
        "pipeline.cli.backbones",
        "backbones",
        "List the backbones that can be used here.",
    ),
    "doctor": ("pipeline.cli.doctor", "doctor", "Say what this machine has, and what `auto` would choose."),
}


# Commands that several processes carry out together, where a launcher starts them. Of every other command the
# first process does all, and the others have nothing to do.
SHARED = frozenset({"run", "finetune"})


class LazyGroup(FriendlyGroup):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands' names, in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command and return it; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.version_option(package_name="graft-ml", prog_name="graft")
@click.pass_context
def main(ctx: click.Context, *, debug: bool, quiet: bool) -> None:
    """Labelled examples and a pretrained backbone in, a proven prediction service out.

    Exit codes: 0 done, 1 error, 2 usage, 3 a gate failed.
    """
    from pipeline.cli.output import start_logging

    # The client of Hugging Face reads this variable when it is imported. Its requests then name neither other
    # packages nor the program that started this process.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    ctx.obj = {"debug": debug}
    start_logging(quiet=quiet or launched().is_helper)
    if launched().is_helper and ctx.invoked_subcommand not in SHARED:
        ctx.exit()
