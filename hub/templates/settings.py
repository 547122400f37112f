"""Checks of the settings of a template that are neither datastreams nor dashboards: its product, guides, events,
metadata and lifecycle.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from hub.domain.metadata import OWNER, field_problems
from hub.domain.timeline import MAX_DESCRIPTION
from hub.model import EventType, Guides, Lifecycle, MetadataField, Notifications, StatusSettings, Template
from hub.parsing.spellings import is_name, is_printable
from hub.parsing.structuring import duration_problem

#: Seconds until a device is offline (docs.blynk.io allows half an hour).
MAX_WAIT = 1800
#: Custom statuses in addition to Online and Offline (docs.blynk.io, Connection lifecycle).
MAX_STATUSES = 2
#: Characters of the template's texts, of a category and the number of categories.
MAX_TEXT = {"manufacturer": 128, "description": 200, "hotspot_prefix": 20, "broadcast_name": 32}
MAX_CATEGORY, MAX_CATEGORIES = 50, 20
#: Steps and characters of the guides (docs.blynk.io, User guides).
MAX_STEPS = 10
MAX_GUIDE = {"installation": 4_000, "activation": 400, "troubleshooting_title": 40}
MAX_URL = 1_024
#: Characters of a tag (docs.blynk.io, Tags), of an icon and of a role, and the roles of a metadata field.
MAX_TAG, MAX_ICON, MAX_ROLE, MAX_ROLES = 24, 50, 50, 50
#: Types of metadata fields that can name the recipients of a channel.
RECIPIENT_TYPES = {"email": ("contact", "email"), "push": ("contact", "email"), "sms": ("contact",)}

#: The possible recipients of each channel.
_Recipients = Mapping[str, frozenset[str]]

_NAME = re.compile(r"[A-Za-z0-9 _-]{1,50}")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_LOGO = re.compile(r"(https?://\S+|(template_asset://)?[A-Za-z0-9_-]+)")
_LINK = re.compile(r"(https?://|mailto:|tel:)\S+")
_STEP = re.compile(r"^# ", re.MULTILINE)


def problems(template: Template) -> Iterable[str]:
    """Yield the problems of a template's settings, a line each."""
    yield from _product_problems(template)
    yield from _guide_problems(template.guides)
    recipients = {
        channel: frozenset([OWNER, *(field.name for field in template.metadata if field.type in types)])
        for channel, types in RECIPIENT_TYPES.items()
    }
    for number, event in enumerate(template.events, 1):
        yield from (f"event {number}: {problem}" for problem in _event_problems(event, recipients))
    for number, field in enumerate(template.metadata, 1):
        yield from (f"metadata {number} ({field.name}): {problem}" for problem in _metadata_problems(field))
    yield from (f"lifecycle: {problem}" for problem in _lifecycle_problems(template.lifecycle, recipients))


def appearance_problems(color: str, icon: str = "") -> Iterable[str]:
    """Yield the problems of a color and an icon; both may be empty."""
    if color and _COLOR.fullmatch(color) is None:
        yield "color must be like #24a0ed"
    if len(icon) > MAX_ICON or not is_printable(icon):
        yield f"icon must have at most {MAX_ICON} printable characters"


def _product_problems(template: Template) -> Iterable[str]:
    for key, limit in MAX_TEXT.items():
        if len(getattr(template, key)) > limit:
            yield f"{key}: must have at most {limit} characters"
    for key in ("hotspot_prefix", "broadcast_name"):
        if not is_printable(getattr(template, key)):
            yield f"{key}: must be printable"
    if len(template.categories) > MAX_CATEGORIES or not all(
        is_name(name, MAX_CATEGORY) for name in template.categories
    ):
        yield f"categories: must be at most {MAX_CATEGORIES}, each with 1 to {MAX_CATEGORY} printable characters"
    yield from _repeated("categories", template.categories)
    if template.logo and (len(template.logo) > MAX_URL or _LOGO.fullmatch(template.logo) is None):
        yield f"logo: must be the address of an image, or the id of an asset, of at most {MAX_URL} characters"


