"""Pages beside the endpoints: who may look at them, and from where.

Walks in: requests of browsers. Walks out: the key that a browser brought, or a refusal. It does not know what a page
shows: pages are handed in by whoever starts the service.

A browser brings its key in a cookie (HttpOnly, SameSite=Strict, gone when the browser is closed), and only pages take a
key from there. What changes something is taken from a page of this very service alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request

from kasauti.serve.keys import Role
from kasauti.serve.problems import Problem

LOGIN = "/login"
NAMES = {"127.0.0.1", "localhost", "::1"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with less, a form would not say where it was sent from
}
"""What differs from the endpoints' headers: own scripts and forms, nothing from elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """Pages of a service."""

    roles: Mapping[str, Role | None]
    """Path → the least role; None is open to everybody."""
    attach: Callable[[FastAPI, Any], None]
    """Adds the routes; called with the application and its `Service`."""


def cookie_of(request: Request) -> str:
    """Name of the cookie: cookies do not know ports, and several services may be looked at in one browser."""
    return f"kasauti-{_split(request.headers.get('host', ''))[1]}"


def check_origin(request: Request, *, guarded: bool) -> None:
    """Refuse what another site's page makes a browser do.

    Args:
        guarded: keys are asked for. Without them the service is open to this machine, and a name that only resolves to
            it is refused, so that no page elsewhere can read along.

    Raises:
        Problem: 403.
    """
    host = request.headers.get("host", "")
    local = (request.scope.get("server") or ("",))[0] in NAMES
    if not guarded and local and _split(host)[0] not in NAMES:
        raise Problem(403, "without keys this page is served under the name of this machine alone, 127.0.0.1")
    if request.method in ("GET", "HEAD"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site == "same-origin":
        return
    hosts = {host, request.headers.get("x-forwarded-host", host)}
    if site is None and origin is not None and urlsplit(origin).netloc in hosts:
        return
    if site is None and origin is None and cookie_of(request) not in request.cookies:
        return  # no browser: it has brought its key in a header, or needs none
    raise Problem(403, "this is taken from a page of this service alone")


def refused(request: Request) -> Problem:
    """Nobody is known: to the page where a key is given, for a page; else 401."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return Problem(303, "a key is needed", {"Location": LOGIN})
    return Problem(401, "a key is needed: sign in again", {"WWW-Authenticate": "Bearer"})


def _split(host: str) -> tuple[str, int]:
    """Name and port of a Host header; an empty name where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port or 80
    except ValueError:
        return "", 0
