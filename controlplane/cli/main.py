"""The command table of ``keystead``: names, options, help and exit codes. What a command does is in its own module.

:func:`run` is the console entry point, :func:`main` the same for tests. Commands import inside their functions, so
``keystead --help`` and ``keystead validate`` load no HTTP client and no server.

Exit codes: 0 done; 1 error (usage errors, too, because 2 has a meaning); 2 changes, with ``plan --detailed-exitcode``
only; 70 a bug; 130 interrupted. Guarantee: nothing that can be expected ends in a traceback.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from controlplane import __version__
from controlplane.cli import options, upkeep
from controlplane.cli import server_commands as servers
from controlplane.cli.audit_commands import audit
from controlplane.cli.edit_commands import connect, disconnect, probe, set_fields
from controlplane.cli.importing import import_material
from controlplane.cli.options import client_options
from controlplane.cli.plugins import plugin
from controlplane.cli.state_commands import adopt, drift, forget, pause, protect, reconcile, resolve, resume
from controlplane.cli.terminal_commands import tui
from controlplane.cli.xks_commands import xks
from controlplane.errors import InvalidInput, KeysteadError

if TYPE_CHECKING:
    from controlplane.cli.objects import KeyAction
    from controlplane.schema.meta import Kind

EXIT_ERROR: Final = 1
EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130

_KINDS: Final = {
    "key": "Key",
    "keys": "Key",
    "keystore": "KeyStore",
    "keystores": "KeyStore",
    "principal": "Principal",
    "principals": "Principal",
    "xksproxy": "XksProxy",
    "xksproxies": "XksProxy",
}

click.rich_click.SHOW_ARGUMENTS = True
click.rich_click.COMMANDS_BEFORE_OPTIONS = True
click.rich_click.COMMAND_GROUPS = {
    "keystead": [
        {
            "name": "Desired state",
            "commands": ["validate", "plan", "apply", "drift", "adopt", "forget", "export", "schema"],
        },
        {"name": "Objects", "commands": ["get", "describe"]},
        {
            "name": "Keys",
            "commands": [
                *("enable", "disable", "rotate", "make-primary", "protect", "delete", "cancel-deletion"),
                *("import-material", "set", "reconcile", "pause", "resume", "resolve"),
            ],
        },
        {"name": "Key stores", "commands": ["connect", "disconnect", "probe"]},
        {"name": "Credentials", "commands": ["access-key", "token"]},
        {"name": "Audit journal", "commands": ["audit"]},
        {"name": "Key store plugins", "commands": ["plugin", "xks"]},
        {"name": "Servers", "commands": ["dev", "init", "serve", "migrate-root-key", "copies", "backup", "restore"]},
        {"name": "Screen", "commands": ["tui"]},
        {"name": "Shell", "commands": ["completion"]},
    ]
}

_spec_set = click.option(
    "--spec-set", metavar="NAME", help="The set that owns these objects; default: the name of the directory or file."
)
_take_ownership = click.option(
    "--take-ownership", is_flag=True, help="Take fields that others state, and objects that no set owns."
)
_targets = click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="KIND/NAME",
    help="Only this object and what it needs, such as Key/payments. May be given several times.",
)
_values = click.option(
    "--values",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="What ${values:PATH} stands for. May be given several times: a later file wins.",
)
_paths = click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH...",
    help="Files, directories, or -.",
)
_principal = click.argument("principal", help="The name of a user.")
_access_key_id = click.argument("access_key_id", help="As `keystead access-key list` shows it.")
_name = click.argument("name", help="A name, key id, alias/NAME or ARN.")


class _KindName(click.ParamType[str]):
    """``keys``, ``key``, ``keystores``, ...; answers the name of the kind."""

    name = "kind"

    def __init__(self, *, plural: bool) -> None:
        self._offered = [word for word in _KINDS if word.endswith("s") == plural]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        kind = _KINDS.get(str(value).lower().replace("-", "").replace("_", ""))
        if kind is None:
            self.fail(f"there is no kind {value!r}; there are {', '.join(self._offered)}", param, ctx)
        return kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG002
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self._offered if word.startswith(incomplete)]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="keystead %(version)s")
@click.pass_context
def keystead(context: click.Context) -> None:
    """Declare cryptographic keys and key stores, and have a server make it so."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# ---- desired state ---------------------------------------------------------------------------------------------------


