"""Routes of a user's own account: login and logout, profile, sessions, API keys and second factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from hub import (
    AUTHENTICATED,
    PUBLIC,
    Created,
    NotAuthenticated,
    NotFound,
    Principal,
    Rejected,
    Request,
    Route,
    secret,
)
from plugins.users.authentication import Login
from plugins.users.model import Address, ApiKey, Tokens, User
from plugins.users.passwords import to_blynk_hash
from plugins.users.refresh_cookie import PATH, RefreshCookie
from plugins.users.schemas import (
    CurrentRole,
    CurrentUser,
    KeyObject,
    LoggedIn,
    MadeKey,
    Myself,
    MySession,
    RecoveryCodes,
    SecondFactor,
    UserObject,
    extend,
    profile_fields,
    session_object,
)
from plugins.users.totp import provisioning_url

if TYPE_CHECKING:
    from plugins.users.service import UsersService


@attrs.frozen(kw_only=True)
class Refresh:
    """A page with the cookie of its login sends no body."""

    refresh_token: str | None = secret(default=None, name="refresh_token")


@attrs.frozen(kw_only=True)
class NewPassword:
    old: str = secret()
    new: str = secret()


@attrs.frozen(kw_only=True)
class ChangeProfile:
    """Fields that are left out stay as they are."""

    name: str | None = secret(default=None)
    nick_name: str | None = secret(default=None)
    phone_number: str | None = secret(default=None)
    title: str | None = None
    locale: str | None = None
    tz: str | None = None
    units: Literal["default", "metric", "imperial"] | None = None
    address: Address | None = secret(default=None)  # noqa: RUF009 - a field


@attrs.frozen(kw_only=True)
class NewKey:
    """``scopes`` are the permissions that the key is limited to.

    ``lasts`` is its lifetime in milliseconds; without it the key does not expire.
    """

    name: str
    scopes: list[str] | None = None
    lasts: int | None = None
    user_id: int | None = None


@attrs.frozen(kw_only=True)
class Confirm:
    otp: str = secret()


@attrs.frozen(kw_only=True)
class Password:
    password: str = secret()


class LoginRoutes:
    def __init__(self, service: UsersService) -> None:
        self._service = service
        self._hub = service.hub
        self._users = service.users
        self._credentials = service.credentials
        self._authentication = service.authentication
        self._cookie = RefreshCookie(service.hub, service.settings.milliseconds("refresh") // 1000)

    # -- login ----------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> LoggedIn:
        if request.body.cookie:
            # Otherwise a page of another site could log its visitors in as a user of its own.
            self._cookie.check_page(request)
        user = await self._authentication.log_in(request.body, request.address)
        agent = request.headers.get("user-agent", "")
        tokens = await self._credentials.open_session(user=user, address=request.address, agent=agent)
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject = f"user {user.id}"
        return self._logged_in(request, user, tokens, as_cookie=request.body.cookie)

    async def refresh(self, request: Request) -> LoggedIn:
        token, cookie = request.body.refresh_token, self._cookie.token_in(request)
        if cookie is not None:
            self._cookie.check_page(request)
            if token is not None:
                raise Rejected("The request has two refresh tokens, in its body and in a cookie: send one of them.")
        if token is None and cookie is None:
            raise NotAuthenticated("There is no refresh token: log in, or send refresh_token.")
        session, tokens = await self._credentials.refresh(cookie or token or "", client=None)
        assert session.user is not None
        return self._logged_in(request, self._users.by_id[session.user], tokens, as_cookie=cookie is not None)

    def _logged_in(self, request: Request, user: User, tokens: Tokens, *, as_cookie: bool) -> LoggedIn:
        """Return the answer with new tokens; the refresh token is in it, or in the client's cookie."""
        if as_cookie:
            self._cookie.set(request, tokens.refresh_token)
        return LoggedIn(
            access_token=tokens.access_token,
            refresh_token=None if as_cookie else tokens.refresh_token,
            expires_in=tokens.expires_in,
            user=self._service.user_object(user),
        )

    async def logout(self, request: Request) -> None:
        self._authentication.current_user(request)
        self._cookie.expire(request)
        if session := self._credentials.sessions.get(request.principal.session):  # type: ignore[arg-type]
            await self._credentials.end([session])

    # -- profile --------------------------------------------------------------------------------------------------

    async def profile(self, request: Request) -> Myself:
        user = self._authentication.current_user(request)
        permissions = sorted(self._service.authorization.grants(request.principal) or ())
        return extend(Myself, self._service.user_object(user), permissions=permissions)

    async def profile_with_role(self, request: Request) -> CurrentUser:
        myself = await self.profile(request)
        user = self._users.by_id[myself.id]
        names = {field.name for field in attrs.fields(CurrentUser)} - {"role"}
        return CurrentUser(
            **{name: value for name, value in attrs.asdict(myself, recurse=False).items() if name in names},
            role=CurrentRole(id=myself.role_id, name=myself.role, permissions=myself.permissions),
            org_name=self._hub.organizations.get(myself.org_id).name,
            address=user.profile.address,
        )

    async def change_profile(self, request: Request) -> UserObject:
        user, body = self._authentication.current_user(request), request.body
        name = {} if body.name is None else {"name": body.name}
        await self._users.change(user, profile=profile_fields(body), **name)
        return self._service.user_object(user)

    async def change_password(self, request: Request) -> None:
        user, body = self._authentication.current_user(request), request.body
        await self._authentication.verify_password(user, body.old, request)
        await self._users.set_password(user, to_blynk_hash(user.email, body.new, None))
        # Sessions that know only the old password end; the one of this request stays.
        sessions = self._credentials.sessions_of(user.id)
        await self._credentials.end([session for session in sessions if session.id != request.principal.session])
        await self._service.notify("password-changed", user)

    async def delete_account(self, request: Request) -> None:
        user = self._authentication.current_user(request)
        await self._authentication.verify_password(user, request.body.password, request)
        await self._service.erase(user)
        # The audit's record of this request is written later, and must not have the user's address.
        request.address = ""

    # -- sessions -------------------------------------------------------------------------------------------------

    async def sessions(self, request: Request) -> list[MySession]:
        user = self._authentication.current_user(request)
        sessions = sorted(self._credentials.sessions_of(user.id), key=lambda session: -session.used)
        current_id = request.principal.session
        return [extend(MySession, session_object(session), this=session.id == current_id) for session in sessions]

    async def end_session(self, request: Request, session_id: int) -> None:
        user = self._authentication.current_user(request)
        session = self._credentials.sessions.get(session_id)
        if session is None or session.user != user.id:
            raise NotFound("There is no such session.")
        await self._credentials.end([session])

    # -- API keys -------------------------------------------------------------------------------------------------

    async def keys(self, request: Request, user_id: int | None = None) -> list[KeyObject]:
        if request.principal.kind == "local" and user_id is None:
            return [self._key_object(key) for key in self._credentials.keys.values()]
        user = self._key_owner(request, user_id)
        return [self._key_object(key) for key in self._credentials.keys_of(user.id)]

    async def add_key(self, request: Request) -> Created[MadeKey]:
        body: NewKey = request.body
        user = self._key_owner(request, body.user_id)
        scopes = None if body.scopes is None else frozenset(body.scopes)
        if unknown := (scopes or frozenset()) - self._service.roles.permissions.keys():
            raise Rejected(f"There is no permission {min(unknown)!r}.")
        key, key_secret = await self._credentials.add_key(user, body.name, scopes, body.lasts)
        return Created(value=extend(MadeKey, self._key_object(key), key=key_secret))

    async def revoke_key(self, request: Request, key_id: int) -> None:
        key = self._credentials.keys.get(key_id)
        is_local = request.principal.kind == "local"
        user_id = None if is_local else self._authentication.current_user(request).id
        if key is None or user_id not in (None, key.user):
            raise NotFound("There is no such key.")
        request.subject, request.org = f"key {key.id}", self._users.by_id[key.user].org
        await self._credentials.revoke_key(key)

    def _key_owner(self, request: Request, user_id: int | None) -> User:
        """Return the user whose keys a request is about: the user who makes it, or any user for the local key."""
        if request.principal.kind == "local":
            if user_id is None:
                raise Rejected("userId: is missing")
            user = self._users.get(user_id)
            request.subject, request.org = f"user {user.id}", user.org
            return user
        user = self._authentication.current_user(request)
        if user_id not in (None, user.id):
            raise self._users.unknown(user_id or 0)
        return user

    def _key_object(self, key: ApiKey) -> KeyObject:
        return KeyObject(
            id=key.id,
            user=self._users.by_id[key.user].email,
            name=key.name,
            scopes=None if key.scopes is None else sorted(key.scopes),
            expires=key.expires,
            created_at=key.created,
            used_at=key.used,
        )

    # -- second factor --------------------------------------------------------------------------------------------

    async def begin_otp(self, request: Request) -> SecondFactor:
        user = self._authentication.current_user(request)
        await self._authentication.verify_password(user, request.body.password, request)
        otp_secret = self._service.two_factor.begin(user)
        url = provisioning_url(otp_secret, self._hub.organizations.root.name, user.email)
        return SecondFactor(secret=otp_secret, url=url)

    async def confirm_otp(self, request: Request) -> RecoveryCodes:
        user = self._authentication.current_user(request)
        attempt = self._service.throttle.attempt("otp", str(user.id), request.address)
        otp_secret = self._service.two_factor.pending_secret(user, request.body.otp)
        attempt.succeeded()
        return RecoveryCodes(recovery_codes=await self._service.two_factor.confirm(user, otp_secret))

    async def remove_otp(self, request: Request) -> None:
        user = self._authentication.current_user(request)
        await self._authentication.verify_password(user, request.body.password, request)
        await self._users.change(user, otp=None)


