"""Settings of templates: notifications, statuses, provisioning, guides and the product; their limits and changes."""

from __future__ import annotations

import json
import types
import typing

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.templates import stream, template

from hub.model import (
    EventType,
    Guides,
    Lifecycle,
    MetadataField,
    Notifications,
    OfflineSettings,
    Status,
    StatusSettings,
    Template,
    UserInteraction,
)
from hub.templates.document import (
    BadTemplate,
    _Head,
    difference,
    from_row,
    parse,
    read,
    to_document,
    to_row,
    to_toml,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=12)
FLAG = st.booleans()
ROLES = st.lists(NAME, max_size=3, unique=True)
COLOR = st.sampled_from(["", "#24a0ed", "#FFFFFF"])
DURATION = st.sampled_from(["", "1m", "2h", "0s"])
EVERY = st.integers(1, 10**6)


def notifications(fields):
    """Notifications with recipients among the metadata fields."""
    contacts = ["Device Owner", *(field.name for field in fields if field.type == "contact")]
    persons = [*contacts, *(field.name for field in fields if field.type == "email")]
    some, reachable = (st.lists(st.sampled_from(names), max_size=3, unique=True) for names in (persons, contacts))
    return st.builds(Notifications, enabled=FLAG, email=some, push=some, sms=reachable, alert=FLAG, manageable=FLAG)


def status_settings(fields):
    return {
        "description": TEXT,
        "color": COLOR,
        "icon": NAME | st.just(""),
        "timeline": FLAG,
        "show_in_notifications": FLAG,
        "every": EVERY,
        "period": DURATION,
        "notifications": notifications(fields),
        "include_in_reports": FLAG,
    }


def offline_settings(fields):
    interaction = st.builds(
        UserInteraction,
        disable_widgets=st.sampled_from(["none", "all", "control"]),
        notice_on_open=FLAG,
        notice_on_interaction=FLAG,
    )
    return status_settings(fields) | {"interaction": interaction}


@st.composite
def metadata_fields(draw, name):
    in_provisioning = draw(FLAG)
    view_roles = draw(ROLES)
    edit_roles = draw(st.lists(st.sampled_from(view_roles), unique=True)) if view_roles else draw(ROLES)
    return MetadataField(
        name=name,
        type=draw(st.sampled_from(["text", "contact", "email"])),
        in_provisioning=in_provisioning,
        required_in_provisioning=in_provisioning and draw(FLAG),
        exclude_from_profile=in_provisioning and draw(FLAG),
        view_roles=view_roles,
        edit_roles=edit_roles,
    )


@st.composite
def templates(draw):
    fields = [draw(metadata_fields(name)) for name in draw(st.lists(NAME, max_size=3, unique=True))]
    events = [
        draw(
            st.builds(
                EventType,
                code=st.just(code),
                name=TEXT,
                type=st.just("content"),
                color=COLOR,
                tag=NAME | st.just(""),
                timeline=FLAG,
                show_in_notifications=FLAG,
                archivable=FLAG,
                every=EVERY,
                period=DURATION,
                notifications=notifications(fields),
                subtitle=TEXT,
                image=TEXT,
                action_title=TEXT,
                action_url=TEXT,
            )
        )
        for code in draw(st.lists(st.sampled_from(["hot", "cold", "wet"]), max_size=2, unique=True))
    ]
    statuses = [
        draw(st.builds(Status, name=st.just(name), after=st.just("7d"), **offline_settings(fields)))
        for name in draw(st.lists(NAME, max_size=2, unique=True))
    ]
    url = draw(st.sampled_from(["https://example.org/help", "mailto:help@example.org", "tel:+41440000000"]))
    return Template(
        id="TMPL0",
        name="Product",
        categories=draw(ROLES),
        hotspot_prefix=draw(NAME | st.just("")),
        broadcast_name=draw(NAME | st.just("")),
        logo=draw(st.sampled_from(["", "https://example.org/logo.png", "template_asset://12", "12"])),
        guides=draw(
            st.builds(
                Guides,
                installation=TEXT,
                activation=TEXT,
                troubleshooting_title=TEXT,
                troubleshooting_url=st.just(url),
            )
        ),
        events=tuple(events),
        metadata=tuple(fields),
        lifecycle=draw(
            st.builds(
                Lifecycle,
                online_settings=st.builds(StatusSettings, **status_settings(fields)),
                offline_settings=st.builds(OfflineSettings, **offline_settings(fields)),
                status=st.just(tuple(statuses)),
            )
        ),
    )