def _guide_problems(guides: Guides) -> Iterable[str]:
    for key, limit in MAX_GUIDE.items():
        if len(getattr(guides, key)) > limit:
            yield f"guides: {key} must have at most {limit} characters"
    if (steps := len(_STEP.findall(guides.installation))) > MAX_STEPS:
        yield f"guides: installation has {steps} steps; at most {MAX_STEPS} are possible"
    url = guides.troubleshooting_url
    if url and (len(url) > MAX_URL or _LINK.fullmatch(url) is None):
        yield (
            "guides: troubleshooting_url must begin with https://, http://, mailto: or tel:, and have no spaces and at"
            f" most {MAX_URL} characters"
        )
    if guides.troubleshooting_title and not url:
        yield "guides: troubleshooting_title needs a troubleshooting_url"


def _event_problems(event: EventType, recipients: _Recipients) -> Iterable[str]:
    if _NAME.fullmatch(event.code) is None:
        yield "code must be 1-50 letters, digits, space, _ and -"
    if len(event.description) > MAX_DESCRIPTION:
        yield f"description has more than {MAX_DESCRIPTION} characters"
    yield from appearance_problems(event.color)
    if event.tag and not is_name(event.tag, MAX_TAG):
        yield f"tag must have at most {MAX_TAG} printable characters"
    yield from _limit_problems(event)
    yield from _recipient_problems(event.notifications, recipients)
    if event.type != "content" and (event.subtitle or event.image or event.action_title or event.action_url):
        yield "only an event of type content can have a subtitle, an image and an action"


def _limit_problems(settings: EventType | StatusSettings) -> Iterable[str]:
    if settings.every < 1:
        yield "every must be at least 1"
    if problem := duration_problem(settings.period):
        yield f"period {problem}"


def _recipient_problems(notifications: Notifications, recipients: _Recipients) -> Iterable[str]:
    for channel, types in RECIPIENT_TYPES.items():
        names: tuple[str, ...] = getattr(notifications, channel)
        for name in dict.fromkeys(names):
            if name not in recipients[channel]:
                yield (
                    f"notifications.{channel}: {name[:50]!r} must be {OWNER} or a metadata field of type"
                    f" {' or '.join(types)}"
                )
        yield from _repeated(f"notifications.{channel}", names)


def _repeated(key: str, names: Iterable[str]) -> Iterable[str]:
    yield from (f"{key}: {name[:50]!r} is used {count} times" for name, count in Counter(names).items() if count > 1)


def _metadata_problems(field: MetadataField) -> Iterable[str]:
    yield from field_problems(field)
    if (field.required_in_provisioning or field.exclude_from_profile) and not field.in_provisioning:
        yield "required_in_provisioning and exclude_from_profile need in_provisioning"
    for key in ("view_roles", "edit_roles"):
        roles: tuple[str, ...] = getattr(field, key)
        if len(roles) > MAX_ROLES or not all(is_name(role, MAX_ROLE) for role in roles):
            yield f"{key}: must be at most {MAX_ROLES}, each with 1 to {MAX_ROLE} printable characters"
        yield from _repeated(key, roles)
    if field.view_roles and not set(field.edit_roles) <= set(field.view_roles):
        yield "edit_roles: a role that cannot see the field cannot edit it"


def _lifecycle_problems(lifecycle: Lifecycle, recipients: _Recipients) -> Iterable[str]:
    if not lifecycle.wait or (problem := duration_problem(lifecycle.wait, 0, MAX_WAIT)):
        yield f"wait {problem if lifecycle.wait else 'is missing'}"
    if len(lifecycle.status) > MAX_STATUSES:
        yield f"at most {MAX_STATUSES} custom statuses are allowed"
    names = [lifecycle.online, lifecycle.offline, *(status.name for status in lifecycle.status)]
    yield from (f"name {name!r} must have 1-50 characters" for name in names if not 0 < len(name) <= 50)
    yield from (f"{name!r} is used {n} times" for name, n in Counter(names).items() if n > 1)
    for status in lifecycle.status:
        if not status.after or (problem := duration_problem(status.after)):
            yield f"{status.name}: after {problem if status.after else 'is missing'}"
    described: list[tuple[str, StatusSettings]] = [
        ("online_settings", lifecycle.online_settings),
        ("offline_settings", lifecycle.offline_settings),
        *((status.name, status) for status in lifecycle.status),
    ]
    for where, settings in described:
        for check in (
            appearance_problems(settings.color, settings.icon),
            _limit_problems(settings),
            _recipient_problems(settings.notifications, recipients),
        ):
            yield from (f"{where}: {problem}" for problem in check)
