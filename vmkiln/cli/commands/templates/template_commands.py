"""`vmkiln template`: its commands, each of which is imported when it is called."""

from typing import ClassVar

import typer

from vmkiln.cli.lazy_group import LazyGroup, Listed


class TemplateCommands(LazyGroup):
    """What is done with image templates, in the order of the help."""

    listed: ClassVar = {
        "create": Listed(
            "templates.template",
            "create",
            "Create a template, and its resource group when it is not there; waits until it is provisioned.",
        ),
        "list": Listed("templates.template", "list_", "List the templates of a subscription, each with its last run."),
        "show": Listed("templates.template", "show", "Show a template as JSON."),
        "run": Listed(
            "templates.template",
            "run",
            "Run a template and follow its log to the end; exit code 1 when the run failed, 4 when only "
            "a part was published.",
        ),
        "logs": Listed("templates.template", "logs", "Print the log of a template's last run."),
        "cancel": Listed("templates.template", "cancel", "Cancel a template's run and wait until it has ended."),
        "delete": Listed(
            "templates.template",
            "delete",
            "Delete a template with its staging resource group and its logs; images that it made stay.",
        ),
    }


app = typer.Typer(
    cls=TemplateCommands,
    no_args_is_help=True,
    help="Image templates of the service in use, or of this machine.",
)
