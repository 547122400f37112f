"""``pinwheel user|org|role|key …``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import getpass
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import operations
from client.cli import (
    DURATION_HELP,
    PAGE,
    add_organization_option,
    add_yes_option,
    api,
    confirm,
    fetch_all,
    find_organization,
    find_organization_id,
    find_user,
    format_time,
    list_organizations,
    organization_names,
    print_table,
    suggestion,
)
from hub.api import ONLY_HERE, is_only_here
from hub.errors import Conflict, NotFound, Rejected, RequestError
from hub.printing import report, show
from hub.spellings import read_text

if TYPE_CHECKING:
    from client import Api
    from client.operations import InvitedUser, RoleObject, UserObject


def _role_of(hub: Api, text: str, org: int | None = None) -> RoleObject:
    roles = hub(operations.get_organization_roles(org_id=org))["content"]
    for role in roles:
        if text.lower() == role["name"].lower() or text == str(role["id"]):
            return role
    raise NotFound(f"there is no role {text!r}; there are {', '.join(role['name'] for role in roles)}")


def _opened(link: str) -> str:
    """A link, and what to do when it opens on the hub's machine only."""
    return f"{link}\n{ONLY_HERE}" if is_only_here(link) else link


# -- users ------------------------------------------------------------------------------------------------------------


def user_add(parser: argparse.ArgumentParser) -> None:
    """Add a user with a password, or invite them: prints the link that they set their password with."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("--name", default="")
    parser.add_argument("--role", default="User", help="Admin, Staff, User or a role of your own")
    add_organization_option(parser)
    parser.add_argument("--password-stdin", action="store_true", help="take the password from stdin")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org, role = find_organization_id(hub, args.org), _role_of(hub, args.role)["id"]
            user: UserObject | InvitedUser
            link = ""
            if args.password_stdin:
                asked = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
                user = hub(
                    operations.post_organization_users_create_in_org(
                        email=args.email, name=args.name, role_id=role, org_id=org, password=asked
                    )
                )
            else:
                user = hub(
                    operations.post_organization_users_invite(
                        email=args.email, name=args.name, role_id=role, org_id=org
                    )
                )
                link = f"link: {_opened(user['link'])}"
        if args.json:
            show(user)
        else:
            print(f"{user['id']} {user['email']}, {user['role']}")
            if link:
                print(link)

    parser.set_defaults(run=run)


def user_list(parser: argparse.ArgumentParser) -> None:
    """List the users of an organization and those below it."""
    add_organization_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = find_organization_id(hub, args.org)
            users: list[UserObject] = fetch_all(
                hub,
                lambda page: operations.get_organization_users(
                    org_id=org, include_sub_org_users=True, page=page, size=PAGE
                ),
            )
            names = {} if args.json else organization_names(hub)
        if args.json:
            show(users)
        else:
            rows = [
                (u["id"], u["email"], u["name"], u["role"], names.get(u["orgId"], u["orgId"]), u["status"])
                for u in users
            ]
            print_table(("id", "email", "name", "role", "org", "status"), rows)

    parser.set_defaults(run=run)


def user_suspend(parser: argparse.ArgumentParser) -> None:
    """Suspend a user and end their sessions; --undo takes it back."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("--undo", action="store_true")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = find_user(hub, args.email)
            hub(operations.post_organization_user_suspend(user_id=user["id"], suspended=not args.undo))
        done = {"id": user["id"], "email": user["email"], "suspended": not args.undo}
        said = "may log in again" if args.undo else "is suspended, and their sessions have ended"
        report(args, done, f"{user['email']} {said}")

    parser.set_defaults(run=run)


def user_delete(parser: argparse.ArgumentParser) -> None:
    """Delete a user and their personal data; their devices stay, without an owner."""
    parser.add_argument("email", metavar="EMAIL")
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = find_user(hub, args.email)
            confirm(args, f"delete {user['email']} with their personal data")
            hub(operations.delete_organization_user(user_id=user["id"]))
        done = {"id": user["id"], "email": user["email"]}
        report(args, done, f"{user['email']} is deleted; their devices stay, without an owner")

    parser.set_defaults(run=run)


def user_reset_password(parser: argparse.ArgumentParser) -> None:
    """Print a link by which a user sets a new password."""
    parser.add_argument("email", metavar="EMAIL")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = find_user(hub, args.email)
            link = hub(operations.post_organization_user_reset(user_id=user["id"]))["link"]
        report(args, {"id": user["id"], "email": user["email"], "link": link}, _opened(link))

    parser.set_defaults(run=run)


# -- organizations ----------------------------------------------------------------------------------------------------


