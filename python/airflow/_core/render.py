# SPDX-License-Identifier: Apache-2.0
"""Templates: real Jinja2, strict about what is undefined, in its sandbox, with Airflow's filters and file rule."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.nativetypes
import jinja2.sandbox

from airflow._core.xcom import resolve_refs
from airflow.exceptions import AirflowException


class _Sandbox(jinja2.sandbox.SandboxedEnvironment):
    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not jinja2.sandbox.is_internal_attribute(obj, attr)


class _Native(jinja2.nativetypes.NativeEnvironment, _Sandbox):
    pass


def _nodash(d: datetime) -> str:
    return d.strftime("%Y%m%dT%H%M%S")


FILTERS = {
    "ds": lambda d: d.strftime("%Y-%m-%d"),
    "ds_nodash": lambda d: d.strftime("%Y%m%d"),
    "ts": lambda d: d.isoformat(),
    "ts_nodash": _nodash,
    "ts_nodash_with_tz": lambda d: d.isoformat().replace("-", "").replace(":", ""),
}


def environment(dag: Any) -> Any:
    paths = [dag.folder, *dag.template_searchpath] if dag is not None else [os.curdir]
    kind: Any = _Native if dag is not None and dag.render_template_as_native_obj else _Sandbox
    options = {"undefined": (dag.template_undefined if dag is not None else None) or jinja2.StrictUndefined, "extensions": ["jinja2.ext.do"],
               "cache_size": 0, "loader": jinja2.FileSystemLoader(paths)}
    if dag is not None:
        options.update(dag.jinja_environment_kwargs)
    env = kind(**options)
    env.filters.update(FILTERS)
    if dag is not None:
        env.globals.update(dag.user_defined_macros or {})
        env.filters.update(dag.user_defined_filters or {})
    return env


def render_value(v: Any, context: Any, env: Any, ext: Sequence[str] = ()) -> Any:
    if isinstance(v, str):
        try:
            if ext and v.endswith(tuple(ext)):
                return env.get_template(v).render(context) if not isinstance(env, _Native) else env.get_template(v).render(dict(context))
            if "{" not in v:
                return v
            return env.from_string(v).render(context)
        except jinja2.TemplateNotFound as e:
            raise AirflowException(f"template {e.name!r} was not found in {env.loader.searchpath}") from e
    if hasattr(v, "iter_references"):
        return v.resolve(context)
    if type(v) is tuple:
        return tuple(render_value(x, context, env, ext) for x in v)
    if isinstance(v, list):
        return [render_value(x, context, env, ext) for x in v]
    if isinstance(v, dict):
        return {k: render_value(x, context, env, ext) for k, x in v.items()}
    return v


def render_fields(task: Any, context: Any, env: Any = None) -> None:
    env = env or environment(task.dag)
    for f in task.template_fields:
        if not hasattr(task, f):
            raise AttributeError(f"{task.task_type} has {f!r} in template_fields, but no such attribute")
        v = getattr(task, f)
        if v is not None and v != "":
            try:
                setattr(task, f, resolve_refs(render_value(v, context, env, task.template_ext), context))
            except Exception as e:
                e.add_note(f"in the field {f!r} of the task {task.task_id!r}")
                raise


def shown(task: Any) -> dict[str, Any]:
    """Rendered fields as the API shows them."""

    def plain(v: Any) -> Any:
        if v is None or isinstance(v, (bool, int, float)):
            return v
        if isinstance(v, str):
            return v if len(v) <= 4096 else v[:4096] + "..."
        if isinstance(v, dict):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(x) for x in v]
        return str(v)[:4096]

    return {f: plain(getattr(task, f, None)) for f in task.template_fields}
