"""The commands ``pinwheel mail test`` and ``mail log``."""

from __future__ import annotations

import argparse

from client import operations
from client.cli import api, format_time, print_table
from hub.terminal.printing import report, show


def mail_test(parser: argparse.ArgumentParser) -> None:
    """Send a mail to ADDRESS through the server of [mail]; say whether it was taken, or why not."""
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--locale", default="", metavar="LANGUAGE", help="such as de (default: English)")

    def run(args: argparse.Namespace) -> None:
        from hub.api import ONLY_HERE, is_only_here

        with api(args) as hub:
            sent = hub(operations.post_mail_test(address=args.address, locale=args.locale))
        hint = (ONLY_HERE,) if is_only_here(sent["base"]) else ()
        links = f"links in mails begin with {sent['base']}" if sent["base"] else "links in mails need [hub] url"
        report(args, sent, f"{sent['server']} has taken a mail to {sent['address']}; {links}", *hint)

    parser.set_defaults(run=run)


def mail_log(parser: argparse.ArgumentParser) -> None:
    """List the mails that were sent, have failed or wait, newest first."""
    parser.add_argument("--limit", type=int, default=50, metavar="N")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            mails = hub(operations.get_mails(size=args.limit))["content"]
        if args.json:
            show(mails)
            return
        rows = [
            (m["id"], format_time(m["createdAt"]), m["address"], m["kind"], m["state"], m["attempts"], m["error"])
            for m in mails
        ]
        print_table(("id", "time", "to", "kind", "state", "attempts", "last error"), rows)

    parser.set_defaults(run=run)