def org_add(parser: argparse.ArgumentParser) -> None:
    """Add an organization below another."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--parent", metavar="ORG", help="an id, or a name if it is unique (default: your own)")
    parser.add_argument("--timezone", default="", metavar="ZONE", help="such as Europe/Berlin")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            parent = find_organization_id(hub, args.parent)
            call = operations.post_organization_create(name=args.name, parent_id=parent, tz=args.timezone)
            made = hub(call)
        if args.json:
            show(made)
        else:
            print(f"{made['id']} {made['name']}")

    parser.set_defaults(run=run)


def org_list(parser: argparse.ArgumentParser) -> None:
    """List the organizations."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            found = list_organizations(hub)
        if args.json:
            show(found)
        else:
            rows = [(o["id"], o["name"], o["parentOrganizationId"], o["users"], o["devices"]) for o in found]
            print_table(("id", "name", "parent", "users", "devices"), rows)

    parser.set_defaults(run=run)


def org_show(parser: argparse.ArgumentParser) -> None:
    """Show an organization."""
    parser.add_argument("org", metavar="ORG", help="an id, or a name if it is unique")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = find_organization(hub, args.org)
        if args.json:
            show(org)
            return
        print(f"{org['name']} ({org['id']})")
        templates = "all" if org["templates"] is None else ", ".join(org["templates"]) or "none"
        quotas = ", ".join(f"{most} {what}" for what, most in org["quotas"].items())
        for name, value in (
            ("description", org["description"]),
            ("timezone", org["tz"]),
            ("units", (org["unitSystem"] or "").lower()),
            ("parent", org["parentOrganizationId"]),
            ("users", org["users"]),
            ("devices", org["devices"]),
        ):
            print(f"  {name:<14}{'-' if value in (None, '') else value}")
        print(f"  {'templates':<14}{templates}\n  {'quotas':<14}{quotas or '-'}")

    parser.set_defaults(run=run)


def org_transfer(parser: argparse.ArgumentParser) -> None:
    """Put an organization, with all that is in and below it, under another."""
    parser.add_argument("org", metavar="ORG", help="an id, or a name if it is unique")
    parser.add_argument("parent", metavar="PARENT", help="an id, or a name if it is unique")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org, parent = find_organization(hub, args.org), find_organization(hub, args.parent)
            moved = hub(operations.post_organization_transfer(org_id=org["id"], parent_id=parent["id"]))
        report(args, moved, f"{org['name']} ({org['id']}) is below {parent['name']} ({parent['id']}) now")

    parser.set_defaults(run=run)


def org_delete(parser: argparse.ArgumentParser) -> None:
    """Delete an empty organization; with --everything also its devices, users and sub-organizations."""
    parser.add_argument("org", metavar="ORG", help="an id, or a name if it is unique")
    parser.add_argument("--everything", action="store_true")
    add_yes_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = find_organization(hub, args.org)
            what = " with all its devices, users and sub-organizations" if args.everything else ""
            confirm(args, f"delete {org['name']}{what}")
            try:
                hub(operations.delete_organization(org_id=org["id"], everything=args.everything))
            except Conflict as error:
                raise Conflict(f"{error}; --everything deletes what belongs to it too") from error
        report(args, {"id": org["id"], "name": org["name"]}, f"{org['name']} ({org['id']}) is deleted")

    parser.set_defaults(run=run)


def org_apply(parser: argparse.ArgumentParser) -> None:
    """Create or update an organization from a file, with its users, roles, quotas and templates (safe to repeat)."""
    parser.add_argument("file", type=Path, metavar="FILE")

    def run(args: argparse.Namespace) -> None:
        try:
            wanted = tomllib.loads(read_text(args.file))
        except (OSError, ValueError) as error:
            raise Rejected(f"{args.file}: {getattr(error, 'strerror', None) or error}") from error
        _check_file(args.file, wanted)
        with api(args) as hub:
            problems = _unknown(hub, wanted)
            if problems:
                raise Rejected("\n".join(f"{args.file}: {problem}" for problem in problems))
            done = _apply(hub, wanted)
        report(args, {"changes": done}, *(done or ["nothing to change"]))

    parser.set_defaults(run=run)


#: Keys of a file, and what the API calls them.
_KEYS = {
    "name": "name",
    "parent": "parent_id",
    "description": "description",
    "timezone": "tz",
    "templates": "templates",
    "quotas": "quotas",
    "units": "unit_system",
    "unit_overrides": "unit_overrides",
}
_USER_KEYS = {"email", "name", "role"}


