"""The command `leptond`: one parser, each command a module with `register(subparsers)` and `run(args) -> int`.

Exit codes: 0 done, 1 failed, 2 wrong configuration or arguments, 3 wrong model, 4 device that cannot run it. A user's
mistake gets its text on stderr, never a traceback.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Final

import setproctitle

from .config.config import json_schema, load
from .errors import LeptonError
from .log import configure_logging, redact
from .supervision.reporter import package_version

DEFAULT_CONFIG: Final = Path("/etc/leptond/config.toml")
INTERRUPTED_EXIT_CODE: Final = 130  # 128 + SIGINT, as shells count

COMMANDS: Final = {  # command → the module that registers it
    "check": "commands.check",
    "status": "commands.status",
    "tail": "commands.tail",
    "clip": "commands.clip_command",
    "doctor": "commands.doctor",
    "simulate": "simulator.command",
    "demo": "commands.demo",
    "harvest": "commands.harvest",
    "explain": "commands.explain",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser(argv[0] if argv else "").parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except LeptonError as exc:
        print(redact(str(exc)), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # `leptond tail | head` is no error; without this the interpreter complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of `command` alone, which spares the imports of the others; of all when there is none such."""
    root = argparse.ArgumentParser(prog="leptond", description="Real-time video surveillance: cameras in, alerts out.")
    root.add_argument("--version", action="version", version=f"leptond {package_version()}")
    subparsers = root.add_subparsers(required=True, metavar="COMMAND")
    _register_run(subparsers)
    _register_schema(subparsers)
    for module in [COMMANDS[command]] if command in COMMANDS else COMMANDS.values():
        importlib.import_module(f".{module}", __package__).register(subparsers)
    for each in subparsers.choices.values():
        _add_config(each)
    return root


def _add_config(command: argparse.ArgumentParser) -> None:
    if not any("--config" in action.option_strings for action in command._actions):  # noqa: SLF001 - no public way
        command.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)"
        )


def _register_run(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser("run", help="run the daemon in the foreground, as systemd does")
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from .supervision.supervisor import Supervisor

    setproctitle.setproctitle("leptond: supervisor")
    service = load(args.config).service
    configure_logging(service.log_level, service.log_format, process="supervisor")
    return Supervisor(args.config).run()


def _register_schema(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = subparsers.add_parser("config", help="about the configuration file")
    topics = command.add_subparsers(required=True, metavar="TOPIC")
    topics.add_parser("schema", help="print its JSON Schema").set_defaults(run=_schema)


def _schema(_args: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
