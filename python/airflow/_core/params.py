# SPDX-License-Identifier: Apache-2.0
"""Params: values of a run with a default and a (small) JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from airflow.exceptions import ParamValidationError

NOTSET: Any = type("NOTSET", (), {"__repr__": lambda self: "NOTSET", "__bool__": lambda self: False})()

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list, tuple),
    "null": (type(None),),
}


class Param:
    """Checked against: type, enum, minimum, maximum, minLength, maxLength. Other schema keys are kept and not checked."""

    def __init__(self, default: Any = NOTSET, description: str | None = None, source: str | None = None, **schema: Any) -> None:
        self.value, self.description = default, description
        self.schema: dict[str, Any] = schema.pop("schema", None) or schema

    @property
    def has_value(self) -> bool:
        return self.value is not NOTSET

    def resolve(self, value: Any = NOTSET, suppress_exception: bool = False) -> Any:
        v = self.value if value is NOTSET else value
        problem = "no value and no default" if v is NOTSET else self._problem(v)
        if problem:
            if suppress_exception:
                return None
            raise ParamValidationError(problem)
        return v

    def _problem(self, v: Any) -> str | None:
        types = self.schema.get("type")
        if types is not None:
            names = [types] if isinstance(types, str) else list(types)
            fits = [t for t in names if isinstance(v, _TYPES.get(t, (object,))) and not (isinstance(v, bool) and t in ("integer", "number"))]
            if not fits:
                return f"{v!r} is not of type {' or '.join(names)}"
        s = self.schema
        if v is not None and "enum" in s and v not in s["enum"]:
            return f"{v!r} is not one of {s['enum']}"
        if isinstance(v, (int, float)) and not isinstance(v, bool):
            if "minimum" in s and v < s["minimum"]:
                return f"{v!r} is less than {s['minimum']}"
            if "maximum" in s and v > s["maximum"]:
                return f"{v!r} is greater than {s['maximum']}"
        if isinstance(v, str):
            if len(v) < s.get("minLength", 0):
                return f"{v!r} is shorter than {s['minLength']}"
            if "maxLength" in s and len(v) > s["maxLength"]:
                return f"{v!r} is longer than {s['maxLength']}"
        return None

    def dump(self) -> dict[str, Any]:
        return {"value": None if self.value is NOTSET else self.value, "description": self.description, "schema": self.schema}


class ParamsDict(MutableMapping[str, Any]):
    """Behaves as a dict of plain values; get_param gives the Param."""

    def __init__(self, values: Any = None) -> None:
        self._p: dict[str, Param] = {}
        if isinstance(values, ParamsDict):
            self._p.update({k: values.get_param(k) for k in values})
        else:
            for k, v in (values or {}).items():
                self._p[k] = v if isinstance(v, Param) else Param(v)

    def get_param(self, key: str) -> Param:
        return self._p[key]

    def __getitem__(self, key: str) -> Any:
        return self._p[key].resolve()

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, Param):
            self._p[key] = value
        elif key in self._p:
            old = self._p[key]
            new = Param(value, old.description)
            new.schema = old.schema
            new.resolve()
            self._p[key] = new
        else:
            self._p[key] = Param(value)

    def __delitem__(self, key: str) -> None:
        del self._p[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._p)

    def __len__(self) -> int:
        return len(self._p)

    def dump(self) -> dict[str, Any]:
        return {k: p.resolve(suppress_exception=True) for k, p in self._p.items()}

    def dump_full(self) -> dict[str, Any]:
        return {k: p.dump() for k, p in self._p.items()}

    def validate(self) -> dict[str, Any]:
        for k, p in self._p.items():
            try:
                p.resolve()
            except ParamValidationError as e:
                raise ParamValidationError(f"param {k!r}: {e}") from None
        return self.dump()


class DagParam:
    """An argument of a @dag function: its value is the run's param of that name."""

    def __init__(self, dag: Any, name: str, default: Any = NOTSET) -> None:
        self.name = name
        if default is not NOTSET or name not in dag.params:
            dag.params[name] = default

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        return iter(())

    def resolve(self, context: Any, **_: Any) -> Any:
        return context["params"][self.name]