def routes(service: UsersService) -> Sequence[Route]:
    api = LoginRoutes(service)
    ours, org = "/api/v1", "/api/v1/organization"
    own_profile, own_role = "Own profile and permissions", "Own profile and role"
    return [
        Route("POST", PATH, api.login, PUBLIC, "Log in", Login),
        # Every client does this every few minutes.
        Route(
            "POST",
            f"{PATH}/refresh",
            api.refresh,
            PUBLIC,
            "Refresh a session",
            Refresh,
            audited=False,
            optional_body=True,
        ),
        Route("POST", f"{ours}/logout", api.logout, AUTHENTICATED, "End this session"),
        Route("GET", f"{ours}/profile", api.profile, AUTHENTICATED, own_profile),
        Route("GET", f"{org}/user/profile", api.profile_with_role, AUTHENTICATED, own_role),
        Route("PUT", f"{ours}/profile", api.change_profile, AUTHENTICATED, "Change own profile", ChangeProfile),
        Route("DELETE", f"{ours}/profile", api.delete_account, AUTHENTICATED, "Delete own account", Password),
        Route("POST", f"{ours}/password", api.change_password, AUTHENTICATED, "Change own password", NewPassword),
        Route("GET", f"{ours}/sessions", api.sessions, AUTHENTICATED, "Own sessions"),
        Route("DELETE", f"{ours}/session", api.end_session, AUTHENTICATED, "End an own session"),
        Route("GET", f"{ours}/keys", api.keys, AUTHENTICATED, "Own API keys"),
        Route("POST", f"{ours}/key", api.add_key, AUTHENTICATED, "Create an API key", NewKey),
        Route("DELETE", f"{ours}/key", api.revoke_key, AUTHENTICATED, "Revoke an API key"),
        Route("POST", f"{ours}/otp", api.begin_otp, AUTHENTICATED, "Begin two-factor login", Password),
        Route("POST", f"{ours}/otp/confirm", api.confirm_otp, AUTHENTICATED, "Turn on two-factor login", Confirm),
        Route("POST", f"{ours}/otp/remove", api.remove_otp, AUTHENTICATED, "Turn off two-factor login", Password),
    ]
