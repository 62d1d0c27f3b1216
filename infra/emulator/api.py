"""The emulator as a web application: the compute API, the certificates of identity tokens, and the control API."""

import json
import logging
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.emulator import complaints, control, routes
from infra.emulator.call import Call
from infra.emulator.clock import Pace
from infra.emulator.complaints import ApiError, Json
from infra.emulator.identity import Identity

log = logging.getLogger("spotlift.emulator")


def create_app(pace: Pace, identity: Identity, consoles: Callable[[int], Path | None] = lambda _: None) -> Starlette:
    """The application. `consoles` knows where the console of an instance, by its id, is written to."""

    async def compute(request: Request) -> Response:
        path = request.path_params.get("path", "").strip("/")
        try:
            return Response(await _answer(request, path), media_type="application/json")
        except ApiError as error:
            return JSONResponse(error.body(), status_code=error.code)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # A body that is JSON, but not of the shape that the method needs.
            log.warning("%s %s: %r", request.method, path, error, exc_info=True)
            broken = ApiError(400, "badRequest", f"Invalid JSON payload received. {error!r}")
            return JSONResponse(broken.body(), status_code=400)

    async def _answer(request: Request, path: str) -> bytes:
        now = pace.advance()
        world, project = pace.world, request.path_params["project"]
        if world.faults.unavailable.take(now):
            raise complaints.unavailable()
        if world.faults.rate_limit.take(now):
            raise complaints.too_many_requests(project)
        handler, parts = routes.find(request.method, path)
        call = Call(pace, consoles, project, parts, dict(request.query_params), await _body(request), now)
        answer = handler(call)
        if isawaitable(answer):
            answer = await answer
        if routes.is_insert(handler) and world.faults.lost_answers.take(now):
            await hang_up(request)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def certificates(_: Request) -> Response:
        return JSONResponse(identity.certificates())

    async def token(_: Request) -> Response:
        return JSONResponse({"access_token": "emulated", "expires_in": 3600, "token_type": "Bearer"})

    return Starlette(
        routes=[
            *(
                Route(f"{start}/projects/{{project}}{end}", compute, methods=["GET", "POST", "DELETE"])
                for start in ("/compute/v1", "")
                for end in ("/{path:path}", "")
            ),
            Route("/oauth2/v1/certs", certificates),
            Route("/token", token, methods=["GET", "POST"]),
            *control.routes(pace),
        ]
    )


async def _body(request: Request) -> Json:
    given = await request.body()
    if not given:
        return {}
    try:
        body: Any = json.loads(given)
    except ValueError as error:
        raise ApiError(400, "parseError", "Parse Error") from error
    if not isinstance(body, dict):
        raise ApiError(400, "parseError", "Parse Error")
    return body


async def hang_up(request: Request) -> None:
    """Close the connection, so that whatever is answered now is lost, as when a cable is cut."""
    request.state.transport.close()
    while (await request.receive())["type"] != "http.disconnect":
        pass
