"""The catalogue of widgets as tables of docs/templates.md."""

from __future__ import annotations

from hub.templates.widgets import DESIGN, OPTIONS


def widget_rows(types):
    """A line for each type of widget: its datastreams and options; choices are listed where they are fewer."""
    return [
        f"| `{name}` | {_count(widget)} | {_types(widget)} | {', '.join(map(_option, *_options(widget))) or '-'} |"
        for name, widget in types.items()
    ]


def option_rows():
    """A line for each option: its values, its default and its meaning."""
    return [
        f"| `{name}` | {_values(option)} | {_default(option)} | {option.summary} |" for name, option in OPTIONS.items()
    ]


def _count(widget):
    low, high = widget.min_datastreams, widget.max_datastreams
    return str(low) if low == high else f"{low} to {high}"


def _types(widget):
    if not widget.max_datastreams:
        return "-"
    ordered = [t for t in ("integer", "double", "string", "enum", "location") if t in widget.types]
    return ", ".join(ordered) + (" (raw history)" if widget.raw else "")


def _options(widget):
    names = [name for name in widget.options if name not in DESIGN or not {*widget.options} >= DESIGN]
    return names, [widget.options[name] for name in names]


def _option(name, option):
    narrowed = option.choices != OPTIONS[name].choices
    return f"{name} ({', '.join(map(str, option.choices))})" if narrowed else name


_LISTS = {"numbers": "numbers", "texts": "texts", "colors": "colors", "images": "addresses of images"}


def _values(option):
    if option.choices:
        listed = ", ".join(f"`{choice}`" for choice in option.choices)
        return f"up to {option.max} of {listed}" if option.kind == "choices" else listed
    if option.kind in _LISTS:
        return f"up to {option.max or 50} {_LISTS[option.kind]}"
    ends = [f"{word} {end:,}" for word, end in (("from", option.min), ("to", option.max)) if end is not None]
    kinds = {
        "integer": "whole number", "boolean": "true, false", "value": "number or text", "color": "`#24a0ed`",
        "url": "http(s) address", "image": "address of an image", "page": "id of a page",
    }  # fmt: skip
    if option.kind == "text":
        return f"text, up to {option.max or 250} characters"
    return " ".join([kinds.get(option.kind, option.kind), *ends])


def _default(option):
    if option.default is None:
        return "-"
    if isinstance(option.default, bool):
        return str(option.default).lower()
    return (
        ", ".join(f"`{part}`" for part in option.default) if isinstance(option.default, list) else f"`{option.default}`"
    )
