"""HTML pages and forms: small, without scripts, and readable on a telephone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from hub import Forbidden, Rejected, Request, Response
from hub.api import StaticFiles

#: No scripts, nothing from other sites, and no frames. The address, which may hold a code, is not sent to other sites.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
#: Options of the routes of pages and forms.
ROUTE_OPTIONS: Mapping[str, Any] = {
    "raw_query": True,
    "media": ("text/html",),
    "takes": "application/x-www-form-urlencoded",
}


@cache
def static_files() -> StaticFiles:
    """Return the style sheet of the pages."""
    return StaticFiles(Path(__file__).parent / "static", "/account/files")


def render_page(hub_name: str, title: str, content: str, status: int = 200, form_action: str = "'self'") -> Response:
    """Return a page with markup as its content; without a title it is headed by the hub's name.

    ``form_action`` are the sources to which its form may be sent, also by a redirect of the answer.
    """
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(f'{title} - {hub_name}' if title else hub_name)}</title>"
        f'<link rel="stylesheet" href="{static_files().address("account.css")}">'
        + (f"<p>{escape(hub_name)}</p><h1>{escape(title)}</h1>" if title else f"<h1>{escape(hub_name)}</h1>")
        + content
    )
    policy = POLICY.replace("form-action 'self'", f"form-action {form_action}")
    headers = HEADERS | {"Content-Security-Policy": policy}
    return Response(body=html, status=status, type="text/html; charset=utf-8", headers=headers)


def render_form(
    fields: Sequence[str], button: str, hidden: Mapping[str, str], problem: str = "", after_button: str = ""
) -> str:
    """Return a form as markup: ``problem`` is the text of an error above it, ``after_button`` markup at its end."""
    alert = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    hidden_inputs = "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">'
        for name, value in hidden.items()
    )
    inputs = hidden_inputs + "".join(fields)
    return f'{alert}<form method="post">{inputs}<button>{escape(button)}</button>{after_button}</form>'


def render_field(name: str, label: str, kind: str, autocomplete: str, value: str = "", *, required: bool = True) -> str:
    return (
        f'<label for="{name}">{escape(label)}</label><input id="{name}" name="{name}" type="{kind}"'
        f' autocomplete="{autocomplete}" value="{escape(value, quote=True)}"{" required" if required else ""}>'
    )


def parse_form(request: Request) -> dict[str, str]:
    """Return the fields of a form of this hub. Raises `Forbidden` when another site's page sent it, `Rejected`."""
    _check_same_site(request)
    try:
        return dict(parse_qsl(bytes(request.body).decode(), keep_blank_values=True))
    except (UnicodeDecodeError, ValueError) as error:
        raise Rejected("The form cannot be read.") from error


def _check_same_site(request: Request) -> None:
    """Raises `Forbidden` when a form was sent from another site's page."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    # Behind a proxy, Host may be the hub's own while the browser sees the proxy's.
    hosts = (request.headers.get("host", ""), request.host)
    foreign_origin = origin is not None and origin.rpartition("://")[2] not in hosts
    if foreign_origin or site not in ("same-origin", "none"):
        raise Forbidden("This form was sent from another site.")