@given(templates())
def test_settings_survive_toml_the_database_and_json(original):
    imported = parse(to_toml(original))
    assert original == imported
    stored = from_row(to_row(imported), imported.org, imported.version)
    assert original == stored
    from_json = read(json.loads(json.dumps(to_document(stored))))
    assert original == from_json
    assert to_toml(original) == to_toml(from_json)
    assert ([], []) == difference(original, from_json)


def test_stored_template_of_an_earlier_version_has_the_defaults():
    text = template(
        stream(0),
        tables='[[event]]\ncode = "a"\nname = "A"\nevery = 3\n[[metadata]]\nname = "M"\n'
        '[lifecycle]\nwait = "2m"\n[[lifecycle.status]]\nname = "Gone"\nafter = "1d"\n',
    )
    row = json.loads(to_row(parse(text)))
    for part, cls in ((row, Template), (row["events"][0], EventType), (row["metadata"][0], MetadataField)):
        for key in NEW_KEYS[cls]:
            del part[key]
    for key in ("online_settings", "offline_settings"):
        del row["lifecycle"][key]
    row["lifecycle"]["status"] = [{"name": "Gone", "after": "1d", "description": "", "timeline": True}]
    assert parse(text) == from_row(json.dumps(row), 1, 1)


# -- problems ---------------------------------------------------------------------------------------------------------

#: The keys of settings, by the class that structures them.
NEW_KEYS = {
    Template: ("categories", "hotspot_prefix", "broadcast_name", "logo", "guides"),
    EventType: ("color", "tag", "show_in_notifications", "notifications"),
    MetadataField: (
        "in_provisioning",
        "required_in_provisioning",
        "exclude_from_profile",
        "view_roles",
        "edit_roles",
    ),
}


def document(**parts):
    return {"template": {"id": "TMPL0", "name": "Product"}} | parts


def in_event(table):
    return document(event=[{"code": "a", "name": "A"} | table])


def in_metadata(table):
    return document(metadata=[{"name": "M"} | table])


def in_lifecycle(table):
    return document(lifecycle=table)


def in_status(table):
    return in_lifecycle({"status": [{"name": "Gone", "after": "1d"} | table]})


#: The class of each table with settings, the document with such a table, and the place that its problems name.
TABLES = [
    (_Head, lambda table: document(template={"id": "TMPL0", "name": "Product"} | table), "template: {}"),
    (EventType, in_event, "event 1: {}"),
    (Notifications, lambda table: in_event({"notifications": table}), "event 1: notifications.{}"),
    (MetadataField, in_metadata, "metadata 1: {}"),
    (Lifecycle, in_lifecycle, "lifecycle: {}"),
    (StatusSettings, lambda table: in_lifecycle({"online_settings": table}), "lifecycle: online_settings.{}"),
    (OfflineSettings, lambda table: in_lifecycle({"offline_settings": table}), "lifecycle: offline_settings.{}"),
    (
        UserInteraction,
        lambda table: in_lifecycle({"offline_settings": {"interaction": table}}),
        "lifecycle: offline_settings.interaction.{}",
    ),
    (Status, in_status, "lifecycle: status[0].{}"),
    (Notifications, lambda table: in_status({"notifications": table}), "lifecycle: status[0].notifications.{}"),
    (Guides, lambda table: document(guides=table), "guides: {}"),
]
PLACES = [
    pytest.param(make, name, kind, place.format(name), id=place.format(name))
    for cls, make, place in TABLES
    for name, kind in typing.get_type_hints(cls).items()
    # Numbers that may be missing are older than this file.
    if types.NoneType not in typing.get_args(kind)
]
VALUES = st.recursive(
    st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "name"]), inner, max_size=2),
    max_leaves=3,
)


