"""Logging in and out, and what people do with their own account."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import attrs

from hub.api import AUTHENTICATED, PUBLIC, Created, Request, Route, secret
from hub.errors import Forbidden, NotAuthenticated, NotFound, Rejected
from hub.model import Principal
from plugins.users.credentials import Tokens
from plugins.users.model import Address, Key, Session, User
from plugins.users.passwords import candidate_hashes, hash_of
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
    SessionObject,
    UserObject,
    more,
    said_of,
)
from plugins.users.user_store import digest

if TYPE_CHECKING:
    from hub.storage import Transaction
    from plugins.users.service import UsersService

WRONG = "The email or the password is wrong."
#: RFC 6238 as every authenticator app has it: seconds of a step, digits, steps before and after that count too.
STEP, DIGITS, DRIFT = 30, 6, 1
RECOVERY_CODES = 10


@attrs.frozen(kw_only=True)
class Login:
    """``password``, or Blynk's hash of it; ``otp`` with a second factor: a one-time password or a recovery code."""

    email: str = secret()
    password: str | None = secret(default=None)
    password_hash: str | None = secret(default=None)
    otp: str | None = secret(default=None)


@attrs.frozen(kw_only=True)
class Refresh:
    refresh_token: str = secret(name="refresh_token")


@attrs.frozen(kw_only=True)
class NewPassword:
    old: str = secret()
    new: str = secret()


@attrs.frozen(kw_only=True)
class ChangeProfile:
    """What is left out stays."""

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
    """``scopes`` are permissions that the key is limited to; ``lasts`` is in milliseconds, left out for good."""

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


