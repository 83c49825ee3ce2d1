# SPDX-License-Identifier: Apache-2.0
"""What a forked child does: parse a DAG file, run a task, render a task's templates, call a callback. One job, then it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
import types
from typing import Any

from airflow import exceptions as ex
from airflow._core import context as ctx
from airflow._core import render, serialize, server
from airflow._core.dag import DAG, Stack
from airflow._core.xcom import XCOM_RETURN_KEY, dumps

from millrace_worker.wire import pack, recv_frame

ERROR_MAX = 20_000
SOURCE_MAX = 8 << 20


class CodeCache:
    """Compiled DAG files of the parent; a file is compiled again when it has changed. Files that do not compile are left to the child."""

    def __init__(self) -> None:
        self._code: dict[str, tuple[tuple[int, int], types.CodeType]] = {}

    def get(self, path: str) -> types.CodeType | None:
        try:
            st = os.stat(path)
            key = (st.st_mtime_ns, st.st_size)
            old = self._code.get(path)
            if old is not None and old[0] == key:
                return old[1]
            code = compile_file(path)
        except Exception:
            return None
        if len(self._code) > 4096:
            self._code.clear()
        self._code[path] = (key, code)
        return code


def compile_file(path: str) -> types.CodeType:
    with open(path, "rb") as f:
        source = f.read(SOURCE_MAX + 1)
    if len(source) > SOURCE_MAX:
        raise ValueError(f"the file is larger than {SOURCE_MAX} bytes")
    return compile(source, path, "exec", dont_inherit=True)


class Channel(server.Channel):
    def __init__(self, sock: socket.socket, cid: int) -> None:
        self.sock, self.id, self.seq = sock, cid, 0

    def send(self, message: dict[str, Any]) -> None:
        self.sock.sendall(pack(message))

    def call(self, method: str, **args: Any) -> Any:
        self.seq += 1
        self.send({"op": "call", "id": self.id, "seq": self.seq, "method": method, "args": args})
        while True:
            r = json.loads(recv_frame(self.sock))
            if r.get("seq") == self.seq:
                break
        if not r.get("ok"):
            raise ex.AirflowException(r.get("error") or f"{method} failed")
        return r.get("value")


def load_dags(path: str, code: types.CodeType | None = None) -> dict[str, DAG]:
    """Runs the file as a module; its DAGs are those that registered themselves and those among its globals."""
    folder = os.path.dirname(path)
    for p in (folder, os.environ.get("MILLRACE_DAGS", "")):
        if p and p not in sys.path:
            sys.path.insert(0, p)
    Stack.reset()
    name = "unusual_prefix_" + os.path.splitext(os.path.basename(path))[0].replace(".", "_").replace("-", "_")
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(code if code is not None else compile_file(path), module.__dict__)
    found: dict[str, DAG] = {}
    for d in [*Stack.registered, *(v for v in vars(module).values() if isinstance(v, DAG))]:
        if d.dag_id in found and found[d.dag_id] is not d:
            raise ex.AirflowException(f"the file has two DAGs with the dag_id {d.dag_id!r}")
        if d.auto_register or d in vars(module).values():
            d.fileloc = path if d.fileloc == "<string>" else d.fileloc
            found[d.dag_id] = d
    return found


def main(m: dict[str, Any], sock: socket.socket, code: types.CodeType | None) -> None:
    channel = Channel(sock, m["id"])
    server.set_channel(channel)
    outcome = {"parse": parse, "run": run, "render": render_only, "callback": callback}[m["op"]](m, code)
    sys.stdout.flush()
    channel.send({"op": "done", "id": m["id"], "outcome": outcome})
    sock.shutdown(socket.SHUT_WR)


def error_text() -> str:
    """The traceback without our own frames."""
    t, e, tb = sys.exc_info()
    here = os.path.dirname(__file__)
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(here):
        tb = tb.tb_next
    return "".join(traceback.format_exception(t, e, tb))[-ERROR_MAX:]


def may_hold_dags(path: str) -> bool:
    """Airflow's safe mode: a file without both words is a helper module, not run on its own."""
    with open(path, "rb") as f:
        content = f.read(SOURCE_MAX).lower()
    return b"dag" in content and b"airflow" in content


def parse(m: dict[str, Any], _: Any) -> dict[str, Any]:
    t0 = time.monotonic()
    out: dict[str, Any] = {"state": "success", "dags": [], "error": None}
    try:
        if not may_hold_dags(m["file"]):
            return out
        for d in load_dags(m["file"]).values():
            if d.fileloc != m["file"]:
                d.fileloc = m["file"]
            out["dags"].append(serialize.dag_json(d))
        json.dumps(out)
    except BaseException:
        out["dags"], out["error"] = [], error_text()
    out["us"] = int((time.monotonic() - t0) * 1e6)
    return out


# ---- tasks ------------------------------------------------------------------------------------------------------------------------


class _Formatter(logging.Formatter):
    converter = time.gmtime

    def __init__(self) -> None:
        super().__init__("[%(asctime)s.%(msecs)03d+0000] {%(filename)s:%(lineno)d} %(levelname)s - %(message)s", "%Y-%m-%dT%H:%M:%S")