@keystead.command()
@_paths
@_values
@options.as_json
def validate(paths: tuple[Path, ...], values: tuple[Path, ...], as_json: bool) -> int:
    """Check spec files without a server."""
    from controlplane.cli import plan as commands
    from controlplane.cli.output import Output

    return commands.validate(paths, Output(json=as_json), values=values)


@keystead.command()
@_paths
@_spec_set
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 0: nothing to do, 1: error, 2: changes.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan as JSON to FILE, too.")
@_take_ownership
@_targets
@_values
@client_options
def plan(
    *,
    paths: tuple[Path, ...],
    spec_set: str | None,
    detailed_exitcode: bool,
    out: Path | None,
    take_ownership: bool,
    targets: tuple[str, ...],
    values: tuple[Path, ...],
    url: str | None,
    as_json: bool,
) -> int:
    """Show what an apply would do. Changes nothing."""
    from controlplane.cli import plan as commands
    from controlplane.cli.output import Output

    output = Output(json=as_json)
    asked = commands.Asked(take_ownership, targets, values)
    return commands.plan(
        paths, output, url=url, spec_set=spec_set, detailed_exitcode=detailed_exitcode, out=out, asked=asked
    )


@keystead.command()
@click.argument(
    "paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH...]", help="Files, directories, or -."
)
@_spec_set
@click.option("--plan", "plan_id", metavar="ID|FILE", help="Apply exactly this plan, or the one that --out wrote.")
@options.yes
@_take_ownership
@_targets
@_values
@click.option(
    "--watch",
    is_flag=True,
    help="Stay, and apply on every change of the directories, without asking. Ends with Ctrl-C.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the objects are as declared.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)
@client_options
def apply(
    *,
    paths: tuple[Path, ...],
    spec_set: str | None,
    plan_id: str | None,
    yes: bool,
    take_ownership: bool,
    targets: tuple[str, ...],
    values: tuple[Path, ...],
    watch: bool,
    no_wait: bool,
    timeout: float,
    url: str | None,
    as_json: bool,
) -> int:
    """Plan, ask, write desired state, and wait until it holds."""
    from controlplane.cli import plan as commands
    from controlplane.cli.output import Output

    if watch:
        from controlplane.cli import watching

        if plan_id is not None or not paths:
            raise click.UsageError("--watch takes directories and no --plan")
        asked = commands.Asked(take_ownership, targets, values)
        return watching.watch(paths, Output(json=as_json), url=url, spec_set=spec_set, asked=asked)
    return commands.apply(
        paths,
        Output(json=as_json),
        url=url,
        spec_set=spec_set,
        asked=commands.Asked(take_ownership, targets, values),
        plan_id=plan_id,
        yes=yes,
        wait=not no_wait,
        timeout=timeout,
    )


@keystead.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--spec-set", metavar="NAME", help="Only this set; default: everything, a directory for each set.")
@client_options
def export(directory: Path, spec_set: str | None, url: str | None, as_json: bool) -> int:
    """Write live state to spec files in a new directory. A plan of them is empty."""
    from controlplane.cli import exporting
    from controlplane.cli.output import Output

    return exporting.export(directory, Output(json=as_json), url=url, spec_set=spec_set)


@keystead.command()
@click.option("--json", "as_json", is_flag=True, hidden=True)
def schema(as_json: bool) -> int:
    """Print the JSON Schema of spec files."""
    from controlplane.cli import objects as commands
    from controlplane.cli.output import Output

    return commands.schema(Output(json=as_json))


# ---- objects ---------------------------------------------------------------------------------------------------------


@keystead.command()
@click.argument("kind", type=_KindName(plural=True), metavar="keys|keystores|principals|xksproxies")
@click.argument("name", required=False, help="One of them; a key also by key id, alias/NAME or ARN.")
@click.option("--spec-set", metavar="NAME", help="Only what this spec set owns.")
@client_options
def get(kind: str, name: str | None, spec_set: str | None, url: str | None, as_json: bool) -> int:
    """List objects."""
    from controlplane.cli import objects as commands
    from controlplane.cli.output import Output

    if name is not None and spec_set is not None:
        raise click.UsageError("give a name or --spec-set, not both")
    return commands.get(_kind(kind), name, Output(json=as_json), url=url, spec_set=spec_set)


@keystead.command()
@click.argument("kind", type=_KindName(plural=False), metavar="key|keystore|principal|xksproxy")
@_name
@client_options
def describe(kind: str, name: str, url: str | None, as_json: bool) -> int:
    """Show everything about one object."""
    from controlplane.cli import objects as commands
    from controlplane.cli.output import Output

    return commands.describe(_kind(kind), name, Output(json=as_json), url=url)


# ---- keys ------------------------------------------------------------------------------------------------------------


def _act(action: KeyAction, name: str, url: str | None, as_json: bool, **options: Any) -> int:
    from controlplane.cli import objects as commands
    from controlplane.cli.output import Output

    return commands.act(action, name, Output(json=as_json), url=url, **options)


@keystead.command()
@_name
@client_options
def enable(name: str, url: str | None, as_json: bool) -> int:
    """Let a key be used again."""
    return _act("enable", name, url, as_json)


@keystead.command()
@_name
@client_options
def disable(name: str, url: str | None, as_json: bool) -> int:
    """Refuse every use of a key, until it is enabled."""
    return _act("disable", name, url, as_json)


@keystead.command()
@_name
@client_options
def rotate(name: str, url: str | None, as_json: bool) -> int:
    """Give a key new material now. What was encrypted before stays readable."""
    return _act("rotate", name, url, as_json)


@keystead.command("make-primary")
@_name
@client_options
def make_primary(name: str, url: str | None, as_json: bool) -> int:
    """Make a replica the primary key of its multi-Region key."""
    return _act("make-primary", name, url, as_json)


@keystead.command()
@_name
@click.option(
    "--window-days", type=click.IntRange(7, 30), metavar="7..30", help="Default: the window that the key declares."
)
@options.yes
@client_options
def delete(name: str, window_days: int | None, yes: bool, url: str | None, as_json: bool) -> int:
    """Schedule a key for deletion. Nothing is destroyed before its window has passed."""
    return _act("schedule-deletion", name, url, as_json, window_days=window_days, yes=yes)


@keystead.command("cancel-deletion")
@_name
@client_options
def cancel_deletion(name: str, url: str | None, as_json: bool) -> int:
    """Keep a key that is pending deletion."""
    return _act("cancel-deletion", name, url, as_json)


# ---- credentials -----------------------------------------------------------------------------------------------------


@keystead.group("access-key")
def access_key() -> None:
    """Access keys of principals, for signed requests."""


@access_key.command("create")
@_principal
@client_options
def create_access_key(principal: str, url: str | None, as_json: bool) -> int:
    """Make an access key. Its secret is shown once."""
    return _credentials("create_access_key", principal, url, as_json)


@access_key.command("list")
@_principal
@client_options
def list_access_keys(principal: str, url: str | None, as_json: bool) -> int:
    """Show the access keys of a principal, without secrets."""
    return _credentials("list_access_keys", principal, url, as_json)


@access_key.command("disable")
@_principal
@_access_key_id
@client_options
def disable_access_key(principal: str, access_key_id: str, url: str | None, as_json: bool) -> int:
    """Have an access key sign nothing, until it is enabled."""
    return _credentials("switch_access_key", principal, url, as_json, access_key_id=access_key_id, active=False)


@access_key.command("enable")
@_principal
@_access_key_id
@client_options
def enable_access_key(principal: str, access_key_id: str, url: str | None, as_json: bool) -> int:
    """Let an access key sign again."""
    return _credentials("switch_access_key", principal, url, as_json, access_key_id=access_key_id, active=True)


@access_key.command("delete")
@_principal
@_access_key_id
@client_options
def delete_access_key(principal: str, access_key_id: str, url: str | None, as_json: bool) -> int:
    """Take an access key away for ever."""
    return _credentials("delete_access_key", principal, url, as_json, access_key_id=access_key_id)


@keystead.group()
def token() -> None:
    """Bearer tokens of principals, for this command and the reconciliation API."""


@token.command("create")
@_principal
@click.option("--description", default="", metavar="TEXT", help="What it is for; shown in lists.")
@click.option(
    "--expires-in-days", type=click.IntRange(1, 3650), metavar="DAYS", help="Without it, the token lasts until revoked."
)
@client_options
def create_token(principal: str, description: str, expires_in_days: int | None, url: str | None, as_json: bool) -> int:
    """Make a token. It is shown once."""
    return _credentials(
        "create_token", principal, url, as_json, description=description, expires_in_days=expires_in_days
    )


@token.command("list")
@_principal
@client_options
def list_tokens(principal: str, url: str | None, as_json: bool) -> int:
    """Show the tokens of a principal: ids and dates."""
    return _credentials("list_tokens", principal, url, as_json)


@token.command("revoke")
@_principal
@click.argument("token_id", help="As `keystead token list` shows it.")
@client_options
def revoke_token(principal: str, token_id: str, url: str | None, as_json: bool) -> int:
    """Take a token away for ever."""
    return _credentials("revoke_token", principal, url, as_json, token_id=token_id)


def _credentials(command: str, principal: str, url: str | None, as_json: bool, **options: Any) -> int:
    from controlplane.cli import credentials as commands
    from controlplane.cli.output import Output

    code: int = getattr(commands, command)(principal, output=Output(json=as_json), url=url, **options)
    return code


keystead.add_command(import_material)
keystead.add_command(upkeep.copies)
keystead.add_command(upkeep.backup)
keystead.add_command(upkeep.restore)
keystead.add_command(audit)
keystead.add_command(xks)
keystead.add_command(plugin)
keystead.add_command(tui)
for _command in (drift, adopt, forget, pause, resume, reconcile, protect, resolve):
    keystead.add_command(_command)
for _command in (set_fields, connect, disconnect, probe):
    keystead.add_command(_command)
for _command in (servers.dev, servers.init, servers.serve, servers.migrate_root_key):
    keystead.add_command(_command)


# ---- shell -----------------------------------------------------------------------------------------------------------


@keystead.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@options.as_json
def completion(shell: str, as_json: bool) -> int:
    """Print a completion script, to be sourced by the shell."""
    from controlplane.cli import objects as commands
    from controlplane.cli.output import Output

    return commands.completion(shell, keystead, Output(json=as_json))


# ---- running ---------------------------------------------------------------------------------------------------------


def run() -> None:
    """The console entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old encoding gets escapes for what it cannot show, no traceback
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command. Answers its exit code; whatever happens, says what."""
    try:
        code = keystead.main(list(arguments), prog_name="keystead", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
        return EXIT_ERROR
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        return _fail(error, as_json="--json" in arguments)


def _fail(error: Exception, *, as_json: bool) -> int:
    from controlplane.cli.output import Output

    output = Output(json=as_json)
    match error:
        case KeysteadError():
            output.error(error)
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "keystead"
            message = error.format_message().rstrip(".").replace("\n", " ")
            end = "" if message.endswith("?") else ";"
            output.error(InvalidInput(f"{message[:1].lower()}{message[1:]}{end} see {command} --help"))
        case click.ClickException():
            output.error(InvalidInput(error.format_message()))
        case _:
            output.error(_Bug(_bug(error)))
            return EXIT_BUG
    return EXIT_ERROR


class _Bug(KeysteadError):
    """What should not have happened. Its own message may hold anything, so only its type and place are told."""


def _bug(error: Exception) -> str:
    if os.environ.get("KEYSTEAD_DEBUG") == "1":
        return f"unexpected {type(error).__name__}; this is a bug\n{''.join(traceback.format_exception(error))}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"unexpected {type(error).__name__} at {where}; this is a bug (KEYSTEAD_DEBUG=1 shows more)"


def _kind(name: str) -> Kind:
    from controlplane.schema.meta import Kind

    return Kind(name)