def routes(service: UsersService) -> Sequence[Route]:
    hub, people, credentials = service.hub, service.people, service.credentials

    async def login(request: Request) -> LoggedIn:
        user = await identified(service, request, request.body)
        tokens = await credentials.open(user=user, address=request.address, agent=request.headers.get("user-agent", ""))
        request.principal = Principal("user", user.id, user.org, user.email)
        request.subject = f"user {user.id}"
        return answer(user, tokens)

    def answer(user: User, tokens: Tokens) -> LoggedIn:
        return more(LoggedIn, tokens, user=service.shown(user))

    async def refresh(request: Request) -> LoggedIn:
        session, tokens = await credentials.refresh(request.body.refresh_token, client=None)
        assert session.user is not None
        return answer(people.by_id[session.user], tokens)

    async def logout(request: Request) -> None:
        service.myself(request)
        if session := credentials.sessions.get(request.principal.session):  # type: ignore[arg-type]
            await credentials.end([session])

    async def profile(request: Request) -> Myself:
        user = service.myself(request)
        return more(Myself, service.shown(user), permissions=sorted(service.access.grants(request.principal) or ()))

    async def current_user(request: Request) -> CurrentUser:
        mine = await profile(request)
        user = people.by_id[mine.id]
        names = {field.name for field in attrs.fields(CurrentUser)} - {"role"}
        return CurrentUser(
            **{name: value for name, value in attrs.asdict(mine, recurse=False).items() if name in names},
            role=CurrentRole(id=mine.role_id, name=mine.role, permissions=mine.permissions),
            org_name=hub.organizations.get(mine.org_id).name,
            address=user.profile.address,
        )

    async def change_profile(request: Request) -> UserObject:
        user = service.myself(request)
        name = request.body.name
        await people.change(user, profile=said_of(request.body), **({} if name is None else {"name": name}))
        return service.shown(user)

    async def password(request: Request) -> None:
        user, body = service.myself(request), request.body
        await prove(service, request, user, body.old)
        await people.set_password(user, hash_of(user.email, body.new, None))
        # Whoever knew the old one is out; whoever asked stays.
        await credentials.end([one for one in credentials.of_user(user.id) if one.id != request.principal.session])

    async def sessions(request: Request) -> list[MySession]:
        user = service.myself(request)
        mine = sorted(credentials.of_user(user.id), key=lambda one: -one.used)
        return [more(MySession, session_shown(one), this=one.id == request.principal.session) for one in mine]

    async def end_session(request: Request, session_id: int) -> None:
        user = service.myself(request)
        session = credentials.sessions.get(session_id)
        if session is None or session.user != user.id:
            raise NotFound("There is no such session.")
        await credentials.end([session])

    # -- keys -----------------------------------------------------------------------------------------------------

    def key_owner(request: Request, number: int | None) -> User:
        """Oneself; the local key acts for whom it names."""
        if request.principal.kind == "local":
            if number is None:
                raise Rejected("userId: is missing")
            user = people.get(number)
            request.subject, request.org = f"user {user.id}", user.org
            return user
        user = service.myself(request)
        if number not in (None, user.id):
            raise people.unknown(number or 0)
        return user

    async def keys(request: Request, user_id: int | None = None) -> list[KeyObject]:
        if request.principal.kind == "local" and user_id is None:
            return [key_shown(key) for key in credentials.keys.values()]
        user = key_owner(request, user_id)
        return [key_shown(key) for key in credentials.keys.values() if key.user == user.id]

    async def add_key(request: Request) -> Created[MadeKey]:
        body: NewKey = request.body
        user = key_owner(request, body.user_id)
        scopes = None if body.scopes is None else frozenset(body.scopes)
        if unknown := (scopes or frozenset()) - service.roles.known.keys():
            raise Rejected(f"there is no permission {min(unknown)!r}")
        key, made = await credentials.add_key(user, body.name, scopes, body.lasts)
        return Created(value=more(MadeKey, key_shown(key), key=made))

    async def remove_key(request: Request, key_id: int) -> None:
        key = credentials.keys.get(key_id)
        mine = None if request.principal.kind == "local" else service.myself(request).id
        if key is None or mine not in (None, key.user):
            raise NotFound("There is no such key.")
        request.subject, request.org = f"key {key.id}", people.by_id[key.user].org
        await credentials.remove_key(key)

    def key_shown(key: Key) -> KeyObject:
        return KeyObject(
            id=key.id,
            user=people.by_id[key.user].email,
            name=key.name,
            scopes=None if key.scopes is None else sorted(key.scopes),
            expires=key.expires,
            created_at=key.created,
            used_at=key.used,
        )

    # -- the second factor ----------------------------------------------------------------------------------------

    waiting: dict[int, str] = {}

    async def begin_otp(request: Request) -> SecondFactor:
        user = service.myself(request)
        await prove(service, request, user, request.body.password)
        if user.otp is not None:
            raise Rejected("There is a second factor already.")
        made = waiting[user.id] = base64.b32encode(secrets.token_bytes(20)).decode()
        label = quote(f"{hub.organizations.root.name}:{user.email}")
        issuer = quote(hub.organizations.root.name)
        return SecondFactor(secret=made, url=f"otpauth://totp/{label}?secret={made}&issuer={issuer}")

    async def confirm_otp(request: Request) -> RecoveryCodes:
        user = service.myself(request)
        made = waiting.get(user.id)
        attempt = service.throttle.attempt("otp", str(user.id), request.address)
        if made is None or matching(made, request.body.otp.strip()) is None:
            raise Rejected("The one-time password is wrong.")
        attempt.succeeded()
        codes = [secrets.token_hex(5) for _ in range(RECOVERY_CODES)]

        async def write(tx: Transaction) -> None:
            await tx.execute("DELETE FROM users_recovery WHERE user = ?", (user.id,))
            rows = [(user.id, digest(code)) for code in codes]
            await tx.insert_many("users_recovery", ("user", "hash"), rows)

        await hub.storage.transaction(write)
        await people.change(user, otp=made, otp_step=0)
        waiting.pop(user.id, None)
        return RecoveryCodes(recovery_codes=codes)

    async def remove_otp(request: Request) -> None:
        user = service.myself(request)
        await prove(service, request, user, request.body.password)
        await people.change(user, otp=None)

    ours = "/api/v1"
    return [
        Route(
            method=method,
            path=path,
            handler=handler,
            permission=permission,
            body=body,
            summary=summary,
            # Every few minutes, by everybody who is logged in.
            quiet=handler is refresh,
        )
        for method, path, handler, permission, body, summary in (
            ("POST", f"{ours}/login", login, PUBLIC, Login, "Log in"),
            ("POST", f"{ours}/login/refresh", refresh, PUBLIC, Refresh, "Refresh a session"),
            ("POST", f"{ours}/logout", logout, AUTHENTICATED, None, "End this session"),
            ("GET", f"{ours}/profile", profile, AUTHENTICATED, None, "One's own profile and permissions"),
            (
                "GET",
                f"{ours}/organization/user/profile",
                current_user,
                AUTHENTICATED,
                None,
                "One's own profile and role",
            ),
            ("PUT", f"{ours}/profile", change_profile, AUTHENTICATED, ChangeProfile, "Change one's profile"),
            ("POST", f"{ours}/password", password, AUTHENTICATED, NewPassword, "Change one's password"),
            ("GET", f"{ours}/sessions", sessions, AUTHENTICATED, None, "One's sessions"),
            ("DELETE", f"{ours}/session", end_session, AUTHENTICATED, None, "End one of one's sessions"),
            ("GET", f"{ours}/keys", keys, AUTHENTICATED, None, "One's personal API keys"),
            ("POST", f"{ours}/key", add_key, AUTHENTICATED, NewKey, "Make a personal API key"),
            ("DELETE", f"{ours}/key", remove_key, AUTHENTICATED, None, "Revoke a personal API key"),
            ("POST", f"{ours}/otp", begin_otp, AUTHENTICATED, Password, "Begin two-factor login"),
            ("POST", f"{ours}/otp/confirm", confirm_otp, AUTHENTICATED, Confirm, "Turn on two-factor login"),
            ("POST", f"{ours}/otp/remove", remove_otp, AUTHENTICATED, Password, "Turn off two-factor login"),
        )
    ]


