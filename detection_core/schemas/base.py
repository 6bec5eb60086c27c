"""The common ground of every schema: frozen, closed to unknown fields, with errors a person can act on."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from detection_core.schemas.text import storable


class InvalidInput(ValueError):
    """Input from a person that cannot be used; the message names the thing and the remedy, and can be stored whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(storable(message))


class Schema(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Validate `data` (a dict, or JSON text).

        Raises:
            InvalidInput: one sentence that names each wrong field and what would be right.
        """
        try:
            if isinstance(data, str | bytes):
                return cls.model_validate_json(data)
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidInput(explain(error, what=cls.__name__)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready data."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return indented JSON text."""
        return self.model_dump_json(indent=2)


def explain(error: ValidationError, *, what: str) -> str:
    """Turn a validation error into one sentence that names each field and the remedy."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(step) for step in item["loc"]) or what
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            parts.append(f"field '{field}' is not known; remove it or correct its name")
        elif item["type"] == "missing":
            parts.append(f"field '{field}' is missing; add it")
        elif item["type"] == "json_invalid":
            parts.append(f"this is not JSON ({item['ctx']['error']}); correct the text")
        else:
            message = item["msg"].removeprefix("Value error, ")
            parts.append(f"field '{field}': {message[:1].lower()}{message[1:]}")
    shown = "; ".join(parts[:5])
    return f"{what}: {shown}" + ("" if len(parts) <= 5 else f"; and {len(parts) - 5} more")
