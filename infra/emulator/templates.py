"""Instance templates: machines that are described once and asked for by name."""

from infra.emulator import asking, complaints
from infra.emulator.complaints import Json
from infra.emulator.model import Operation
from infra.emulator.resources import last
from infra.emulator.world import World


def insert(world: World, project: str, body: Json, now: float, request_id: str = "") -> Operation:
    """Raises ApiError."""
    world.advance(now)
    known = world.known(project, request_id, "insert template")
    if known is not None:
        return known
    name = str(body.get("name") or "")
    if not asking.NAME.fullmatch(name):
        raise complaints.invalid("resource.name", name, "Must be a match of regex '[a-z](?:[-a-z0-9]*[a-z0-9])?'")
    if (project, name) in world.templates:
        raise complaints.already_exists(f"projects/{project}/{_path(name)}")
    operation = world.begin(project, "global", "insert", _path(name))
    world.templates[project, name] = {**body, "id": str(operation.target_id), "created": now}
    world.remember(project, request_id, "insert template", operation)
    world.finish(operation)
    return operation


def delete(world: World, project: str, name: str, now: float) -> Operation:
    """Raises ApiError."""
    world.advance(now)
    get(world, project, name)
    del world.templates[project, name]
    operation = world.begin(project, "global", "delete", _path(name))
    world.finish(operation)
    return operation


def get(world: World, project: str, name: str) -> Json:
    """As it was given, with `id` and `created`. Raises ApiError 404."""
    found = world.templates.get((project, name))
    if found is None:
        raise complaints.not_found(f"projects/{project}/{_path(name)}")
    return found


def of_project(world: World, project: str) -> list[Json]:
    return [it for (owner, _), it in sorted(world.templates.items()) if owner == project]


def properties(world: World, project: str, path: str) -> Json:
    """What the template of that path, or only of that name, says about a machine. Raises ApiError 404."""
    return dict(get(world, project, last(path)).get("properties", {}))


def _path(name: str) -> str:
    return f"global/instanceTemplates/{name}"
