"""The commands ``pinwheel user|org|role|key …``, which are ordinary clients of the API."""

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
from hub import Conflict, NotFound, Rejected, RequestError
from hub.parsing.spellings import read_text
from hub.terminal.printing import report, show

if TYPE_CHECKING:
    from client import Api
    from client.operations import InvitedUser, OrganizationObject, PageLink, RoleObject, UserObject


def _role_of(hub: Api, text: str, org: int | None = None) -> RoleObject:
    roles = hub(operations.get_organization_roles(org_id=org))["content"]
    for role in roles:
        if text.lower() == role["name"].lower() or text == str(role["id"]):
            return role
    raise NotFound(f"there is no role {text!r}; there are {', '.join(role['name'] for role in roles)}")


def _link_or_address(hub: Api, offered: InvitedUser | PageLink) -> str:
    """Return a link, with what to do about it if it opens on the hub's machine only, or to whom it is mailed."""
    from client.remote import Remote
    from hub.api import ONLY_HERE, is_only_here

    link = offered["link"]
    if link is None:
        return f"mailed to {offered['mailedTo']}{'' if isinstance(hub, Remote) else ' when the hub runs'}"
    return f"{link}\n{ONLY_HERE}" if is_only_here(link) else link


# -- users ------------------------------------------------------------------------------------------------------------


def user_add(parser: argparse.ArgumentParser) -> None:
    """Add a user with a password, or invite them: mail or print the link with which they set their password."""
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
                password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
                user = hub(
                    operations.post_organization_users_create_in_org(
                        email=args.email, name=args.name, role_id=role, org_id=org, password=password
                    )
                )
            else:
                user = hub(
                    operations.post_organization_users_invite(
                        email=args.email, name=args.name, role_id=role, org_id=org
                    )
                )
                link = f"link: {_link_or_address(hub, user)}"
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
        result = {"id": user["id"], "email": user["email"], "suspended": not args.undo}
        outcome = "may log in again" if args.undo else "is suspended, and their sessions have ended"
        report(args, result, f"{user['email']} {outcome}")

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
        result = {"id": user["id"], "email": user["email"]}
        report(args, result, f"{user['email']} is deleted; their devices stay, without an owner")

    parser.set_defaults(run=run)


def user_reset_password(parser: argparse.ArgumentParser) -> None:
    """Mail a user a link for a new password, or print the link if there is no mail."""
    parser.add_argument("email", metavar="EMAIL")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = find_user(hub, args.email)
            offered = hub(operations.post_organization_user_reset(user_id=user["id"]))
            text = _link_or_address(hub, offered)
        report(args, {"id": user["id"], "email": user["email"], **offered}, text)

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
            org = hub(operations.post_organization_create(name=args.name, parent_id=parent, tz=args.timezone))
        if args.json:
            show(org)
        else:
            print(f"{org['id']} {org['name']}")

    parser.set_defaults(run=run)


def org_list(parser: argparse.ArgumentParser) -> None:
    """List the organizations."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            orgs = list_organizations(hub)
        if args.json:
            show(orgs)
        else:
            rows = [(o["id"], o["name"], o["parentOrganizationId"], o["users"], o["devices"]) for o in orgs]
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
        quotas = ", ".join(f"{limit} {kind}" for kind, limit in org["quotas"].items())
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
    """Move an organization, with everything in and below it, under another."""
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
            contents = " with all its devices, users and sub-organizations" if args.everything else ""
            confirm(args, f"delete {org['name']}{contents}")
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
            problems = _unknown_names(hub, wanted)
            if problems:
                raise Rejected("\n".join(f"{args.file}: {problem}" for problem in problems))
            changes = _apply(hub, wanted)
        report(args, {"changes": changes}, *(changes or ["nothing to change"]))

    parser.set_defaults(run=run)


#: Fields of the API by the keys of a file's [organization].
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
    """Check the keys and types of a file's contents. Raises `Rejected` with every problem on a line."""
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