def _check_file(path: Path, wanted: dict[str, Any]) -> None:
    """Raises `Rejected`, with every problem on a line."""
    problems = [f"unknown key {key}" for key in wanted if key not in ("organization", "user", "role")]
    org = wanted.get("organization")
    if not isinstance(org, dict) or not isinstance(org.get("name"), str):
        problems.append("[organization] with a name is missing")
    else:
        problems += [f"organization: unknown key {key}" for key in org if key not in _KEYS]
        if org.get("units", "metric") not in ("metric", "imperial"):
            problems.append("organization: units are metric or imperial")
    users, roles = wanted.get("user", []), wanted.get("role", {})
    if not isinstance(users, list) or not all(isinstance(u, dict) and isinstance(u.get("email"), str) for u in users):
        problems.append("[[user]]: each has an email")
    else:
        problems += [f"user {user['email']!r}: is not an e-mail address" for user in users if "@" not in user["email"]]
        problems += [
            f"user {user['email']}: unknown key {key}" for user in users for key in user if key not in _USER_KEYS
        ]
    tables = isinstance(roles, dict) and all(isinstance(switches, dict) for switches in roles.values())
    if not tables or not all(isinstance(on, bool) for switches in roles.values() for on in switches.values()):
        problems.append('[role.NAME]: permissions are true or false, such as "users.view" = true')
    if problems:
        raise Rejected("\n".join(f"{path}: {problem}" for problem in problems))


def _unknown(hub: Api, wanted: dict[str, Any]) -> list[str]:
    """What a file names that the hub does not have: all of it, before anything is changed."""
    from hub import timezones

    problems = []

    def look(find: Callable[[Api, str], object], name: str, where: str) -> None:
        try:
            find(hub, name)
        except RequestError as error:
            problems.append(f"{where}: {error}")

    org = wanted["organization"]
    if org.get("timezone") and org["timezone"] not in timezones.names():
        problems.append(f"organization.timezone: there is no time zone {org['timezone']!r}")
    if "parent" in org:
        look(find_organization, str(org["parent"]), "organization.parent")
    templates = org.get("templates", [])
    known = {one["id"] for one in _templates(hub)} if templates else set()
    problems += [f"organization.templates: there is no template {one!r}" for one in templates if one not in known]
    permissions = {one["id"] for one in hub(operations.get_organization_permissions())}
    for name, switches in wanted.get("role", {}).items():
        look(_role_of, name, f"role.{name}")
        problems += [
            f"role.{name}: there is no permission {key!r}{suggestion(key, sorted(permissions))}"
            for key in switches
            if key not in permissions
        ]
    for user in wanted.get("user", []):
        if "role" in user:
            look(_role_of, str(user["role"]), f"user {user['email']}")
    return problems


def _templates(hub: Api) -> list[Any]:
    return fetch_all(hub, lambda page: operations.get_organization_templates(page=page, size=PAGE))


def _apply(hub: Api, wanted: dict[str, Any]) -> list[str]:
    """Bring the hub to what a file says; returns what was done."""
    from hub.api import camel

    said, done = {_KEYS[key]: value for key, value in wanted["organization"].items()}, []
    if "unit_system" in said:
        said["unit_system"] = said["unit_system"].upper()
    above = said.pop("parent_id", None)
    parent = (hub(operations.get_organization_profile()) if above is None else find_organization(hub, str(above)))["id"]
    try:
        org = find_organization(hub, said["name"], parent)
    except NotFound:
        org = hub(operations.post_organization_create(parent_id=parent, **said))
        done.append(f"+ organization {org['name']} ({org['id']})")
    else:
        changed = {key: value for key, value in said.items() if _differs(org.get(camel(key)), value)}
        if changed:
            hub(operations.put_organization(org_id=org["id"], **changed))
            done.append(f"~ organization {org['name']}: {', '.join(key for key, of in _KEYS.items() if of in changed)}")
        if org["parentOrganizationId"] not in (parent, None):
            hub(operations.post_organization_transfer(org_id=org["id"], parent_id=parent))
            done.append(f"~ organization {org['name']}: now below {parent}")
    for name, switches in wanted.get("role", {}).items():
        role = _role_of(hub, name, org["id"])
        new = {key: on for key, on in switches.items() if on != (key in role["permissions"])}
        if new:
            hub(operations.post_organization_role_permissions(role_id=role["id"], org_id=org["id"], permissions=new))
            done.append(f"~ role {role['name']}: {', '.join(('+' if on else '-') + key for key, on in new.items())}")
    for user in wanted.get("user", []):
        done += _apply_user(hub, org["id"], user)
    return done


def _differs(have: Any, want: Any) -> bool:
    return (sorted(have or ()) != sorted(want)) if isinstance(want, list) else (have or "") != want


