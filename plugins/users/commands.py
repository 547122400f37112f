"""``pinwheel user|org|role|key …``: ordinary clients of the API."""

from __future__ import annotations

import argparse
import getpass
import sys
import tomllib
from pathlib import Path
from typing import Any

from hub.cli import DURATION_HELP, api, confirmed, local_time, show, show_table, with_json
from hub.client import Api, operations
from hub.client.operations import InvitedUser, OrganizationObject, RoleObject, UserObject
from hub.errors import NotFound, Rejected
from hub.links import ONLY_HERE, is_only_here
from hub.signatures import camel
from hub.spellings import nfc, read_text
from hub.structure import seconds


def _org_of(hub: Api, text: str, below: int | None = None) -> OrganizationObject:
    """The organization that an id or a name means; of several with that name the one right ``below`` another.

    Raises `NotFound`, `Rejected` when several have that name.
    """
    if text.isascii() and text.isdecimal():
        return hub(operations.get_organization(org_id=int(text)))
    everyone = _orgs(hub, text)
    named = [org for org in everyone if org["name"] == nfc(text)]
    found = [org for org in named if org["parentOrganizationId"] == below] or named
    if not found:
        raise NotFound(f"there is no organization {text!r}")
    if len(found) > 1:
        raise Rejected(f"there are several organizations {text!r}: {', '.join(str(org['id']) for org in found)}")
    return found[0]


def _orgs(hub: Api, text: str | None = None) -> list[OrganizationObject]:
    """One's own organization, and those below it that have a text."""
    own = hub(operations.get_organization_profile())
    return [own, *hub(operations.get_organization_search(query=text, size=1000))["content"]]


def _user_of(hub: Api, email: str) -> UserObject:
    for user in hub(operations.get_organization_search_users(query=email, size=1000))["content"]:
        if user["email"] == email.lower():
            return user
    raise NotFound(f"there is no user {email!r}")


def _role_of(hub: Api, text: str, org: int | None = None) -> RoleObject:
    roles = hub(operations.get_organization_roles(org_id=org))["content"]
    for role in roles:
        if text.lower() == role["name"].lower() or text == str(role["id"]):
            return role
    raise NotFound(f"there is no role {text!r}; there are {', '.join(role['name'] for role in roles)}")


def _opened(link: str) -> str:
    """A link, and what to do when it opens on the hub's machine only."""
    return f"{link}\n{ONLY_HERE}" if is_only_here(link) else link


def _with_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


# -- users ------------------------------------------------------------------------------------------------------------


def user_add(parser: argparse.ArgumentParser) -> None:
    """Add a user with a password, or invite them: prints the link that they set their password with."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("--name", default="")
    parser.add_argument("--role", default="User", help="Admin, Staff, User or a role of your own")
    parser.add_argument("--org", default="1", metavar="ORG", help="an id or a name")
    parser.add_argument("--password-stdin", action="store_true", help="take the password from stdin")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org, role = _org_of(hub, args.org)["id"], _role_of(hub, args.role)["id"]
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
    parser.add_argument("--org", default="1", metavar="ORG", help="an id or a name")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        users: list[UserObject] = []
        with api(args) as hub:
            org = _org_of(hub, args.org)["id"]
            while True:
                page = hub(
                    operations.get_organization_users(
                        org_id=org, include_sub_org_users=True, page=len(users) // 1000, size=1000
                    )
                )
                users += page["content"]
                if len(users) >= page["totalElements"] or not page["content"]:
                    break
        if args.json:
            show(users)
        else:
            rows = [(u["id"], u["email"], u["name"], u["role"], u["orgId"], u["status"]) for u in users]
            show_table(("id", "email", "name", "role", "org", "status"), rows)

    parser.set_defaults(run=run)


def user_suspend(parser: argparse.ArgumentParser) -> None:
    """Suspend a user and end their sessions; --undo takes it back."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("--undo", action="store_true")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = _user_of(hub, args.email)
            hub(operations.post_organization_user_suspend(user_id=user["id"], suspended=not args.undo))

    parser.set_defaults(run=run)


