"""The permissions that a role can have, in docs.blynk.io's wording, and the defaults of the built-in roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hub import Permission
from plugins.users.model import STAFF, USER

#: Permissions of this plugin, and those that other plugins, also future ones, check by these ids.
PERMISSIONS = (
    Permission("roles.view", "View roles and permissions"),
    Permission("roles.add", "Create new roles", root=True),
    Permission("roles.edit", "Edit roles"),
    Permission("roles.delete", "Delete roles", root=True),
    Permission("users.view", "View users"),
    Permission("users.invite", "Invite new users"),
    Permission("users.edit", "Edit users"),
    Permission("users.delete", "Delete users"),
    Permission("users.password", "Change user passwords"),
    Permission("users.logout", "Force Logout"),
    Permission("users.transfer", "Transfer users"),
    Permission("users.download", "Download users list"),
    Permission("users.suspend", "Suspend users"),
    Permission("transfers.devices", "Transfer devices"),
    Permission("orgs.settings", "Access organization settings"),
    Permission("orgs.view", "View Sub Organizations"),
    Permission("orgs.add", "Create sub-organizations"),
    Permission("orgs.delete", "Delete sub-organizations"),
    Permission("orgs.switch", "Switch to sub-organizations"),
    Permission("orgs.transfer", "Transfer organizations", root=True),
    Permission("own_locations.view", "View locations"),
    Permission("own_locations.add", "Create new locations"),
    Permission("own_locations.edit", "Edit locations"),
    Permission("own_locations.delete", "Delete locations"),
    Permission("own_locations.assign", "Assign users to locations"),
    Permission("org_locations.view", "View locations", own="own_locations.view"),
    Permission("org_locations.add", "Create new locations", own="own_locations.add"),
    Permission("org_locations.edit", "Edit locations", own="own_locations.edit"),
    Permission("org_locations.delete", "Delete locations", own="own_locations.delete"),
    Permission("org_locations.assign", "Assign users to locations", own="own_locations.assign"),
    Permission("automations.view", "View automations"),
    Permission("automations.add", "Create automations"),
    Permission("automations.edit", "Edit automations"),
    Permission("automations.delete", "Delete automations"),
    Permission("automations.execute", "Execute automations"),
    Permission("air.view", "Get access"),
    Permission("air.add", "Create new firmware shipments"),
    Permission("air.stop", "Stop/pause shipments"),
    Permission("dashboards.edit", "Manage Dashboards", developer=True),
    Permission("analytics.view", "View analytics"),
    Permission("rules.view", "View rule groups"),
    Permission("rules.add", "Create rule groups"),
    Permission("rules.edit", "Edit rule groups"),
    Permission("rules.delete", "Delete rule groups"),
    Permission("clients.view", "View OAuth token settings"),
    Permission("clients.add", "Create OAuth tokens"),
    Permission("clients.edit", "Edit OAuth tokens"),
    Permission("clients.delete", "Delete OAuth tokens"),
)

#: Permissions of Staff and User until an organization changes them. docs.blynk.io gives User none, so that the members
#: of a family would see nothing at all.
DEFAULTS: dict[int, frozenset[str]] = {
    STAFF: frozenset(
        """own_devices.view own_devices.control own_devices.edit own_devices.delete own_devices.delete_data
        org_devices.view org_devices.control org_devices.add org_devices.edit org_devices.delete timeline.edit
        templates.view users.view users.invite roles.view orgs.view automations.view automations.execute air.view
        own_locations.view org_locations.view""".split()
    ),
    USER: frozenset("own_devices.view own_devices.control own_locations.view".split()),
}


def prerequisite(permission: str, known: Collection[str]) -> str | None:
    """Return the permission to view what ``permission`` is about, without which it is of no use, or None."""
    group, _, verb = permission.partition(".")
    view = f"{group}.view"
    return view if verb != "view" and view in known else None


def switched(granted: frozenset[str], permission: str, known: Mapping[str, Permission], *, on: bool) -> frozenset[str]:
    """Return ``granted`` with a permission and its prerequisite added, or without it and all that require it."""
    if on:
        required = prerequisite(permission, known)
        return granted | {permission, *([required] if required else ())}
    return frozenset(other for other in granted if other != permission and prerequisite(other, known) != permission)