async def prove(service: UsersService, request: Request, user: User, password: str) -> None:
    """Return when it is the user's password. Raises `Forbidden`, `TooMany`."""
    attempt = service.throttle.attempt("password", str(request.principal.session), request.address)
    if await service.passwords.fitting(candidate_hashes(user.email, password, None), user.password) is None:
        raise Forbidden("The password is wrong.")
    attempt.succeeded()


async def identified(service: UsersService, request: Request, said: Login) -> User:
    """Who logs in. Raises `NotAuthenticated`, `TooMany`, and `Forbidden` when they are suspended."""
    email = said.email.strip().lower()[:254]
    attempt = service.throttle.attempt("login", email, request.address)
    user = service.people.by_email.get(email)
    hashes = candidate_hashes(email, said.password, said.password_hash)
    kept = None if user is None else user.password
    right = await service.passwords.fitting(hashes, kept)
    if right is None or user is None:
        service.hub.reject(request.address, "wrong email or password")
        raise NotAuthenticated(WRONG)
    if user.otp is not None:
        if not said.otp:
            # Every client that does not know of the second factor begins so.
            attempt.uncounted()
            raise NotAuthenticated("A one-time password is needed.")
        if not await _second_factor(service, user, user.otp, said.otp):
            service.hub.reject(request.address, "wrong one-time password")
            raise NotAuthenticated("The one-time password is wrong.")
    attempt.succeeded()
    if user.suspended:
        raise Forbidden("This account is suspended.")
    await service.people.change(user, last_login=service.hub.clock.now())
    if user.password != kept or user.suspended:
        # Meanwhile somebody has set another.
        raise NotAuthenticated(WRONG)
    if right != hashes[0] and hashes[0]:
        await service.people.rehash(user, hashes[0])
    return user


async def _second_factor(service: UsersService, user: User, otp_secret: str, text: str) -> bool:
    """Whether it is a one-time password of now, or a recovery code; neither works twice."""
    text = text.strip().replace(" ", "")
    if len(text) == DIGITS and text.isascii() and text.isdecimal():
        step = matching(otp_secret, text)
        return step is not None and await service.people.spend_otp(user, step)

    async def write(tx: Transaction) -> bool:
        key = (user.id, digest(text))
        found = await tx.fetch_one("SELECT 1 FROM users_recovery WHERE user = ? AND hash = ?", key)
        await tx.execute("DELETE FROM users_recovery WHERE user = ? AND hash = ?", key)
        return found is not None

    return await service.hub.storage.transaction(write)


def matching(otp_secret: str, text: str) -> int | None:
    """The step whose one-time password ``text`` is; None when it is none of now."""
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor import InvalidToken
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

    totp = TOTP(base64.b32decode(otp_secret), DIGITS, SHA1(), STEP, enforce_key_length=False)  # noqa: S303 - RFC 6238
    now = int(time.time()) // STEP
    for step in range(now - DRIFT, now + DRIFT + 1):
        try:
            totp.verify(text.encode(), step * STEP)
        except InvalidToken:
            continue
        return step
    return None


def session_shown(session: Session) -> SessionObject:
    return SessionObject(
        id=session.id,
        org_id=session.org,
        created_at=session.created,
        used_at=session.used,
        address=session.address,
        agent=session.agent,
    )
