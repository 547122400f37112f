"""Secrets stay out of files, logs, metrics and errors."""

from __future__ import annotations

from support.accounts import LOGIN, code_in, log_in, tenants_with_eva
from support.backups import run_backup
from support.raw_http import connected, local_key
from support.tenants import ORG, PASSWORD

from hub.run import running
from plugins.users import passwords
from plugins.users.model import USER


async def test_secrets_do_not_appear_in_files_logs_metrics_and_errors(hub_config, caplog, tmp_path):
    caplog.set_level("DEBUG")
    canaries, responses = {"password": PASSWORD}, []
    async with running(hub_config) as hub:
        world = await tenants_with_eva(hub)
        async with connected(hub) as http:
            tokens = (await log_in(http)).json
            canaries["access"], canaries["refresh"] = tokens["access_token"], tokens["refresh_token"]
            canaries["hash"] = passwords.blynk_hash("eva@example.org", PASSWORD)
            canaries["key"] = (await world.ask("ada", "POST", "/api/v1/key", {"name": "k"})).json["key"]
            client = (await world.ask("ada", "POST", f"{ORG}/client", {"name": "c", "roleId": USER})).json
            canaries["client"] = client["clientSecret"]
            link = (await world.ask("ada", "POST", f"{ORG}/users/invite", {"email": "n@example.org"})).json["link"]
            canaries["code"] = code_in(link)
            created = {"templateId": "TMPL0thermo", "name": "D"}
            canaries["token"] = (await world.ask("ada", "POST", f"{ORG}/device/create", created)).json["token"]
            canaries["otp"] = "4242424242canary"
            for method, path, body in (
                ("POST", LOGIN, {"email": "eva@example.org", "password": PASSWORD, "otp": canaries["otp"], "x": 1}),
                ("POST", "/api/v1/otp", {"password": PASSWORD}),
                ("POST", f"{ORG}/user/password", {"userId": world.users["uma"].id, "password": PASSWORD}),
                ("GET", f"{ORG}/devices?x={canaries['key']}", None),
                ("POST", "/oauth2/token", f"grant_type=refresh_token&refresh_token={canaries['refresh']}x".encode()),
                ("GET", f"/nowhere/{canaries['otp']}?token={canaries['token']}", None),
            ):
                responses.append(await http.ask(method, path, body, canaries["key"]))
            responses.append(await http.get("/metrics", local_key(hub)))
            responses.append(await http.get("/api/v1/audit?size=1000", local_key(hub)))
            responses.append(await http.get("/api/v1/refusals", local_key(hub)))
            backup = tmp_path / "b.tar"
            await run_backup(hub, backup)
            assert backup.exists()
    texts = {"log": caplog.text.encode(), "answers": b"".join(a.body for a in responses if b"/nowhere/" not in a.body)}
    for path in [backup, *hub_config.data.rglob("*")]:
        if path.is_file():
            texts[path.name] = path.read_bytes()
    secret = {name: text for name, text in canaries.items() if name != "otp"}
    for name, canary in secret.items():
        leaks = [place for place, text in texts.items() if canary.encode() in text]
        assert [] == leaks, name
