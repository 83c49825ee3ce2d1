# SPDX-License-Identifier: Apache-2.0
"""References to values that tasks push, and the values' JSON form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow import not_supported
from airflow.exceptions import XComNotFound

XCOM_RETURN_KEY = "return_value"
_MISSING: Any = object()


def _encode(v: Any) -> Any:
    if isinstance(v, datetime):
        return {"__classname__": "datetime.datetime", "__data__": v.isoformat()}
    if isinstance(v, date):
        return {"__classname__": "datetime.date", "__data__": v.isoformat()}
    if isinstance(v, timedelta):
        return {"__classname__": "datetime.timedelta", "__data__": v.total_seconds()}
    if isinstance(v, Decimal):
        return {"__classname__": "decimal.Decimal", "__data__": str(v)}
    if isinstance(v, (set, frozenset)):
        return {"__classname__": "builtins.set", "__data__": sorted(v, key=repr)}
    if isinstance(v, bytes):
        raise TypeError("bytes cannot be an XCom value: decode them first")
    raise TypeError(f"a value of type {type(v).__name__} cannot be an XCom value: only what JSON holds, dates, Decimal and sets can")


_DECODE = {
    "datetime.datetime": datetime.fromisoformat,
    "datetime.date": date.fromisoformat,
    "datetime.timedelta": lambda s: timedelta(seconds=s),
    "decimal.Decimal": Decimal,
    "builtins.set": set,
}


def _hook(d: dict[str, Any]) -> Any:
    if d.keys() == {"__classname__", "__data__"} and d["__classname__"] in _DECODE:
        return _DECODE[d["__classname__"]](d["__data__"])
    return d


def dumps(value: Any) -> str:
    return json.dumps(value, default=_encode, allow_nan=False)


def loads(text: str) -> Any:
    return json.loads(text, object_hook=_hook)


class ResolveMixin:
    """Something in an operator's arguments that becomes a value when the task runs."""

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        raise NotImplementedError

    def resolve(self, context: Any, **_: Any) -> Any:
        raise NotImplementedError


class XComArg(ResolveMixin):
    """What `operator.output` and a call of a @task function give."""

    def __init__(self, operator: Any, key: str = XCOM_RETURN_KEY) -> None:
        self.operator, self.key = operator, key

    @property
    def roots(self) -> list[Any]:
        return [self.operator]

    leaves = roots

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise ValueError(f"an XComArg is indexed by a key's name, not by {key!r}")
        return XComArg(self.operator, key)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("an XComArg cannot be iterated: its value is known only when the task runs")

    def __str__(self) -> str:
        extra = "" if self.key == XCOM_RETURN_KEY else f", key='{self.key}'"
        return f"{{{{ task_instance.xcom_pull(task_ids='{self.operator.task_id}', dag_id='{self.operator.dag.dag_id}'{extra}) }}}}"

    def __rshift__(self, other: Any) -> Any:
        self.operator.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.operator.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.operator.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.operator.set_downstream(other)
        return self

    def set_upstream(self, other: Any, edge_modifier: Any = None) -> None:
        self.operator.set_upstream(other, edge_modifier)

    def set_downstream(self, other: Any, edge_modifier: Any = None) -> None:
        self.operator.set_downstream(other, edge_modifier)

    def as_setup(self) -> Any:
        self.operator.as_setup()
        return self

    def as_teardown(self, **kw: Any) -> Any:
        self.operator.as_teardown(**kw)
        return self

    def __enter__(self) -> Any:
        return self.operator.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self.operator.__exit__(*exc)

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        yield self.operator, self.key

    def resolve(self, context: Any, **_: Any) -> Any:
        v = context["ti"].xcom_pull(task_ids=self.operator.task_id, key=self.key, default=_MISSING)
        if v is _MISSING:
            if self.key == XCOM_RETURN_KEY:
                return None
            raise XComNotFound(f"task {self.operator.task_id!r} pushed no XCom with key {self.key!r}")
        return v

    def map(self, f: Any) -> Any:
        raise not_supported("XComArg.map (dynamic task mapping)")

    def zip(self, *others: Any, fillvalue: Any = None) -> Any:
        raise not_supported("XComArg.zip (dynamic task mapping)")

    def concat(self, *others: Any) -> Any:
        raise not_supported("XComArg.concat (dynamic task mapping)")


class PlainXComArg(XComArg):
    pass


def iter_refs(value: Any) -> Iterator[Any]:
    """Operators that `value` refers to, however deep."""
    if hasattr(value, "iter_references"):
        for op, _ in value.iter_references():
            yield op
    elif isinstance(value, dict):
        for v in value.values():
            yield from iter_refs(v)
    elif isinstance(value, (list, tuple, set)):
        for v in value:
            yield from iter_refs(v)


def has_refs(value: Any) -> bool:
    if hasattr(value, "iter_references"):
        return True
    if isinstance(value, dict):
        return any(has_refs(v) for v in value.values())
    return isinstance(value, (list, tuple, set)) and any(has_refs(v) for v in value)


def resolve_refs(value: Any, context: Any) -> Any:
    if hasattr(value, "iter_references"):
        return value.resolve(context)
    if isinstance(value, dict):
        return {k: resolve_refs(v, context) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve_refs(v, context) for v in value]
    if type(value) is tuple:
        return tuple(resolve_refs(v, context) for v in value)
    return value
