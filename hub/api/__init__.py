"""The HTTP API as plain values: requests, answers, routes and their parameters. Connectors serve them.

The names below are public. `hub.app` also uses `access` (what a request is about) and `execution` (of routes).
"""

from hub.api.bodies import parse_json
from hub.api.changes import HIDDEN, details_of
from hub.api.links import ONLY_HERE, is_only_here, is_own_origin, reachable
from hub.api.messages import (
    MAX_PAGE,
    PAGE,
    Created,
    Download,
    File,
    Page,
    PageNumber,
    PageSize,
    Pairs,
    Request,
    Response,
    Socket,
    SortOrder,
    Stream,
    page_of,
)
from hub.api.panels import ColumnFormat, Panel, PanelAction, PanelColumn, PanelKind
from hub.api.parameters import MAX_TIME, MAX_WHOLE, Between, Parameter, Time, Timestamp, optional, parse_timestamp
from hub.api.routes import (
    AUTHENTICATED,
    BODY,
    DEVICE,
    LARGE_BODY,
    OPEN,
    PUBLIC,
    PUBLIC_BODY,
    Handler,
    Permission,
    Route,
    SocketRoute,
)
from hub.api.schema import camel, encode, from_json, json_name, secret, to_json
from hub.api.static import StaticContent, StaticFiles, accepts_gzip
from hub.model import VIEW_DEVICES

__all__ = [
    "AUTHENTICATED",
    "BODY",
    "DEVICE",
    "HIDDEN",
    "LARGE_BODY",
    "MAX_PAGE",
    "MAX_TIME",
    "MAX_WHOLE",
    "ONLY_HERE",
    "OPEN",
    "PAGE",
    "PUBLIC",
    "PUBLIC_BODY",
    "VIEW_DEVICES",
    "Between",
    "ColumnFormat",
    "Created",
    "Download",
    "File",
    "Handler",
    "Page",
    "PageNumber",
    "PageSize",
    "Pairs",
    "Panel",
    "PanelAction",
    "PanelColumn",
    "PanelKind",
    "Parameter",
    "Permission",
    "Request",
    "Response",
    "Route",
    "Socket",
    "SocketRoute",
    "SortOrder",
    "StaticContent",
    "StaticFiles",
    "Stream",
    "Time",
    "Timestamp",
    "accepts_gzip",
    "camel",
    "details_of",
    "encode",
    "from_json",
    "is_only_here",
    "is_own_origin",
    "json_name",
    "optional",
    "page_of",
    "parse_json",
    "parse_timestamp",
    "reachable",
    "secret",
    "to_json",
]
