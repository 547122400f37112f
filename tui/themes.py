"""The themes of the console: the colors of each token, for Textual, and as styles that widgets draw with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, get_args

import attrs
from rich.color import Color
from rich.style import Style
from textual.theme import Theme

from tui.text import ASCII_MARKS, MARKS, Marks

#: The meaning of a color. States always have a glyph and a word too.
Token = Literal[
    "bg", "surface", "border", "text", "muted", "accent", "ok", "warn", "critical", "offline",
    "line2", "line3", "line4", "line5", "line6",
]  # fmt: skip
#: The tokens of the lines of a chart, in order.
LINES: tuple[Token, ...] = ("accent", "line2", "line3", "line4", "line5", "line6")
#: The tokens that are backgrounds, and those that no text has.
BACKGROUNDS: tuple[Token, ...] = ("bg", "surface")
NO_TEXT: frozenset[Token] = frozenset({"bg", "surface", "border"})
#: The least contrast of text to each background, of WCAG 2 for text of any size.
MIN_CONTRAST = 4.5


def _palette(colors: str) -> dict[Token, str]:
    tokens: tuple[Token, ...] = get_args(Token)
    return dict(zip(tokens, colors.split(), strict=True))


#: The color of each token by theme, as Textual writes colors.
PALETTES: Mapping[str, Mapping[Token, str]] = {
    "pinwheel-dark": _palette(
        "#0E1217 #161B22 #2A323C #E8ECF1 #9AA6B5 #6CB6FF #56C991 #E2B344 #FF7B72 #97A1AF"
        " #F0A35E #56C991 #B79BFF #F782B8 #5CC8D7"
    ),
    "pinwheel-light": _palette(
        "#F6F7F9 #FFFFFF #E1E5EA #14181F #56606E #0A66C2 #18774A #8A5A00 #BF2A2A #5F6875"
        " #B45309 #18774A #7C3AED #BE185D #0E7490"
    ),
    "high-contrast": _palette(
        "#000000 #000000 #FFFFFF #FFFFFF #FFFFFF #FFFF00 #00FF00 #FFD700 #FF9C9C #FFFFFF"
        " #FFB347 #00FF00 #D8BFFF #FFB6E1 #7FFFFF"
    ),
    "ansi": _palette(
        "ansi_default ansi_default ansi_bright_black ansi_default ansi_default ansi_blue ansi_green ansi_yellow"
        " ansi_red ansi_default ansi_yellow ansi_green ansi_magenta ansi_red ansi_cyan"
    ),
}
DEFAULT_THEME = "pinwheel-dark"


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors (``#RRGGBB``), 1 to 21 (WCAG 2.2, contrast ratio)."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(int(color[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def themes() -> list[Theme]:
    """Return the themes to register with a Textual app. Their names are those of ``PALETTES``."""
    return [_theme(name, colors) for name, colors in PALETTES.items()]


def _theme(name: str, colors: Mapping[Token, str]) -> Theme:
    ansi = name == "ansi"
    return Theme(
        name=name,
        primary=colors["accent"],
        secondary=colors["line4"],
        accent=colors["accent"],
        success=colors["ok"],
        warning=colors["warn"],
        error=colors["critical"],
        foreground=colors["text"],
        background=colors["bg"],
        surface=colors["surface"],
        panel=colors["surface"],
        dark=name != "pinwheel-light",
        ansi=ansi,
        # Textual fades text towards its background, which would spoil the contrast.
        text_alpha=1.0,
        variables={
            "border": colors["border"],
            "border-blurred": colors["border"],
            "text-muted": colors["muted"],
            "foreground-muted": colors["muted"],
            "block-cursor-background": colors["accent"],
            "block-cursor-foreground": "ansi_black" if ansi else colors["bg"],
            "block-cursor-text-style": "none",
            "footer-key-foreground": colors["accent"],
            "footer-description-foreground": colors["muted"],
        },
    )


@attrs.frozen(kw_only=True)
class Glyphs:
    """The characters that widgets draw with.

    ``bar`` are the fillings of a cell from empty to full, from the left; ``spark`` the heights of a bar. ``box`` are
    the corners top left, top right, bottom left, bottom right, the horizontal and the vertical line.
    """

    online: str
    offline: str
    custom: str
    critical: str
    pending: str
    refused: str
    dot: str
    box: str
    focus_box: str
    bar: str
    bar_ends: str
    spark: str
    knob: str
    track: str
    step_down: str
    step_up: str
    chosen: str
    chosen_end: str
    checked: str
    unchecked: str
    ascending: str
    descending: str
    link: str
    degrees: str
    braille: bool
    marks: Marks


UNICODE = Glyphs(
    online="●", offline="○", custom="▲", critical="!", pending="◌", refused="✕", dot="·",
    box="┌┐└┘─│", focus_box="┏┓┗┛━┃", bar=" ▏▎▍▌▋▊▉█", bar_ends="▕▏", spark=" ▁▂▃▄▅▆▇█",
    knob="●", track="─", step_down="◂", step_up="▸", chosen="‹", chosen_end="›", checked="[x]", unchecked="[ ]",
    ascending="▴", descending="▾", link="→", degrees="°", braille=True, marks=MARKS,
)  # fmt: skip
#: For terminals without Unicode, and for screen readers.
ASCII = Glyphs(
    online="*", offline="o", custom="^", critical="!", pending="~", refused="x", dot=".",
    box="++++-|", focus_box="####=#", bar=" #", bar_ends="[]", spark=" .:-=+*#",
    knob="O", track="-", step_down="<", step_up=">", chosen="<", chosen_end=">", checked="[x]", unchecked="[ ]",
    ascending="^", descending="v", link="->", degrees="deg", braille=False, marks=ASCII_MARKS,
)  # fmt: skip


@attrs.frozen
class Look:
    """How widgets draw: the styles of a theme's tokens, and a set of glyphs.

    Every segment gets a style from here, never None: Textual's filter for ``NO_COLOR`` needs one.
    """

    theme: str = attrs.field(default=DEFAULT_THEME, validator=attrs.validators.in_(PALETTES))
    glyphs: Glyphs = UNICODE

    def style(self, token: Token, *, bold: bool = False, reverse: bool = False, dim: bool = False) -> Style:
        """Return the style of a token as text; with ``reverse`` as the background of text, for what is selected."""
        return _style(self.theme, token, bold, reverse, dim)


@lru_cache(maxsize=512)
def _style(theme: str, token: Token, bold: bool, reverse: bool, dim: bool) -> Style:
    colors = PALETTES[theme]
    # Textual does not put a widget's background behind lines that have none. A selection is reversed by the
    # terminal, so that it is visible without colors too.
    background = None if theme == "ansi" else _color(colors["surface"])
    # The terminal's faint text has an unknown contrast; what is muted has the token's own color, except without one.
    dimmed = dim and theme in {"ansi", "high-contrast"}
    return Style(color=_color(colors[token]), bgcolor=background, bold=bold, reverse=reverse, dim=dimmed)


def _color(name: str) -> Color:
    return Color.parse(name.removeprefix("ansi_"))
