"""The client's own command: what a shell needs to complete the others."""

from __future__ import annotations

import argparse
import json

from client.cli import whole_parser


def completion(parser: argparse.ArgumentParser) -> None:
    """Print what makes a shell complete commands and options, such as for ~/.bash_completion."""
    parser.add_argument("shell", metavar="SHELL", choices=["bash", "zsh"], help="bash or zsh")
    parser.set_defaults(run=_completion)


def _completion(args: argparse.Namespace) -> int:
    import shtab

    script = shtab.complete(whole_parser(), args.shell)
    print(json.dumps({"shell": args.shell, "script": script}) if args.json else script)
    return 0