def user_delete(parser: argparse.ArgumentParser) -> None:
    """Delete a user; their devices have no owner then."""
    parser.add_argument("email", metavar="EMAIL")
    _with_yes(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = _user_of(hub, args.email)
            confirmed(args, f"Delete {user['email']} with all that is kept about them?")
            hub(operations.delete_organization_user(user_id=user["id"]))

    parser.set_defaults(run=run)


def user_reset_password(parser: argparse.ArgumentParser) -> None:
    """Print a link by which a user sets a new password."""
    parser.add_argument("email", metavar="EMAIL")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = _user_of(hub, args.email)
            print(_opened(hub(operations.post_organization_user_reset(user_id=user["id"]))["link"]))

    parser.set_defaults(run=run)


# -- organizations ----------------------------------------------------------------------------------------------------


def org_add(parser: argparse.ArgumentParser) -> None:
    """Add an organization below another."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--parent", default="1", metavar="ORG", help="an id or a name")
    parser.add_argument("--timezone", default="", metavar="ZONE", help="such as Europe/Berlin")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            parent = _org_of(hub, args.parent)["id"]
            call = operations.post_organization_create(name=args.name, parent_id=parent, tz=args.timezone)
            made = hub(call)
        if args.json:
            show(made)
        else:
            print(f"{made['id']} {made['name']}")

    parser.set_defaults(run=run)


def org_list(parser: argparse.ArgumentParser) -> None:
    """List the organizations."""
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            found = _orgs(hub)
        if args.json:
            show(found)
        else:
            rows = [(o["id"], o["name"], o["parentOrganizationId"], o["users"], o["devices"]) for o in found]
            show_table(("id", "name", "parent", "users", "devices"), rows)

    parser.set_defaults(run=run)


def org_show(parser: argparse.ArgumentParser) -> None:
    """Show an organization."""
    parser.add_argument("org", metavar="ORG", help="an id or a name")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = _org_of(hub, args.org)
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
    parser.add_argument("org", metavar="ORG", help="an id or a name")
    parser.add_argument("parent", metavar="PARENT", help="an id or a name")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org, parent = _org_of(hub, args.org)["id"], _org_of(hub, args.parent)["id"]
            hub(operations.post_organization_transfer(org_id=org, parent_id=parent))

    parser.set_defaults(run=run)


def org_delete(parser: argparse.ArgumentParser) -> None:
    """Delete an empty organization; with --everything also its devices, users and sub-organizations."""
    parser.add_argument("org", metavar="ORG", help="an id or a name")
    parser.add_argument("--everything", action="store_true")
    _with_yes(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = _org_of(hub, args.org)
            what = " with all its devices, users and sub-organizations" if args.everything else ""
            confirmed(args, f"Delete {org['name']}{what}?")
            hub(operations.delete_organization(org_id=org["id"], everything=args.everything))

    parser.set_defaults(run=run)


def org_apply(parser: argparse.ArgumentParser) -> None:
    """Make an organization as a file says, with its users, roles, quotas and templates; again and again."""
    parser.add_argument("file", type=Path, metavar="FILE")

    def run(args: argparse.Namespace) -> None:
        try:
            wanted = tomllib.loads(read_text(args.file))
        except (OSError, ValueError) as error:
            raise Rejected(f"{args.file}: {getattr(error, 'strerror', None) or error}") from error
        _check_file(args.file, wanted)
        with api(args) as hub:
            for line in _apply(hub, wanted):
                print(line)

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
        problems += [
            f"user {user['email']}: unknown key {key}" for user in users for key in user if key not in _USER_KEYS
        ]
    tables = isinstance(roles, dict) and all(isinstance(switches, dict) for switches in roles.values())
    if not tables or not all(isinstance(on, bool) for switches in roles.values() for on in switches.values()):
        problems.append('[role.NAME]: permissions are true or false, such as "users.view" = true')
    if problems:
        raise Rejected("\n".join(f"{path}: {problem}" for problem in problems))


def _apply(hub: Api, wanted: dict[str, Any]) -> list[str]:
    """Bring the hub to what a file says; returns what was done."""
    said, done = {_KEYS[key]: value for key, value in wanted["organization"].items()}, []
    if "unit_system" in said:
        said["unit_system"] = said["unit_system"].upper()
    parent = _org_of(hub, str(said.pop("parent_id", "1")))["id"]
    try:
        org = _org_of(hub, said["name"], parent)
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
    return done or ["nothing to change"]


def _differs(have: Any, want: Any) -> bool:
    return (sorted(have or ()) != sorted(want)) if isinstance(want, list) else (have or "") != want


def _apply_user(hub: Api, org: int, user: dict[str, Any]) -> list[str]:
    role = _role_of(hub, user.get("role", "User"))
    try:
        found = _user_of(hub, user["email"])
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
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            found = hub(operations.get_organization_roles())["content"]
        if args.json:
            show(found)
        else:
            show_table(
                ("id", "name", "users", "permissions"),
                [(r["id"], r["name"], r["users"], len(r["permissions"])) for r in found],
            )

    parser.set_defaults(run=run)


def role_show(parser: argparse.ArgumentParser) -> None:
    """Show what a role may in an organization."""
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("--org", default="1", metavar="ORG", help="an id or a name")
    with_json(parser)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            role = _role_of(hub, args.role, _org_of(hub, args.org)["id"])
            known = hub(operations.get_organization_permissions())
        if args.json:
            show(role)
        else:
            rows = [("on" if p["id"] in role["permissions"] else "off", p["id"], p["label"]) for p in known]
            show_table(("", "permission", "what it is"), rows)

    parser.set_defaults(run=run)


def role_set(parser: argparse.ArgumentParser) -> None:
    """Turn a permission of a role on or off; --overwrite also in all organizations below."""
    parser.add_argument("role", metavar="ROLE")
    parser.add_argument("permission", metavar="PERMISSION")
    parser.add_argument("switch", choices=["on", "off"])
    parser.add_argument("--org", default="1", metavar="ORG", help="an id or a name")
    parser.add_argument("--overwrite", action="store_true")

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            org = _org_of(hub, args.org)["id"]
            role = _role_of(hub, args.role)["id"]
            switched = {args.permission: args.switch == "on"}
            hub(
                operations.post_organization_role_permissions(
                    role_id=role, org_id=org, permissions=switched, overwrite=args.overwrite
                )
            )

    parser.set_defaults(run=run)


# -- keys -------------------------------------------------------------------------------------------------------------


def key_add(parser: argparse.ArgumentParser) -> None:
    """Make an API key for a user; it is shown only now."""
    parser.add_argument("email", metavar="EMAIL")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--scope", action="append", metavar="PERMISSION", help="limit it to this; again for more")
    parser.add_argument("--expires", metavar="TIME", help=DURATION_HELP)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            user = _user_of(hub, args.email)["id"]
            try:
                lasts = int(seconds(args.expires) * 1000) if args.expires else None
            except ValueError as error:
                raise Rejected(f"--expires {error}") from error
            print(hub(operations.post_key(name=args.name, scopes=args.scope, lasts=lasts, user_id=user))["key"])

    parser.set_defaults(run=run)


def key_list(parser: argparse.ArgumentParser) -> None:
    """List the API keys of all users."""
    with_json(parser)

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
                    local_time(k["expires"]),
                    local_time(k["usedAt"]),
                )
                for k in found
            ]
            show_table(("id", "user", "name", "scopes", "expires", "used"), rows)

    parser.set_defaults(run=run)


def key_revoke(parser: argparse.ArgumentParser) -> None:
    """Revoke an API key; what uses it stops at once."""
    parser.add_argument("id", metavar="ID", type=int)

    def run(args: argparse.Namespace) -> None:
        with api(args) as hub:
            hub(operations.delete_key(key_id=args.id))

    parser.set_defaults(run=run)
