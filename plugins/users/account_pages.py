"""The pages of people: the hub's own and those behind links. Small, without scripts, for a telephone too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from hub.api import PUBLIC, Request, Response, Route
from hub.errors import Forbidden, NotAuthenticated, Rejected, RequestError
from hub.model import ROOT_ORG, Principal
from plugins.users.model import User
from plugins.users.passwords import SHORTEST, hash_of
from plugins.users.user_store import PAGE, Link

if TYPE_CHECKING:
    from hub.app import Hub
    from plugins.users.service import UsersService

#: No scripts, nothing from elsewhere, in nobody's frame, and the address with its code told to nobody else.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_HOME = '<p><a href="/">Go on to the hub\'s page</a></p>'
_TITLES = {
    Link.FIRST: "The first administrator",
    Link.INVITATION: "Welcome",
    Link.RESET: "A new password",
}
#: A pinwheel of four sails.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 -16 32 32"><g fill="#0b6e4f">'
    + "".join(f'<path d="M0 0V-14Q11-14 11-3Z" transform="rotate({angle})"/>' for angle in (0, 90, 180, 270))
    + '</g><circle r="2.5" fill="#fff"/></svg>'
)
_STYLE = """
:root { color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 26rem; padding: 1.5rem 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; line-height: 1.25 }
label { display: block; margin: 1rem 0 .25rem }
input { width: 100%; box-sizing: border-box; font: inherit; padding: .6rem; border: 1px solid GrayText;
  border-radius: .4rem }
button { width: 100%; margin-top: 1.5rem; padding: .8rem; font: inherit; font-weight: 600; color: #fff;
  background: #0b6e4f; border: 0; border-radius: .4rem }
.second { margin-top: .75rem; color: inherit; background: none; border: 1px solid GrayText }
a { color: inherit }
ul { padding-left: 1.2rem }
.problem { border-left: .3rem solid #b3261e; padding: .2rem .8rem }
"""


def routes(service: UsersService) -> Sequence[Route]:
    hub, people = service.hub, service.people

    def page(title: str, content: str, status: int = 200) -> Response:
        return page_of(hub.config.hub.name, title, content, status)

    async def start(_request: Request) -> Response:
        well = "running" if not any(alarm.critical for alarm in hub.active_alarms()) else "running, but needs attention"
        there = {route.path for route in hub.routes if isinstance(route, Route) and route.method == "GET"}
        links = [
            f'<li><a href="{path}">{text}</a>{why}</li>'
            for path, text, why in (
                ("/api/docs", "API documentation", ", for programs and scripts"),
                *_certificate(hub),
            )
            if path in there
        ]
        content = (
            f"<p>This hub is {well}.</p>"
            "<p>Devices and programs connect to it. From here:</p>"
            f"<ul>{''.join(links)}"
            "<li>The command <code>pinwheel --help</code> on the hub's machine, for its operator</li></ul>"
            "<p>If you were invited, open the link that you were sent. If you have forgotten your password, ask the"
            " hub's operator for a new link.</p>"
        )
        return page("", content)

    async def icon(_request: Request) -> Response:
        return Response(body=ICON, type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    def form(kind: str, user: User | None, code: str, said: dict[str, str], problem: str = "") -> Response:
        fields = []
        if kind == Link.FIRST:
            fields.append(field("email", "E-mail", "email", "username", said.get("email", "")))
            fields.append(field("name", "Name", "text", "name", said.get("name", ""), required=False))
        else:
            assert user is not None
            fields.append(f"<p>{about(kind, user)}</p>")
        fields.append(field("password", f"Password (at least {SHORTEST} characters)", "password", "new-password"))
        fields.append(field("again", "Repeat the password", "password", "new-password"))
        return page(
            _TITLES[kind], form_of(fields, "Set the password", {"code": code}, problem), 400 if problem else 200
        )

    def about(kind: str, user: User) -> str:
        """What a link is for, as markup."""
        if kind != Link.INVITATION:
            return f"For {escape(user.email)}."
        org, role = hub.organizations.get(user.org).name, service.roles.names[user.role]
        where = f"<strong>{escape(org)}</strong> as <strong>{escape(role)}</strong>"
        return f"You are invited to {where}. You will log in as {escape(user.email)}."

    def said_no(error: RequestError) -> Response:
        status = 403 if isinstance(error, Forbidden) else 400
        content = f"<p>{escape(str(error))}</p><p>Ask whoever sent it for a new link.</p>{_HOME}"
        return page("This did not work", content, status)

    async def show(request: Request) -> Response:
        code = request.params.get("code", "")
        try:
            attempt = service.throttle.attempt("link", request.address, request.address)
            kind, user = await people.find_link(code)
        except RequestError as error:
            return said_no(error)
        attempt.succeeded()
        return form(kind, user, code, {})

    async def set_password(request: Request) -> Response:
        said: dict[str, str] = {}
        try:
            said = form_sent(request)
            code = said.get("code", "")
            attempt = service.throttle.attempt("link", request.address, request.address)
            kind, user = await people.find_link(code)
            attempt.succeeded()
        except RequestError as error:
            return said_no(error)
        try:
            if said.get("password") != said.get("again"):
                raise Rejected("The two passwords differ.")
            email = said.get("email", "").strip().lower() if user is None else user.email
            hashed = hash_of(email, said.get("password", ""), None)
            name = said.get("name", "").strip()
            if user is None:
                people.check(User(id=0, org=ROOT_ORG, email=email, name=name))
            await people.use_link(code)
            if user is None:
                user = await service.add_first(email, name, hashed)
            else:
                await people.set_password(user, hashed)
                await service.credentials.end(service.credentials.of_user(user.id))
        except NotAuthenticated as error:
            return said_no(error)
        except RequestError as error:
            return form(kind, user, code, said, str(error))
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject, request.org = f"user {user.id}", user.org
        content = (
            f"<p>The password of {escape(user.email)} is set.</p>"
            "<p>The e-mail address and the password log you in to every program that uses this hub.</p>"
        )
        return page("Done", content + _HOME)

    html: Any = {"raw_query": True, "media": ("text/html",), "takes": "application/x-www-form-urlencoded"}
    return [
        Route("GET", "/", start, PUBLIC, "The hub's page", **html),
        Route("GET", "/favicon.ico", icon, PUBLIC, "The hub's icon", raw_query=True, media=("image/svg+xml",)),
        Route("GET", PAGE, show, PUBLIC, "The page behind a link", **html),
        Route(
            method="POST",
            path=PAGE,
            handler=set_password,
            permission=PUBLIC,
            summary="Set a password by a link",
            **html,
        ),
    ]


def _certificate(hub: Hub) -> list[tuple[str, str, str]]:
    own = hub.certificates is not None and hub.certificates.ca is not None
    return [("/ca.pem", "Certificate authority of this hub", ", for boards that use TLS")] if own else []


def page_of(hub: str, title: str, content: str, status: int = 200, target: str = "'self'") -> Response:
    """A page; its form goes to ``target``, or is sent on from there to it. Without a title it is the hub's own."""
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(f'{title} - {hub}' if title else hub)}</title><style>{_STYLE}</style>"
        + (f"<p>{escape(hub)}</p><h1>{escape(title)}</h1>" if title else f"<h1>{escape(hub)}</h1>")
        + content
    )
    headers = HEADERS | {"Content-Security-Policy": POLICY.replace("form-action 'self'", f"form-action {target}")}
    return Response(body=html, status=status, type="text/html; charset=utf-8", headers=headers)