def open_log(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


log = logging.getLogger("airflow.task")


def find(m: dict[str, Any], code: Any) -> tuple[DAG, Any]:
    c = m["ctx"]
    dags = load_dags(m["file"], code)
    if c["dag_id"] not in dags:
        raise ex.AirflowException(f"DAG {c['dag_id']!r} is not in {m['file']} any more")
    d = dags[c["dag_id"]]
    return d, d.get_task(c["task_id"]) if c.get("task_id") else None


class _Signals:
    """execution_timeout by SIGALRM; SIGTERM ends the task in an orderly way."""

    def __init__(self, op: Any) -> None:
        self.op = op

    def __enter__(self) -> None:
        def on_term(*_: Any) -> None:
            raise ex.AirflowTaskTerminated("Task received SIGTERM signal")

        def on_alarm(*_: Any) -> None:
            raise ex.AirflowTaskTimeout(f"Timeout: execution_timeout of {self.op.execution_timeout} is over")

        signal.signal(signal.SIGTERM, on_term)
        if self.op.execution_timeout is not None:
            signal.signal(signal.SIGALRM, on_alarm)
            signal.setitimer(signal.ITIMER_REAL, max(self.op.execution_timeout.total_seconds(), 1e-6))

    def __exit__(self, *exc: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def push_result(op: Any, result: Any, out: dict[str, Any]) -> None:
    if result is None or not op.do_xcom_push:
        return
    if op.multiple_outputs:
        if not isinstance(result, dict):
            raise ex.AirflowException(f"Returned output was type {type(result)} expected dictionary for multiple_outputs")
        for k, v in result.items():
            if not isinstance(k, str):
                raise ex.AirflowException(f"Returned dictionary keys must be strings when using multiple_outputs, found {k!r}")
            out["xcoms"].append([k, dumps(v)])
    out["xcoms"].append([XCOM_RETURN_KEY, dumps(result)])


def run(m: dict[str, Any], code: Any) -> dict[str, Any]:
    open_log(m["log"])
    out: dict[str, Any] = {"state": "success", "xcoms": [], "skip": [], "rendered": None}
    context: Any = {}
    op: Any = None
    try:
        dag, op = find(m, code)
        context = ctx.make_context(m["ctx"], dag, op)
        ctx.set_current(context)
        with _Signals(op):
            render.render_fields(op, context)
            out["rendered"] = render.shown(op)
            if op.on_execute_callback:
                call_all(op.on_execute_callback, context)
            op.pre_execute(context)
            result = op.execute(context)
            op.post_execute(context, result)
        push_result(op, result, out)
        out["skip"] = sorted(getattr(op, "_skip_ids", ()))
        finish(op, "success", context, out)
    except ex.AirflowSkipException as e:
        log.info("Skipping task: %s", e)
        out.update(state="skipped", xcoms=[])
        finish(op, "skipped", context, out)
    except ex.AirflowRescheduleException as e:
        at = e.reschedule_date
        out.update(state="reschedule", at_us=int((at if isinstance(at, (int, float)) else at.timestamp()) * 1e6), xcoms=[])
        log.info("Rescheduling task, marking task as UP_FOR_RESCHEDULE")
    except BaseException as e:
        failed(op, e, context, out, m)
    return out


def failed(op: Any, e: BaseException, context: Any, out: dict[str, Any], m: dict[str, Any]) -> None:
    log.error("Task failed with exception\n%s", error_text().rstrip())
    final = isinstance(e, (ex.AirflowFailException, ex.AirflowSensorTimeout))
    out.update(state="failed", xcoms=[], no_retry=final, error=f"{type(e).__name__}: {e}"[:1000])
    if isinstance(e, (ex.AirflowTaskTimeout, ex.AirflowTaskTerminated)) and op is not None:
        try:
            op.on_kill()
        except Exception:
            log.exception("on_kill failed")
    if isinstance(context, dict):
        context["exception"] = e
    again = not final and m["ctx"].get("try_number", 1) <= m["ctx"].get("max_tries", 0)
    finish(op, "retry" if again else "failure", context, out)


def finish(op: Any, what: str, context: Any, out: dict[str, Any]) -> None:
    cb = getattr(op, f"on_{what}_callback", None) if op is not None else None
    if cb:
        try:
            call_all(cb, context)
        except BaseException:
            log.exception("on_%s_callback failed", what)


def call_all(callbacks: Any, context: Any) -> None:
    for cb in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        cb(context)


def render_only(m: dict[str, Any], code: Any) -> dict[str, Any]:
    """The rendered fields of a task that the server runs itself."""
    open_log(m["log"])
    try:
        dag, op = find(m, code)
        context = ctx.make_context(m["ctx"], dag, op)
        ctx.set_current(context)
        render.render_fields(op, context)
        return {"state": "success", "fields": {f: serialize.plain(getattr(op, f, None)) for f in op.template_fields}}
    except BaseException as e:
        log.error("Rendering of the templates failed\n%s", error_text().rstrip())
        return {"state": "failed", "error": f"{type(e).__name__}: {e}"[:1000]}


def callback(m: dict[str, Any], code: Any) -> dict[str, Any]:
    """A task's or a DAG's callback when no process of the task is there to call it."""
    open_log(m["log"])
    try:
        dag, op = find(m, code)
        context = ctx.make_context(m["ctx"], dag, op)
        context["reason"] = m.get("reason")
        if m.get("error"):
            context["exception"] = ex.AirflowException(m["error"])
        ctx.set_current(context)
        cb = getattr(op if op is not None else dag, f"on_{m['which']}_callback", None)
        if cb:
            call_all(cb, context)
        return {"state": "success"}
    except BaseException as e:
        log.error("Callback failed\n%s", error_text().rstrip())
        return {"state": "failed", "error": f"{type(e).__name__}: {e}"[:1000]}
