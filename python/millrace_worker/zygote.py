# SPDX-License-Identifier: Apache-2.0
"""The parent: imports what tasks need once, then forks a child per parse, task and template.

It never runs a user's code itself: a DAG file that loops, exits or eats memory hurts only its child. Children talk to it over a socket pair; it
passes their frames on to the server and the server's replies back. It ends when the server closes its standard input; children end with it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Any

import millrace_worker.preload  # noqa: F401
from millrace_worker import child as child_module
from millrace_worker.wire import Frames, pack, write_all

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    def __init__(self, cid: int, pid: int, sock: socket.socket, op: str, deadline: float | None) -> None:
        self.id, self.pid, self.sock, self.op, self.deadline = cid, pid, sock, op, deadline
        self.frames = Frames()
        self.done = self.timed_out = False


class Zygote:
    def __init__(self, fd_in: int, fd_out: int) -> None:
        self.fd_in, self.fd_out = fd_in, fd_out
        self.input = Frames()
        self.children: dict[int, Child] = {}  # by id
        self.by_pid: dict[int, Child] = {}
        self.sel = selectors.DefaultSelector()
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.sel.register(fd_in, selectors.EVENT_READ, self.on_input)
        self.sel.register(self.wake_r, selectors.EVENT_READ, self.on_wake)
        self.codes = child_module.CodeCache()
        self.running = True

    def send(self, message: dict[str, Any]) -> None:
        write_all(self.fd_out, pack(message))

    # -- events ---------------------------------------------------------------------------------------------
    def loop(self) -> None:
        self.send({"op": "ready", "pid": os.getpid(), "python": sys.version.split()[0]})
        while self.running:
            for key, _ in self.sel.select(self.next_deadline()):
                key.data() if key.fileobj in (self.fd_in, self.wake_r) else self.on_child(key.data)
            self.kill_late()
        for c in self.children.values():
            _kill(c.pid, signal.SIGKILL)

    def next_deadline(self) -> float | None:
        times = [c.deadline for c in self.children.values() if c.deadline is not None and not c.timed_out]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def kill_late(self) -> None:
        now = time.monotonic()
        for c in self.children.values():
            if c.deadline is not None and now >= c.deadline and not c.timed_out:
                c.timed_out = True
                _kill(c.pid, signal.SIGKILL)

    def on_input(self) -> None:
        data = os.read(self.fd_in, 1 << 18)
        if not data:
            self.running = False
            return
        for f in self.input.feed(data):
            self.command(json.loads(f))

    def on_wake(self) -> None:
        try:
            os.read(self.wake_r, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            c = self.by_pid.pop(pid, None)
            if c is not None:
                self.ended(c, os.waitstatus_to_exitcode(status))

    def on_child(self, c: Child) -> None:
        if c.sock.fileno() < 0:  # closed by an earlier event of the same round
            return
        try:
            data = c.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.sel.unregister(c.sock)
            c.sock.close()
            return
        self.forward(c, data)

    def forward(self, c: Child, data: bytes) -> None:
        for f in c.frames.feed(data):
            c.done = c.done or f.startswith(b'{"op":"done"')
            write_all(self.fd_out, len(f).to_bytes(4, "big") + f)

    def ended(self, c: Child, code: int) -> None:
        """The process has gone: pass on what it still said, then answer for it when it did not."""
        if c.sock.fileno() >= 0:
            while True:
                try:
                    data = c.sock.recv(1 << 18)
                except OSError:
                    break
                if not data:
                    break
                self.forward(c, data)
            self.sel.unregister(c.sock)
            c.sock.close()
        self.children.pop(c.id, None)
        if not c.done:
            if c.timed_out:
                text = "it took longer than its time limit and was ended"
            elif code < 0:
                text = f"its process was ended by signal {-code}"
            else:
                text = f"its process ended with exit code {code} before it reported"
            self.send({"op": "done", "id": c.id, "outcome": {"state": "failed", "error": text, "crashed": True}})

    # -- commands -----------------------------------------------------------------------------------------------
    def command(self, m: dict[str, Any]) -> None:
        op = m["op"]
        if op == "reply":
            c = self.children.get(m["id"])
            if c is not None and c.sock.fileno() >= 0:
                c.sock.setblocking(True)
                try:
                    c.sock.sendall(pack(m))
                except OSError:
                    pass
                c.sock.setblocking(False)
        elif op == "kill":
            c = self.children.get(m["id"])
            if c is not None:
                _kill(c.pid, m.get("sig", signal.SIGTERM))
        elif op in ("parse", "run", "render", "callback"):
            try:
                self.fork(m)
            except OSError as e:
                self.send({"op": "done", "id": m["id"], "outcome": {"state": "failed", "error": f"fork: {e}", "crashed": True}})
        elif op == "exit":
            self.running = False

    def fork(self, m: dict[str, Any]) -> None:
        code = self.codes.get(m["file"]) if m["op"] != "parse" else None
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                self.become_child(ours)
                child_module.main(m, theirs, code)
            except BaseException:
                traceback.print_exc()
            finally:
                try:
                    sys.stdout.flush()
                    sys.stderr.flush()
                finally:
                    os._exit(0)
        theirs.close()
        ours.setblocking(False)
        timeout = m.get("timeout")
        c = Child(m["id"], pid, ours, m["op"], time.monotonic() + timeout if timeout else None)
        self.children[c.id] = self.by_pid[pid] = c
        self.sel.register(ours, selectors.EVENT_READ, c)
        if m["op"] == "run":
            self.send({"op": "started", "id": c.id, "pid": pid})

    def become_child(self, ours: socket.socket) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ours.close()
        for c in self.children.values():
            if c.sock.fileno() >= 0:
                c.sock.close()
        for fd in (self.fd_in, self.fd_out, self.wake_r):
            os.close(fd)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)


def _kill(pid: int, sig: int) -> None:
    for target in (os.killpg, os.kill):
        try:
            target(pid, sig)
            return
        except ProcessLookupError:
            continue
        except PermissionError:
            return


def main() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is the server's to handle
    fd_in, fd_out = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what anybody prints must not get between the frames
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    gc.collect()
    gc.freeze()
    try:
        Zygote(fd_in, fd_out).loop()
    except BrokenPipeError:
        pass