def _unknown_names(hub: Api, wanted: dict[str, Any]) -> list[str]:
    """Return the problems with names in a file that the hub does not have, before anything is changed."""
    from hub.parsing import timezones

    problems = []

    def check(find: Callable[[Api, str], object], name: str, key: str) -> None:
        try:
            find(hub, name)
        except RequestError as error:
            problems.append(f"{key}: {error}")

    org = wanted["organization"]
    if org.get("timezone") and org["timezone"] not in timezones.names():
        problems.append(f"organization.timezone: there is no time zone {org['timezone']!r}")
    if "parent" in org:
        check(find_organization, str(org["parent"]), "organization.parent")
    templates = org.get("templates", [])
    known = {template["id"] for template in _templates(hub)} if templates else set()
    problems += [f"organization.templates: there is no template {name!r}" for name in templates if name not in known]
    permissions = {permission["id"] for permission in hub(operations.get_organization_permissions())}
    for name, switches in wanted.get("role", {}).items():
        check(_role_of, name, f"role.{name}")
        problems += [
            f"role.{name}: there is no permission {key!r}{suggestion(key, sorted(permissions))}"
            for key in switches
            if key not in permissions
        ]
    for user in wanted.get("user", []):
        if "role" in user:
            check(_role_of, str(user["role"]), f"user {user['email']}")
    return problems


def _templates(hub: Api) -> list[Any]:
    return fetch_all(hub, lambda page: operations.get_organization_templates(page=page, size=PAGE))


def _apply(hub: Api, wanted: dict[str, Any]) -> list[str]:
    """Create or change what differs from a file; return a line for each change."""
    org, changes = _apply_organization(hub, wanted["organization"])
    for name, switches in wanted.get("role", {}).items():
        role = _role_of(hub, name, org["id"])
        new = {key: on for key, on in switches.items() if on != (key in role["permissions"])}
        if new:
            hub(operations.post_organization_role_permissions(role_id=role["id"], org_id=org["id"], permissions=new))
            changes.append(f"~ role {role['name']}: {', '.join(('+' if on else '-') + key for key, on in new.items())}")
    for user in wanted.get("user", []):
        changes += _apply_user(hub, org["id"], user)
    return changes


def _apply_organization(hub: Api, wanted: dict[str, Any]) -> tuple[OrganizationObject, list[str]]:
    from hub.api import camel

    fields, changes = {_KEYS[key]: value for key, value in wanted.items()}, []
    if "unit_system" in fields:
        fields["unit_system"] = fields["unit_system"].upper()
    above = fields.pop("parent_id", None)
    parent = (hub(operations.get_organization_profile()) if above is None else find_organization(hub, str(above)))["id"]
    try:
        org = find_organization(hub, fields["name"], parent)
    except NotFound:
        org = hub(operations.post_organization_create(parent_id=parent, **fields))
        changes.append(f"+ organization {org['name']} ({org['id']})")
    else:
        changed = {key: value for key, value in fields.items() if _differs(org.get(camel(key)), value)}
        if changed:
            hub(operations.put_organization(org_id=org["id"], **changed))
            keys = ", ".join(key for key, field in _KEYS.items() if field in changed)
            changes.append(f"~ organization {org['name']}: {keys}")
        if org["parentOrganizationId"] not in (parent, None):
            hub(operations.post_organization_transfer(org_id=org["id"], parent_id=parent))
            changes.append(f"~ organization {org['name']}: now below {parent}")
    return org, changes


def _differs(current: Any, wanted: Any) -> bool:
    return (sorted(current or ()) != sorted(wanted)) if isinstance(wanted, list) else (current or "") != wanted


