"""What every section of a manifest shares: closed, frozen, strict, helpful with mistyped keys."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

UNKNOWN_KEY = "unknown_key"
BROKEN_RULE = "broken_rule"

Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Whole = Annotated[int, Strict(), Field(ge=0)]
Texts = tuple[str, ...]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
Collection = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_]+$")]
"""A collection that the engine makes for itself inside the app."""


class Section(BaseModel):
    """One object of a manifest. A key that it does not know is refused, with the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and cls.model_config.get("extra") == "forbid":
            known = known_keys(cls)
            for key in data:
                if key not in known:
                    raise unknown_key(str(key), known)
        return data


def known_keys(section: type[BaseModel]) -> frozenset[str]:
    """The keys of a section, as a manifest spells them."""
    return frozenset(field.alias or name for name, field in section.model_fields.items())


def unknown_key(key: str, known: frozenset[str]) -> PydanticCustomError:
    """The error for a key that a section does not know."""
    nearest = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return PydanticCustomError(UNKNOWN_KEY, "unknown key{hint}", {"key": key, "hint": hint})


def broken_rule(reason: str, at: str = "") -> PydanticCustomError:
    """The error for a rule between keys; `at` is where, below the section that is checked."""
    return PydanticCustomError(BROKEN_RULE, "{reason}", {"reason": reason, "at": at})
