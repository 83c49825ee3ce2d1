# SPDX-License-Identifier: Apache-2.0
"""Variables, connections and hooks."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from airflow import not_supported
from airflow._core import server
from airflow._core.params import NOTSET
from airflow.exceptions import AirflowException, AirflowNotFoundException


class Variable:
    def __init__(self, key: str | None = None, val: Any = None, description: str | None = None) -> None:
        self.key, self.value, self.val, self.description = key, val, val, description

    @classmethod
    def get(cls, key: str, default: Any = NOTSET, deserialize_json: bool = False, default_var: Any = NOTSET) -> Any:
        v = server.call("var_get", key=key)
        if v is None:
            d = default if default is not NOTSET else default_var
            if d is NOTSET:
                raise KeyError(f"Variable {key} does not exist")
            return d
        return json.loads(v) if deserialize_json else v

    @classmethod
    def set(cls, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        server.call("var_set", key=key, value=json.dumps(value, indent=2) if serialize_json else str(value), description=description)

    @classmethod
    def delete(cls, key: str) -> None:
        server.call("var_delete", key=key)


class Connection:
    def __init__(self, conn_id: str | None = None, conn_type: str | None = None, description: str | None = None, host: str | None = None,
                 login: str | None = None, password: str | None = None, schema: str | None = None, port: int | None = None, extra: Any = None,
                 uri: str | None = None) -> None:
        self.conn_id, self.conn_type, self.description, self.host, self.login = conn_id, conn_type, description, host, login
        self.password, self.schema, self.port = password, schema, port
        self.extra = json.dumps(extra) if isinstance(extra, dict) else extra
        if uri:
            u = urlsplit(uri)
            self.conn_type, self.host, self.port = u.scheme.replace("-", "_"), u.hostname, u.port
            self.login = unquote(u.username) if u.username else None
            self.password = unquote(u.password) if u.password else None
            self.schema = unquote(u.path.lstrip("/")) or None
            if u.query:
                self.extra = json.dumps(dict(parse_qsl(u.query)))

    @property
    def extra_dejson(self) -> dict[str, Any]:
        return json.loads(self.extra) if self.extra else {}

    def get_extra_dejson(self) -> dict[str, Any]:
        return self.extra_dejson

    def get_uri(self) -> str:
        auth = ""
        if self.login or self.password:
            auth = quote(self.login or "", safe="") + (":" + quote(self.password, safe="") if self.password else "") + "@"
        port = f":{self.port}" if self.port else ""
        query = "?" + urlencode(self.extra_dejson) if self.extra_dejson else ""
        return f"{(self.conn_type or '').replace('_', '-')}://{auth}{self.host or ''}{port}/{quote(self.schema or '', safe='')}{query}"

    def get_hook(self) -> Any:
        return get_hook(self.conn_id or "", self)

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        d = server.call("conn_get", conn_id=conn_id)
        if d is None:
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return cls(**d)

    get_connection_from_secrets = get

    def __repr__(self) -> str:
        return f"Connection({self.conn_id!r}, {self.conn_type!r})"


class BaseHook:
    def __init__(self, logger_name: str | None = None) -> None:
        self.log = logging.getLogger(logger_name or f"airflow.task.hooks.{type(self).__name__}")

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        return Connection.get(conn_id)

    @classmethod
    def get_hook(cls, conn_id: str, hook_params: Any = None) -> Any:
        return get_hook(conn_id, Connection.get(conn_id))

    def get_conn(self) -> Any:
        raise not_supported(f"{type(self).__name__}.get_conn")


class DbApiHook(BaseHook):
    """SQL inside the server, by the session that a SQL task has: connections of type millrace, or postgres to this server."""

    conn_name_attr = "millrace_conn_id"
    default_conn_name = "millrace_default"

    def __init__(self, conn_id: str = "millrace_default", **kw: Any) -> None:
        super().__init__()
        self.conn_id = conn_id

    def _sql(self, sql: Any, parameters: Any = None) -> dict[str, Any]:
        if parameters:
            raise not_supported("parameters of a hook's SQL (use a template)")
        out: dict[str, Any] = server.call("sql", conn_id=self.conn_id, sql=sql if isinstance(sql, str) else ";\n".join(sql))
        return out

    def run(self, sql: Any, autocommit: bool = False, parameters: Any = None, handler: Any = None, split_statements: bool = False,
            return_last: bool = True) -> Any:
        r = self._sql(sql, parameters)
        if handler is None:
            return None
        return handler(_Cursor(r))

    def get_records(self, sql: Any, parameters: Any = None, **kw: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._sql(sql, parameters)["rows"]]

    def get_first(self, sql: Any, parameters: Any = None) -> Any:
        rows = self.get_records(sql, parameters)
        return rows[0] if rows else None

    def get_conn(self) -> Any:
        raise not_supported("DbApiHook.get_conn (use get_records, get_first or run)")


class _Cursor:
    def __init__(self, r: dict[str, Any]) -> None:
        self._rows = [tuple(x) for x in r["rows"]]
        self.description = [(c, None, None, None, None, None, None) for c in r["columns"]]
        self.rowcount = len(self._rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows


def get_hook(conn_id: str, c: Connection) -> Any:
    if c.conn_type in ("millrace", "postgres"):
        return DbApiHook(conn_id)
    raise AirflowException(f"connection {conn_id!r} is of type {c.conn_type!r}: Millrace has hooks only for types millrace and postgres")


class VarAccessor:
    """`var.value.NAME` and `var.json.NAME` of templates."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Variable.get(name, deserialize_json=self._json)

    def get(self, name: str, default: Any = NOTSET) -> Any:
        return Variable.get(name, default=default, deserialize_json=self._json)


class ConnAccessor:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Connection.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return Connection.get(name)
        except AirflowNotFoundException:
            return default
