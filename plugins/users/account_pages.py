"""The hub's start page, and the page behind an account link, where a user sets a password."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from hub import (
    PUBLIC,
    ROOT_ORG,
    Forbidden,
    NotAuthenticated,
    Principal,
    Rejected,
    Request,
    RequestError,
    Response,
    Route,
)
from plugins.users.account_links import PAGE, AccountLink
from plugins.users.html_pages import (
    ROUTE_OPTIONS,
    parse_form,
    render_field,
    render_form,
    render_page,
    static_files,
)
from plugins.users.model import User
from plugins.users.passwords import SHORTEST, to_blynk_hash

if TYPE_CHECKING:
    from plugins.users.service import UsersService

#: The path of the plugin with the hub's web page, if there is one.
APP = "/app"
_HOME = '<p><a href="/">Go on to the hub\'s page</a></p>'
_TITLES = {
    AccountLink.FIRST: "The first administrator",
    AccountLink.INVITATION: "Welcome",
    AccountLink.RESET: "A new password",
}
#: A pinwheel of four sails.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 -16 32 32"><g fill="#0b6e4f">'
    + "".join(f'<path d="M0 0V-14Q11-14 11-3Z" transform="rotate({angle})"/>' for angle in (0, 90, 180, 270))
    + '</g><circle r="2.5" fill="#fff"/></svg>'
)


class AccountPages:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub

    async def start_page(self, _request: Request) -> Response:
        hub = self._hub
        paths = {route.path for route in hub.routes if isinstance(route, Route) and route.method == "GET"}
        if APP in paths:
            return Response(status=302, headers={"Location": f"{APP}/"})
        state = (
            "running" if not any(alarm.critical for alarm in hub.active_alarms()) else "running, but needs attention"
        )
        links = [
            f'<li><a href="{path}">{text}</a>{purpose}</li>'
            for path, text, purpose in (
                ("/api/docs", "API documentation", ", for programs and scripts"),
                *self._certificate_links(),
            )
            if path in paths
        ]
        content = (
            f"<p>This hub is {state}.</p>"
            "<p>Devices and programs connect to it. From here:</p>"
            f"<ul>{''.join(links)}"
            "<li>The command <code>pinwheel --help</code> on the hub's machine, for its operator</li></ul>"
            "<p>If you were invited, open the link that you were sent. If you have forgotten your password, ask the"
            " hub's operator for a new link.</p>"
        )
        return self._page("", content)

    def _certificate_links(self) -> list[tuple[str, str, str]]:
        certificates = self._hub.certificates
        if certificates is None or certificates.ca is None:
            return []
        return [("/ca.pem", "Certificate authority of this hub", ", for boards that use TLS")]

    async def icon(self, _request: Request) -> Response:
        return Response(body=ICON, type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    async def password_form(self, request: Request) -> Response:
        code = request.params.get("code", "")
        try:
            attempt = self._service.throttle.attempt("link", request.address, request.address)
            kind, user = await self._service.links.find(code)
        except RequestError as error:
            return self._error_page(error)
        attempt.succeeded()
        return self._form(kind, user, code, {})

    async def set_password(self, request: Request) -> Response:
        service = self._service
        form: dict[str, str] = {}
        try:
            form = parse_form(request)
            code = form.get("code", "")
            attempt = service.throttle.attempt("link", request.address, request.address)
            kind, user = await service.links.find(code)
            attempt.succeeded()
        except RequestError as error:
            return self._error_page(error)
        try:
            if form.get("password") != form.get("again"):
                raise Rejected("The two passwords differ.")
            email = form.get("email", "").strip().lower() if user is None else user.email
            hashed = to_blynk_hash(email, form.get("password", ""), None)
            name = form.get("name", "").strip()
            if user is None:
                service.users.validate(User(id=0, org=ROOT_ORG, email=email, name=name))
            await service.links.redeem(code)
            if user is None:
                user = await service.add_first_administrator(email, name, hashed)
            else:
                await service.users.set_password(user, hashed)
                await service.credentials.end(service.credentials.sessions_of(user.id))
                if kind == AccountLink.RESET:
                    await service.notify("password-changed", user)
        except NotAuthenticated as error:
            return self._error_page(error)
        except RequestError as error:
            return self._form(kind, user, code, form, str(error))
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject, request.org = f"user {user.id}", user.org
        content = (
            f"<p>The password of {escape(user.email)} is set.</p>"
            "<p>The e-mail address and the password log you in to every program that uses this hub.</p>"
        )
        return self._page("Done", content + _HOME)

    def _page(self, title: str, content: str, status: int = 200) -> Response:
        return render_page(self._hub.config.hub.name, title, content, status)

    def _form(self, kind: str, user: User | None, code: str, values: dict[str, str], problem: str = "") -> Response:
        """Return the form for a password, filled with the values that were sent with it the last time."""
        fields = []
        if kind == AccountLink.FIRST:
            fields.append(render_field("email", "E-mail", "email", "username", values.get("email", "")))
            fields.append(render_field("name", "Name", "text", "name", values.get("name", ""), required=False))
        else:
            assert user is not None
            fields.append(f"<p>{self._purpose(kind, user)}</p>")
        label = f"Password (at least {SHORTEST} characters)"
        fields.append(render_field("password", label, "password", "new-password"))
        fields.append(render_field("again", "Repeat the password", "password", "new-password"))
        content = render_form(fields, "Set the password", {"code": code}, problem)
        return self._page(_TITLES[kind], content, 400 if problem else 200)

    def _purpose(self, kind: str, user: User) -> str:
        """Return the purpose of a link, as markup."""
        if kind != AccountLink.INVITATION:
            return f"For {escape(user.email)}."
        org, role = self._hub.organizations.get(user.org).name, self._service.roles.names[user.role]
        place = f"<strong>{escape(org)}</strong> as <strong>{escape(role)}</strong>"
        return f"You are invited to {place}. You will log in as {escape(user.email)}."

    def _error_page(self, error: RequestError) -> Response:
        status = 403 if isinstance(error, Forbidden) else 400
        content = f"<p>{escape(str(error))}</p><p>Ask the sender for a new link.</p>{_HOME}"
        return self._page("This did not work", content, status)


def routes(service: UsersService) -> Sequence[Route]:
    pages = AccountPages(service)
    return [
        Route("GET", "/", pages.start_page, PUBLIC, "The hub's page", **ROUTE_OPTIONS),
        Route("GET", "/favicon.ico", pages.icon, PUBLIC, "The hub's icon", raw_query=True, media=("image/svg+xml",)),
        *static_files().routes("Style sheet of the account pages"),
        Route("GET", PAGE, pages.password_form, PUBLIC, "The page behind a link", **ROUTE_OPTIONS),
        Route("POST", PAGE, pages.set_password, PUBLIC, "Set a password by a link", **ROUTE_OPTIONS),
    ]
