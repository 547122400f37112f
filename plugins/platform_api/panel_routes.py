"""The route of the panels: screens that plugins describe as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import AUTHENTICATED, Panel, PanelColumn, Principal, Request, Route
from hub.api import PanelKind

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class AllowedAction:
    """A button of a panel that calls an operation.

    ``confirmation`` is the question to ask before the call, or "". ``parameters`` are the operation's parameters and
    the fields of its body, with the fields of the selected row whose values they get; without any, the action is about
    the whole panel.
    """

    label: str
    method: str
    path: str
    permission: str
    confirmation: str
    parameters: dict[str, str]


@attrs.frozen(kw_only=True)
class VisiblePanel:
    """A screen of a plugin, and how to draw it.

    ``source`` is the path of the operation that returns the content: rows, or a page of them, for a TABLE and a LOG; an
    object for a FORM; ``series`` as of the history for a CHART.
    """

    id: str
    title: str
    kind: PanelKind
    source: str
    permission: str
    columns: list[PanelColumn]
    actions: list[AllowedAction]


class PanelRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def panels(self, request: Request) -> list[VisiblePanel]:
        """Actions that the caller may not use are left out."""
        routes = {(route.method, route.path): route for route in self._hub.routes if isinstance(route, Route)}
        visible = []
        for panel in self._hub.panels:
            source = routes["GET", panel.source].permission
            permission = panel.permission or source
            if not self._may(request.principal, source) or not self._may(request.principal, permission):
                continue
            actions = [
                AllowedAction(
                    label=action.label,
                    method=action.method,
                    path=action.path,
                    permission=needed,
                    confirmation=action.confirmation,
                    parameters=dict(action.parameters),
                )
                for action in panel.actions
                if self._may(request.principal, needed := routes[action.method, action.path].permission)
            ]
            visible.append(_visible(panel, permission, actions))
        return visible

    def _may(self, principal: Principal, permission: str) -> bool:
        return permission == AUTHENTICATED or self._hub.is_allowed(principal, permission)


def _visible(panel: Panel, permission: str, actions: list[AllowedAction]) -> VisiblePanel:
    return VisiblePanel(
        id=panel.id,
        title=panel.title,
        kind=panel.kind,
        source=panel.source,
        permission=permission,
        columns=list(panel.columns),
        actions=actions,
    )


def routes(hub: Hub) -> Sequence[Route]:
    api = PanelRoutes(hub)
    return [Route("GET", "/api/v1/panels", api.panels, AUTHENTICATED, "The screens of plugins that the caller may see")]