def is_of_type(value, kind):
    """Whether a value of JSON could be of a type."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list)
    if attrs.has(kind):
        return isinstance(value, dict)
    if kind is int:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (kind if kind in (bool, str) else str)


def problems_of(source):
    with pytest.raises(BadTemplate) as error:
        read(source, "t")
    return [problem.removeprefix("t: ") for problem in error.value.problems]


@pytest.mark.parametrize(("make", "name", "kind", "place"), PLACES)
@given(value=VALUES)
def test_value_of_a_wrong_type_is_rejected_with_the_place_of_its_key(make, name, kind, place, value):
    if not is_of_type(value, kind):
        assert any(problem.startswith(place) for problem in problems_of(make({name: value})))


@pytest.mark.parametrize(("make", "place"), [(make, place) for _, make, place in TABLES])
def test_unknown_key_is_rejected(make, place):
    where = place.format("").rstrip(".")
    assert any(
        problem.startswith(where) and "unknown key colour; there are " in problem
        for problem in problems_of(make({"colour": "red"}))
    )


FIELD = {"name": "Keeper", "type": "contact"}
MAIL = {"name": "Mail", "type": "email"}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (in_event({"color": "red"}), "event 1: color must be like #24a0ed"),
        (in_event({"tag": "x" * 25}), "event 1: tag must have at most 24"),
        (in_event({"every": 0}), "event 1: every must be at least 1"),
        (in_event({"period": "ever"}), "event 1: period must be a duration"),
        (in_event({"subtitle": "x"}), "event 1: only an event of type content"),
        (in_event({"notifications": {"email": ["Nobody"]}}), "event 1: notifications.email: 'Nobody' must be Device"),
        (in_event({"notifications": {"push": ["Device Owner"] * 2}}), "event 1: notifications.push: 'Device Owner' is"),
        (
            in_event({"notifications": {"sms": ["Mail"]}}) | {"metadata": [MAIL]},
            "event 1: notifications.sms: 'Mail' must be Device Owner or a metadata field of type contact",
        ),
        (in_lifecycle({"online_settings": {"interaction": {}}}), "lifecycle: online_settings unknown key interaction"),
        (in_lifecycle({"offline_settings": {"icon": "x" * 51}}), "lifecycle: offline_settings: icon must have at most"),
        (in_lifecycle({"offline_settings": {"every": 0}}), "lifecycle: offline_settings: every must be at least 1"),
        (in_status({"color": "blue"}), "lifecycle: Gone: color must be"),
        (in_status({"notifications": {"email": ["X"]}}), "lifecycle: Gone: notifications.email: 'X' must be"),
        (
            in_lifecycle({"offline_settings": {"interaction": {"disable_widgets": "some"}}}),
            "lifecycle: offline_settings.interaction.disable_widgets must be one of none, all, control",
        ),
        (in_metadata({"required_in_provisioning": True}), "metadata 1 (M): required_in_provisioning and exclude_from"),
        (in_metadata({"exclude_from_profile": True}), "metadata 1 (M): required_in_provisioning and exclude_from"),
        (in_metadata({"view_roles": [" "]}), "metadata 1 (M): view_roles: must be at most 50, each with 1 to 50"),
        (in_metadata({"edit_roles": [f"{n}" for n in range(51)]}), "metadata 1 (M): edit_roles: must be at most 50"),
        (in_metadata({"view_roles": ["A"], "edit_roles": ["B"]}), "metadata 1 (M): edit_roles: a role that cannot see"),
        (document(guides={"installation": "# Step\n" * 11}), "guides: installation has 11 steps; at most 10"),
        (document(guides={"installation": "x" * 4001}), "guides: installation must have at most 4000"),
        (document(guides={"activation": "x" * 401}), "guides: activation must have at most 400"),
        (
            document(guides={"troubleshooting_title": "x" * 41, "troubleshooting_url": "tel:1"}),
            "guides: troubleshooting_title must have at most 40",
        ),
        (document(guides={"troubleshooting_title": "Help"}), "guides: troubleshooting_title needs a"),
        (document(guides={"troubleshooting_url": "javascript:alert(1)"}), "guides: troubleshooting_url must begin"),
        (document(template={"name": "T", "hotspot_prefix": "x" * 21}), "hotspot_prefix: must have at most 20"),
        (document(template={"name": "T", "hotspot_prefix": "a\nb"}), "hotspot_prefix: must be printable"),
        (document(template={"name": "T", "broadcast_name": "x" * 33}), "broadcast_name: must have at most 32"),
        (document(template={"name": "T", "manufacturer": "x" * 129}), "manufacturer: must have at most 128"),
        (document(template={"name": "T", "description": "x" * 201}), "description: must have at most 200"),
        (document(template={"name": "T", "categories": ["A", "A"]}), "categories: 'A' is used 2 times"),
        (document(template={"name": "T", "categories": ["x" * 51]}), "categories: must be at most 20"),
        (document(template={"name": "T", "logo": "javascript:x"}), "logo: must be the address of an image"),
    ],
)
def test_setting_outside_its_limits_is_rejected(source, problem):
    assert any(found.startswith(problem) for found in problems_of(source))


def test_settings_at_their_limits_are_accepted():
    source = document(
        template={"name": "T", "hotspot_prefix": "x" * 20, "broadcast_name": "x" * 32, "logo": "template_asset://7"},
        event=[{"code": "a", "name": "A", "tag": "x" * 24, "notifications": {"sms": ["Keeper"], "push": ["Mail"]}}],
        metadata=[FIELD, MAIL],
        guides={
            "installation": "# Step\n" * 10 + "x" * 3930,
            "activation": "x" * 400,
            "troubleshooting_title": "x" * 40,
            "troubleshooting_url": "tel:+41440000000",
        },
    )
    assert source == {key: to_document(read(source))[key] for key in source} | {"template": source["template"]}


# -- changes ----------------------------------------------------------------------------------------------------------


def test_difference_names_the_settings_that_changed():
    old = document(
        event=[{"code": "a", "name": "A"}],
        metadata=[{"name": "M"}, FIELD],
        lifecycle={"status": [{"name": "Gone", "after": "1d"}, {"name": "Old", "after": "2d"}]},
    )
    new = document(
        template={"id": "TMPL0", "name": "Product", "categories": ["Lamp"], "hotspot_prefix": "Acme"},
        event=[{"code": "a", "name": "A", "color": "#ff0000", "notifications": {"sms": ["Keeper"], "alert": True}}],
        metadata=[{"name": "M", "in_provisioning": True, "edit_roles": ["Admin"]}, FIELD],
        lifecycle={
            "wait": "2m",
            "offline_settings": {"interaction": {"disable_widgets": "all"}},
            "status": [{"name": "Gone", "after": "1d", "icon": "moon"}, {"name": "New", "after": "2d"}],
        },
        guides={"activation": "x" * 300},
    )
    assert [
        "~ categories () -> ('Lamp',)",
        "~ hotspot_prefix 'Blynk' -> 'Acme'",
        "~ lifecycle: wait '1m' -> '2m', offline_settings.interaction.disable_widgets 'none' -> 'all'",
        f"~ guides: activation '' -> '{'x' * 199}…",
        "+ status New",
        "~ status Gone: icon '' -> 'moon'",
        "- status Old",
        "~ event a: color '' -> '#ff0000', notifications.sms () -> ('Keeper',), notifications.alert False -> True",
        "~ metadata M: in_provisioning False -> True, edit_roles () -> ('Admin',)",
    ] == difference(read(old), read(new))[0]


def test_table_of_settings_begins_with_the_keys_that_it_must_have():
    source = in_status({"description": "Quiet", "color": "#ff0000"})
    [status] = to_document(read(source))["lifecycle"]["status"]
    assert ["name", "after", "description", "color"] == list(status)
