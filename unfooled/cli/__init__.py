"""The command line: ``unfooled COMMAND --help`` shows examples; every mistake is one line and exit status 2."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from unfooled import __version__
from unfooled.cli import attack, calibrate, data, demo, evaluate, gan, scan, serve, show, study, train
from unfooled.errors import UnfooledError

app = typer.Typer(
    help="Train, attack, defend and audit deepfake detectors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.add_typer(gan.app, name="gan")
app.command("evaluate")(evaluate.evaluate)
app.command("study")(study.study)
app.command("attack")(attack.attack)
app.command("calibrate")(calibrate.calibrate)
app.command("scan")(scan.scan)
app.command("serve")(serve.serve)
app.command("report")(show.report)
app.command("list")(show.list_parts)


INTERRUPTED = (
    "interrupted; demo, evaluate, study, attack and a scan of several files go on with the same command, a training "
    "from its last whole epoch with --resume, other commands start again"
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unfooled {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (works anywhere).")] = False,
) -> None:
    """Train, attack, defend and audit deepfake detectors."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors leave as one line on stderr and an exit status.

    2: a mistake that the user can mend (bad input, full disk, no permission); 130: Ctrl-C; 1: a fault of ours.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        status = app([a for a in arguments if a != "--debug"], standalone_mode=False)
    except TyperException as error:
        # A slip on the command line: the library's own words, but in one line like every other mistake.
        known = str(error.format_message() if hasattr(error, "format_message") else error)
        context = getattr(error, "ctx", None)
        place = f"; see {context.command_path} --help" if context is not None else ""
        _fail(f"{known.rstrip('.')}{place}", 2) if known else sys.exit(2)
    except (UnfooledError, OSError, UnicodeDecodeError) as error:
        if debug:
            raise
        _fail(_one_line(error), 2)
    except KeyboardInterrupt:
        _fail(INTERRUPTED, 130)
    except Exception as error:
        if debug:
            raise
        _fail(f"a fault of unfooled: {type(error).__name__}: {error}; run again with --debug and report it", 1)
    # The library turns Ctrl-C inside a command into this status without a word.
    if status == 130:
        _fail(INTERRUPTED, 130)
    sys.exit(status if isinstance(status, int) else 0)


def _one_line(error: UnfooledError | OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnfooledError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "a table or text is not UTF-8; save it as UTF-8 (--debug shows which file)"
    place = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{place}no space left on the device; free some or choose another --out"
    return f"{place}{(error.strerror or str(error) or type(error).__name__).lower()}"


def _fail(message: str, status: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(status)
