"""The reference of the commands, made from their own help."""

from __future__ import annotations

import click

WIDTH = 100


def parts() -> dict[str, str]:
    """The help of `graft` and of each of its commands, by the name of their place in docs/commands.md."""
    from pipeline.cli.main import main

    group = help_of(main, None, "graft")
    context = click.Context(main, info_name="graft")
    found = [(name, main.get_command(context, name)) for name in main.list_commands(context)]
    commands = [help_of(command, context, name) for name, command in found if command is not None]
    return {"commands": "\n\n".join([group, *commands])}


def help_of(command: click.Command, parent: click.Context | None, name: str) -> str:
    """A command's help under a heading with its name."""
    context = click.Context(
        command,
        parent=parent,
        info_name=name,
        help_option_names=["-h", "--help"],
        max_content_width=WIDTH,
        terminal_width=WIDTH,
    )
    return f"### {context.command_path}\n\n```text\n{context.get_help()}\n```"
