"""Orders for trouble, and a look behind the scenes: paths under `/emulator`, which the real API does not have."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from infra.emulator.clock import Pace
from infra.emulator.faults import Faults, UnknownFault
from infra.emulator.model import Instance
from infra.emulator.resources import stamp


def routes(pace: Pace) -> list[BaseRoute]:
    """What the control API offers."""
    world = pace.world

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "inserts": world.inserts})

    async def machines(_: Request) -> Response:
        pace.advance()
        return JSONResponse({"machines": [described(it) for it in world.instances()]})

    async def faults(_: Request) -> Response:
        now = pace.advance()
        return JSONResponse({"faults": world.faults.json(now)})

    async def order(request: Request) -> Response:
        try:
            given: Any = json.loads(await request.body())
            if not isinstance(given, dict):
                raise UnknownFault("an order is a JSON object")
            world.order(given, pace.clock.now())
        except UnknownFault as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except ValueError as error:
            return JSONResponse({"error": f"an order is a JSON object: {error}"}, status_code=400)
        pace.changed()
        return await faults(request)

    async def calm(request: Request) -> Response:
        world.faults = Faults()
        pace.changed()
        return await faults(request)

    return [
        Route("/emulator/health", health),
        Route("/emulator/machines", machines),
        Route("/emulator/faults", faults),
        Route("/emulator/faults", order, methods=["POST"]),
        Route("/emulator/faults", calm, methods=["DELETE"]),
    ]


def described(instance: Instance) -> dict[str, Any]:
    """An instance as people want to see it."""
    return {
        "name": instance.name,
        "project": instance.project,
        "zone": instance.zone,
        "status": instance.status.value,
        "machine_type": instance.machine_type.name,
        "gpus": instance.gpus[1],
        "spot": instance.spot,
        "booted": instance.booted,
        "preempted": instance.preempted,
        "created": stamp(instance.created),
        "labels": instance.labels,
    }
