"""``pinwheel audit …``."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from client import operations
from client.cli import api, format_time, print_table, quantity
from hub import Rejected
from hub.terminal.printing import report, show

_COLUMNS = ("id", "ts", "org", "who", "name", "address", "action", "subject", "details")


def audit_list(parser: argparse.ArgumentParser) -> None:
    """List who changed what, newest first."""
    parser.add_argument("--who", default="", metavar="WHO", help='such as "user 3"')
    parser.add_argument("--subject", default="", metavar="WHAT", help='such as "device 7"')
    parser.add_argument("--query", default="", metavar="TEXT", help="part of the action or its object")
    parser.add_argument("--limit", type=int, default=50, metavar="N")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            call = operations.get_audit(who=args.who, subject=args.subject, query=args.query, size=args.limit)
            records = hub(call)["content"]
        if args.json:
            show(records)
        else:
            rows = [(r["id"], format_time(r["ts"]), r["name"], r["action"], r["subject"]) for r in records]
            print_table(("record", "time", "who", "what", "object"), rows)

    parser.set_defaults(run=run)


def audit_verify(parser: argparse.ArgumentParser) -> None:
    """Find records that were changed, removed or cut off; exits with 1 if there are any."""
    parser.add_argument("--head", default="", metavar="HEX", help="an earlier head, which must be in the audit")

    def run(args: argparse.Namespace) -> int:
        with api(args) as hub:
            verdict = hub(operations.get_audit_verify(head=args.head))
        if args.json:
            show(verdict)
        else:
            print(f"{verdict['records']} records from {verdict['first']} on, head {verdict['head'] or '-'}")
            for problem in verdict["problems"]:
                print(f"pinwheel: {problem}", file=sys.stderr)
            if not verdict["problems"]:
                print("all is well")
        return int(bool(verdict["problems"]))

    parser.set_defaults(run=run)


def audit_export(parser: argparse.ArgumentParser) -> None:
    """Write all records to FILE: CSV if its name ends in .csv, else a JSON object a line."""
    parser.add_argument("file", type=Path, metavar="FILE")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            lines = hub(operations.get_audit_export()).splitlines()
        try:
            with args.file.open("w", newline="") as out:
                if args.file.suffix == ".csv":
                    writer = csv.DictWriter(out, _COLUMNS)
                    writer.writeheader()
                    for record in map(json.loads, lines):
                        writer.writerow(record | {"details": json.dumps(record["details"])})
                else:
                    out.writelines(line + "\n" for line in lines)
        except OSError as error:
            raise Rejected(f"{args.file}: {error.strerror}") from error
        report(
            args,
            {"records": len(lines), "file": str(args.file)},
            f"{quantity(len(lines), 'record')} written to {args.file}",
        )

    parser.set_defaults(run=run)
