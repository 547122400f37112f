"""The command ``pinwheel completion``."""

from __future__ import annotations

import argparse
import json

from client.cli import full_parser


def completion(parser: argparse.ArgumentParser) -> None:
    """Print a script that makes the shell complete commands and options, such as for ~/.bash_completion."""
    parser.add_argument("shell", metavar="SHELL", choices=["bash", "zsh"], help="bash or zsh")
    parser.set_defaults(run=_completion)


def _completion(args: argparse.Namespace) -> int:
    import shtab

    script = shtab.complete(full_parser(), args.shell)
    print(json.dumps({"shell": args.shell, "script": script}) if args.json else script)
    return 0
