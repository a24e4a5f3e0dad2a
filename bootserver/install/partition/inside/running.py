"""Runs a partition program between the walls, and writes one JSON object that says what came of it.

``{"layout": ...}``, ``{"text": ...}`` (what Rocks' programs write into a file), ``{"refused": why}``, or ``{"fault": ...}``.
"""

# ruff: noqa: PTH123, S108, S102, S606
from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import types
from collections.abc import Mapping
from typing import Any

WRITTEN = "/tmp/user_partition_info"
"""Where Rocks' programs write kickstart lines."""
FUNCTION = "partition"
API = "bootserver_partition"
_LONGEST = 400  # characters of an exception's own words


class Modules:
    """Finds the modules that programs import, when they are imported (importlib's protocol of finders and loaders).

    They import each other by their names in the frontend's package, which is empty here but for them.
    """

    def __init__(self, codes: Mapping[str, types.CodeType], facts: Mapping[str, Any]) -> None:
        """:param facts: what ``rocks_partition`` tells."""
        self._codes = codes
        self._packages = {name[:end] for name in codes for end in range(len(name)) if name[end] == "."}
        self._facts = facts

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name not in self._codes and name not in self._packages:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self, is_package=name in self._packages)  # type: ignore[arg-type]  # it is all that a loader is

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ in self._codes:
            exec(self._codes[module.__name__], module.__dict__)
        if module.__name__ == "rocks_partition":
            module.FACTS.update(self._facts)


def run(request: Mapping[str, Any]) -> None:
    """Run what the request asks for, and answer on standard output; the process ends with it."""
    answer, own = os.dup(1), os.getpid()
    os.dup2(2, 1)  # what it prints is no answer
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        sys.meta_path.insert(0, Modules(request["modules"], request["rocks_facts"]))
        sys.argv[:] = [request["name"]]
        os.environ.update(request["environment"])
        result = _shell(request) if request["shell"] else _program(request)
    except MemoryError:
        result = {"fault": {"kind": "MemoryError"}}
    except BaseException as error:  # a program may fail in any way that a program can
        result = _failed(error, request["name"])
    if os.getpid() != own:  # a child that it made and forgot
        os._exit(0)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    data = json.dumps(result).encode()
    while data:
        data = data[os.write(answer, data) :]
    os._exit(0)


def _program(request: Mapping[str, Any]) -> dict[str, Any]:
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    module.__file__ = request["name"]
    try:
        exec(compile(request["source"], request["name"], "exec", dont_inherit=True), module.__dict__)
    except SystemExit as error:  # the way in which a Rocks program may end
        if error.code not in (None, 0):
            raise
    function = module.__dict__.get(FUNCTION)
    if callable(function) and not request["rocks"]:
        api = __import__(API)
        return {"layout": api.answer(function, request["node"], request["machine"])}
    used = "rocks_partition" in sys.modules
    module.__dict__.clear()
    gc.collect()  # a file that was not closed is written now
    written = _written()
    if written is None and not (used or request["rocks"]):
        return {"fault": {"words": f"it has no function {FUNCTION}(node, machine)"}}
    return {"text": written}


def _shell(request: Mapping[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        os.execv("/bin/sh", ["sh", "-c", request["source"]])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    written = _written()
    if status != 0 and written is None:
        return {"fault": {"words": f"its shell script ended with status {status}"}}
    return {"text": written}


def _written() -> str | None:
    try:
        with open(WRITTEN, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _failed(error: BaseException, name: str) -> dict[str, Any]:
    kind = type(error).__name__
    if API in sys.modules and isinstance(error, sys.modules[API].Refused):
        return {"refused": str(error)[:_LONGEST]}
    if isinstance(error, SyntaxError) and error.filename == name:
        return {"fault": {"line": error.lineno, "words": str(error.msg)[:_LONGEST], "kind": kind}}
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        words = str(error)[:_LONGEST]
    except Exception:  # an exception class of the program's own may fail in its __str__
        words = ""
    if isinstance(error, SystemExit):
        kind, words = "", f"it ended itself with {words or 'nothing'}"
    return {"fault": {"line": line, "kind": kind, "words": words}}