def _apply_user(hub: Api, org: int, wanted: dict[str, Any]) -> list[str]:
    role = _role_of(hub, wanted.get("role", "User"))
    try:
        user = find_user(hub, wanted["email"])
    except NotFound:
        invited = hub(
            operations.post_organization_users_invite(
                email=wanted["email"], name=wanted.get("name"), role_id=role["id"], org_id=org
            )
        )
        return [f"+ user {invited['email']}, {invited['role']}: {_link_or_address(hub, invited)}"]
    changes = []
    if user["orgId"] != org:
        hub(operations.post_organization_users_transfer(user_id=user["id"], target_org_id=org, role_id=role["id"]))
        changes.append(f"~ user {user['email']}: transferred")
    elif user["roleId"] != role["id"]:
        hub(operations.put_organization_users_role(user_id=user["id"], role_id=role["id"]))
        changes.append(f"~ user {user['email']}: now {role['name']}")
    if "name" in wanted and user["name"] != wanted["name"]:
        hub(operations.put_organization_user(user_id=user["id"], name=wanted["name"]))
        changes.append(f"~ user {user['email']}: named {wanted['name']}")
    return changes


# -- roles ------------------------------------------------------------------------------------------------------------


def role_list(parser: argparse.ArgumentParser) -> None:
    """List the roles."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            roles = hub(operations.get_organization_roles())["content"]
        if args.json:
            show(roles)
        else:
            rows = [(r["id"], r["name"], r["users"], len(r["permissions"])) for r in roles]
            print_table(("id", "name", "users", "permissions"), rows)

    parser.set_defaults(run=run)


def role_show(parser: argparse.ArgumentParser) -> None:
    """Show the permissions of a role in an organization."""
    parser.add_argument("role", metavar="ROLE")
    add_organization_option(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            role = _role_of(hub, args.role, find_organization_id(hub, args.org))
            permissions = hub(operations.get_organization_permissions())
        if args.json:
            show(role)
        else:
            rows = [("on" if p["id"] in role["permissions"] else "off", p["id"], p["label"]) for p in permissions]
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
        added = sorted(set(role["permissions"]) - set(before["permissions"]))
        removed = sorted(set(before["permissions"]) - set(role["permissions"]))
        changes = [*(f"+{name}" for name in added), *(f"-{name}" for name in removed)]
        where = " and in all organizations below" if args.overwrite else ""
        report(args, role, f"role {role['name']}: {', '.join(changes) or 'nothing to change'}{where}")

    parser.set_defaults(run=run)


# -- keys -------------------------------------------------------------------------------------------------------------


def key_add(parser: argparse.ArgumentParser) -> None:
    """Create an API key for a user and print it; it cannot be read later."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("name", metavar="NAME")
    limit = "limit the key to this permission; can be repeated"
    parser.add_argument("--scope", action="append", metavar="PERMISSION", help=limit)
    parser.add_argument("--expires", metavar="TIME", help=DURATION_HELP)

    def run(args: argparse.Namespace) -> None:
        from hub.parsing.structuring import seconds

        with api(args) as hub:
            user = find_user(hub, args.email)["id"]
            try:
                lifetime_ms = int(seconds(args.expires) * 1000) if args.expires else None
            except ValueError as error:
                raise Rejected(f"--expires {error}") from error
            key = hub(operations.post_key(name=args.name, scopes=args.scope, lasts=lifetime_ms, user_id=user))
        report(args, key, key["key"])

    parser.set_defaults(run=run)


def key_list(parser: argparse.ArgumentParser) -> None:
    """List the API keys of all users."""

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            keys = hub(operations.get_keys())
        if args.json:
            show(keys)
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
                for k in keys
            ]
            print_table(("id", "user", "name", "scopes", "expires", "used"), rows)

    parser.set_defaults(run=run)


def key_revoke(parser: argparse.ArgumentParser) -> None:
    """Revoke an API key; it stops working at once."""
    parser.add_argument("id", metavar="ID", type=int)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            hub(operations.delete_key(key_id=args.id))
        report(args, {"id": args.id}, f"key {args.id} is revoked")

    parser.set_defaults(run=run)