def _apply_user(hub: Api, org: int, user: dict[str, Any]) -> list[str]:
    role = _role_of(hub, user.get("role", "User"))
    try:
        found = find_user(hub, user["email"])
    except NotFound:
        call = operations.post_organization_users_invite(
            email=user["email"], name=user.get("name"), role_id=role["id"], org_id=org
        )
        made = hub(call)
        return [f"+ user {made['email']}, {made['role']}: {_opened(made['link'])}"]
    done = []
    if found["orgId"] != org:
        hub(operations.post_organization_users_transfer(user_id=found["id"], target_org_id=org, role_id=role["id"]))
        done.append(f"~ user {found['email']}: transferred")
    elif found["roleId"] != role["id"]:
        hub(operations.put_organization_users_role(user_id=found["id"], role_id=role["id"]))
        done.append(f"~ user {found['email']}: now {role['name']}")
    if "name" in user and found["name"] != user["name"]:
        hub(operations.put_organization_user(user_id=found["id"], name=user["name"]))
        done.append(f"~ user {found['email']}: named {user['name']}")
    return done


# -- roles ------------------------------------------------------------------------------------------------------------


def role_list(parser: argparse.ArgumentParser) -> None:
    """List the roles."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            found = hub(operations.get_organization_roles())["content"]
        if args.json:
            show(found)
        else:
            print_table(
                ("id", "name", "users", "permissions"),
                [(r["id"], r["name"], r["users"], len(r["permissions"])) for r in found],
            )

    parser.set_defaults(run=run)


def role_show(parser: argparse.ArgumentParser) -> None:
    """Show the permissions of a role in an organization."""
    parser.add_argument("role", metavar="ROLE")
    add_organization_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            role = _role_of(hub, args.role, find_organization_id(hub, args.org))
            known = hub(operations.get_organization_permissions())
        if args.json:
            show(role)
        else:
            rows = [("on" if p["id"] in role["permissions"] else "off", p["id"], p["label"]) for p in known]
            print_table(("", "permission", "description"), rows)

    parser.set_defaults(run=run)


def role_set(parser: argparse.ArgumentParser) -> None:
    """Turn a permission of a role on or off; --overwrite also in all organizations below."""
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("permission", metavar="PERMISSION")
    parser.add_argument("switch", choices=["on", "off"])
    add_organization_option(parser)
    parser.add_argument("--overwrite", action="store_true")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = find_organization_id(hub, args.org)
            before = _role_of(hub, args.role, org)
            switched = {args.permission: args.switch == "on"}
            role = hub(
                operations.post_organization_role_permissions(
                    role_id=before["id"], org_id=org, permissions=switched, overwrite=args.overwrite
                )
            )
        added, removed = (
            sorted(set(one["permissions"]) - set(other["permissions"]))
            for one, other in ((role, before), (before, role))
        )
        changes = [*(f"+{name}" for name in added), *(f"-{name}" for name in removed)]
        where = " and in all organizations below" if args.overwrite else ""
        report(args, role, f"role {role['name']}: {', '.join(changes) or 'nothing to change'}{where}")

    parser.set_defaults(run=run)


# -- keys -------------------------------------------------------------------------------------------------------------


def key_add(parser: argparse.ArgumentParser) -> None:
    """Make an API key for a user; it is shown only now."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--scope", action="append", metavar="PERMISSION", help="limit it to this; again for more")
    parser.add_argument("--expires", metavar="TIME", help=DURATION_HELP)

    def run(args: argparse.Namespace) -> None:
        from hub.structuring import seconds

        with api(args) as hub:
            user = find_user(hub, args.email)["id"]
            try:
                lasts = int(seconds(args.expires) * 1000) if args.expires else None
            except ValueError as error:
                raise Rejected(f"--expires {error}") from error
            made = hub(operations.post_key(name=args.name, scopes=args.scope, lasts=lasts, user_id=user))
        report(args, made, made["key"])

    parser.set_defaults(run=run)


def key_list(parser: argparse.ArgumentParser) -> None:
    """List the API keys of all users."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            found = hub(operations.get_keys())
        if args.json:
            show(found)
        else:
            rows = [
                (
                    k["id"],
                    k["user"],
                    k["name"],
                    "all" if k["scopes"] is None else " ".join(k["scopes"]),
                    format_time(k["expires"]),
                    format_time(k["usedAt"]),
                )
                for k in found
            ]
            print_table(("id", "user", "name", "scopes", "expires", "used"), rows)

    parser.set_defaults(run=run)


def key_revoke(parser: argparse.ArgumentParser) -> None:
    """Revoke an API key; what uses it stops at once."""
    parser.add_argument("id", metavar="ID", type=int)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            hub(operations.delete_key(key_id=args.id))
        report(args, {"id": args.id}, f"key {args.id} is revoked")

    parser.set_defaults(run=run)
