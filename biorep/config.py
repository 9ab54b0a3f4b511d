"""Settings: frozen pydantic models, what of them changes a result, and the digest that keys are made of.

A class of settings that a word of a recipe chooses (see `biorep.table`) has a `kind`. What its results depend on beside
its settings stands on it as `versions`: a mended bug raises one number, and only what was made with it is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from biorep.errors import ConfigError
from biorep.explain import explain, informed
from biorep.source import Source
from biorep.words import checked

#: Version of the keys themselves; part of every digest.
KEY_VERSION = 2


class Config(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error.

    Numbers are read leniently, because YAML calls ``1e-3`` a string. Use `setting` for fields whose hash rules
    differ from the default ("hashed, always").

    Raises
    ------
    ConfigError
        With every mistake among the values, see `validate`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    #: Versions of what makes the results: of the class under its own name, of shared parts under theirs. The entries of
    #: base classes are added.
    versions: ClassVar[Mapping[str, int]] = {}
    #: Of a class that is not part of biorep: the digest of its code, see `biorep.usercode`. Empty for our own.
    code: ClassVar[str] = ""
    #: Files of data that a user's class reads, beside its own file: their contents belong to its code.
    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, /, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _mistakes(error, Source(values, type(self).__name__)) from None

    # Or pydantic would call it for settings inside settings too, whose mistakes need the place of the outer ones.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigError(f"settings are frozen: make another {type(self).__name__} with {name}={value!r}")

    @model_validator(mode="wrap")
    @classmethod
    def _informed(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            if truths := [*_truths(cls, data)] if isinstance(data, Mapping) else []:
                raise ValidationError.from_exception_data(cls.__name__, truths)
            return handler(data)
        except ValidationError as error:
            details = [informed(item, cls.model_fields) for item in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @property
    def word(self) -> str:
        """What draws and results are named by: the word of the table, or the name of a user's class; never a path."""
        name = type(self).__name__
        return name if self.code else str(getattr(self, "kind", None) or getattr(self, "name", name))

    def hash_payload(self, stage: str | None = None) -> dict[str, Any]:
        """Return the fields that change the result, as plain JSON values.

        Parameters
        ----------
        stage : {"fit", "encode"}, optional
            Only the fields that matter for this stage of a network; all by default.
        """
        payload = {}
        for name, field in type(self).model_fields.items():
            value, rules = getattr(self, name), field.json_schema_extra or {}
            assert isinstance(rules, dict)
            if rules.get("hashed") is False or ("neutral" in rules and plain(value) == rules["neutral"]):
                continue
            if stage is not None and rules.get("stage", "fit") != stage:
                continue
            payload[name] = plain(value)
        if "kind" in payload:
            payload["kind"] = self.word
        return payload

    def identity(self, stage: str | None = None) -> dict[str, Any]:
        """Return what a key holds of these settings: the fields that change the result, versions, and a user's code."""
        payload: dict[str, Any] = {"settings": self.hash_payload(stage)}
        if versions := self.all_versions():
            payload["versions"] = versions
        if self.code:
            payload["code"] = self.code
        return payload

    def all_versions(self) -> dict[str, int]:
        """Return the versions of the class, its base classes, and the settings inside."""
        found: dict[str, int] = {}
        for base in reversed(type(self).__mro__):
            found |= vars(base).get("versions", {})
        for inner in self.inside():
            found |= inner.all_versions()
        return found

    def inside(self) -> list[Config]:
        """Return the settings inside these settings, at the next level."""
        return [found for name in type(self).model_fields for found in _configs(getattr(self, name))]


def _configs(value: Any) -> list[Config]:
    """Return the settings that a value holds."""
    if isinstance(value, Config):
        return [value]
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in _configs(item)]
    if isinstance(value, list | tuple):
        return [found for item in value for found in _configs(item)]
    return []


@checked
def setting(
    default: Any = ...,
    *,
    neutral: Any = ...,
    hashed: bool = True,
    stage: Literal["fit", "encode"] = "fit",
    unit: str | None = None,
    **rules: Any,
) -> Any:
    """Declare a field of a `Config` with its hash rules.

    Parameters
    ----------
    default
        The default value; none makes the field compulsory.
    neutral
        For a field that was added after results had been stored: the value with which nothing changes. The
        field is left out of the hash while it has this value, so that old results stay valid.
    hashed : bool
        False for fields that never change a result (names, comments, numbers of workers).
    stage : {"fit", "encode"}
        ``encode`` for a field of a network that does not matter for its training, only for its responses.
    unit : str, optional
        Unit of the value, for example ``"ms"``.
    **rules
        Passed to `pydantic.Field` (``gt=0``, ``description=...``).
    """
    extra = {"hashed": hashed, "stage": stage, "unit": unit, **({} if neutral is ... else {"neutral": neutral})}
    return Field(default, json_schema_extra=extra, **rules)


def _truths(cls: type[Config], data: Mapping[Any, Any]) -> Iterator[InitErrorDetails]:
    """Yield errors for true and false where numbers or words are asked for: pydantic takes them for 1 and 0."""
    text = "it must be a number or a word, not true or false (YAML reads yes, no, on, off so, unless they are quoted)"
    for name, value in data.items():
        field = cls.model_fields.get(name)
        if field is None or _takes_truth(field.annotation):
            continue
        # Of a mapping inside, the settings that it describes look at their own values.
        table = isinstance(value, Mapping) and get_origin(field.annotation) is dict
        if any(map(_holds_truth, [*value, *value.values()] if table else [value])):
            yield InitErrorDetails(type=PydanticCustomError("truth", text), loc=(name,), input=value)


def _holds_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, list | tuple) and any(map(_holds_truth, value)))


def _takes_truth(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_truth, get_args(annotation)))


#: A whole number of at least 1, for lists of widths.
Count = Annotated[int, Field(ge=1)]


def plain(value: Any) -> Any:
    """Return a value as JSON-ready built-in types; nested settings follow their own hash rules."""
    if isinstance(value, Config):
        payload = value.hash_payload()
        return {**payload, "code": value.code} if value.code else payload
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def digest(payload: Mapping[str, Any]) -> str:
    """Return the key of a payload: 16 hexadecimal digits of the SHA-256 of its canonical JSON form.

    The order of keys makes no difference; ``1`` and ``1.0`` differ, as they do in JSON.
    """
    canonical = json.dumps(
        {"key_version": KEY_VERSION, **plain(payload)}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def validate[C: "Config"](model: type[C], source: Source) -> C:
    """Return the settings that a document describes.

    Raises
    ------
    ConfigError
        One message with every mistake: file and line, key path, the value found, what is allowed, and the
        nearest known key.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        raise _mistakes(error, source) from None


def _mistakes(error: ValidationError, source: Source) -> ConfigError:
    """Return one error about all mistakes of a document, a line for each."""
    return ConfigError("\n".join(explain(item, source) for item in error.errors()))
