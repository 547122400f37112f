"""The texts of mails: one file for each kind of message and language, in ``texts/<language>/<kind>.txt``.

The first line of a file is the subject, the paragraphs after an empty line are the text. ``$link`` stands for the field
"link" of the message's data, and ``$$`` for a dollar sign. A line that consists of ``$link`` alone becomes a link in
HTML, which is made from the same text. What is not translated is in English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib import resources
from string import Template

import attrs

#: The language that has every text.
DEFAULT_LANGUAGE = "en"
_PAGE = """<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><title>{subject}</title></head>
<body style="font-family: sans-serif; line-height: 1.5; max-width: 40em">
{paragraphs}
</body></html>
"""


@attrs.frozen
class Rendered:
    """A message in one language."""

    subject: str
    plain: str
    html: str


@attrs.frozen
class Text:
    """The template of a kind of message in one language. ``fields`` are the names of its blanks."""

    language: str
    subject: Template
    paragraphs: tuple[str, ...]
    fields: frozenset[str]

    def render(self, data: Mapping[str, str]) -> Rendered:
        """Fill the blanks. Raises KeyError when a field is missing."""
        values = {name: _on_one_line(data[name]) for name in self.fields}
        subject = self.subject.substitute(values)
        plain = "\n\n".join(Template(paragraph).substitute(values) for paragraph in self.paragraphs) + "\n"
        escaped = {name: escape(value) for name, value in values.items()}
        paragraphs = "\n".join(_html(paragraph, escaped) for paragraph in self.paragraphs)
        return Rendered(
            subject, plain, _PAGE.format(language=self.language, subject=escape(subject), paragraphs=paragraphs)
        )


def _on_one_line(value: str) -> str:
    """A value is part of a line: it has no line ends, which could begin a header or a paragraph."""
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


def _html(paragraph: str, values: Mapping[str, str]) -> str:
    """Return a paragraph as HTML."""
    if paragraph == "$link":
        link = values["link"]
        return f'<p><a href="{link}">{link}</a></p>'
    lines = Template(escape(paragraph, quote=False)).substitute(values).splitlines()
    return f"<p>{'<br>'.join(lines)}</p>"


@cache
def texts() -> Mapping[str, Mapping[str, Text]]:
    """Return all texts by language and kind."""
    folder = resources.files("plugins.notify") / "texts"
    return {
        language.name: {
            file.name.removesuffix(".txt"): parse(language.name, file.read_text("utf-8"))
            for file in language.iterdir()
            if file.name.endswith(".txt")
        }
        for language in folder.iterdir()
        if language.is_dir()
    }


def parse(language: str, content: str) -> Text:
    """Parse the content of a file. Raises ValueError for a ``$`` that begins no field."""
    subject, _, rest = content.strip().partition("\n")
    paragraphs = tuple(re.split(r"\n{2,}", rest.strip()))
    templates = [Template(subject), *map(Template, paragraphs)]
    if invalid := [template.template for template in templates if not template.is_valid()]:
        raise ValueError(f"a $ begins no field in {invalid[0]!r}")
    fields = frozenset(name for template in templates for name in template.get_identifiers())
    return Text(language, templates[0], paragraphs, fields)


def find_text(kind: str, locale: str) -> Text | None:
    """Return the text of a kind of message in a language such as "de" or "de-AT", else in English; None if unknown."""
    for language in (*_fallbacks(locale), DEFAULT_LANGUAGE):
        if (text := texts().get(language, {}).get(kind)) is not None:
            return text
    return None


def _fallbacks(locale: str) -> list[str]:
    """Return ``de-at`` and ``de`` for ``de_AT.UTF-8``: BCP 47 and POSIX both begin with the language."""
    parts = re.split(r"[-_]", re.split(r"[.@]", locale.strip().lower())[0])
    return ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