def form_of(fields: Sequence[str], button: str, hidden: Mapping[str, str], problem: str = "", more: str = "") -> str:
    """A form with what was wrong with it the last time; ``more`` is markup after its button."""
    wrong = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    kept = "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">'
        for name, value in hidden.items()
    )
    return f'{wrong}<form method="post">{kept}{"".join(fields)}<button>{escape(button)}</button>{more}</form>'


def form_sent(request: Request) -> dict[str, str]:
    """The fields of a form of ours. Raises `Forbidden` when another site's page sent it, `Rejected`."""
    _same_site(request)
    try:
        return dict(parse_qsl(bytes(request.body).decode(), keep_blank_values=True))
    except (UnicodeDecodeError, ValueError) as error:
        raise Rejected("The form cannot be read.") from error


def field(name: str, label: str, kind: str, complete: str, value: str = "", *, required: bool = True) -> str:
    return (
        f'<label for="{name}">{escape(label)}</label><input id="{name}" name="{name}" type="{kind}"'
        f' autocomplete="{complete}" value="{escape(value, quote=True)}"{" required" if required else ""}>'
    )


def _same_site(request: Request) -> None:
    """Raises `Forbidden` when a form was sent from another site's page."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    # Behind a proxy, Host may be the hub's own while the browser sees the proxy's.
    hosts = (request.headers.get("host", ""), request.host)
    elsewhere = origin is not None and origin.rpartition("://")[2] not in hosts
    if elsewhere or site not in ("same-origin", "none"):
        raise Forbidden("This form was sent from another site.")
