"""The parameters of the route that is asked most, read and described as by FastAPI in a part of its time."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def read(model: type[M], request: Request) -> M:
    """The parameters of a request, as FastAPI would read them, of a model without lists.

    Raises:
        RequestValidationError: they are not what the model takes.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        ) from None


def described(model: type[BaseModel]) -> list[dict[str, Any]]:
    """What OpenAPI says of parameters that are read so."""
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": field["description"],
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]
