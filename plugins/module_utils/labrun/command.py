# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""Building the `labrun` command: one executable file that needs nothing but Python and starts quickly.

It holds the modules as marshalled code for the Python that built it, and their sources for any other. A zip application
takes 10 ms more to start, and a folder of .pyc files cannot be copied as one file.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
import zlib
from importlib import import_module
from importlib.util import MAGIC_NUMBER, find_spec
from types import CodeType

from ..linux.errors import OcilabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PACKAGE = "ocilab_labrun"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-")
# The shell's start costs 0.4 ms; a Python file that held the code as a literal would spend 5 ms on reading it.
# Isolated and without site: neither the environment nor the current directory can put a module in the way (case R23).
_SHELL = """\
#!/bin/sh
# labrun, built by the ocilab.hosts collection. GPL-3.0-or-later. After the exec: start, code, sources (marshal).
exec {interpreter} -IS -c 'import sys, marshal
file = open(sys.argv.pop(1), "rb")
file.seek({offset:8d})
exec(marshal.load(file))' "$0" "$@"
"""
# Runs with `file` open behind itself: a header, the code for one version of Python, the sources for any. Modules that
# every start imports are taken apart at once, those that only a function imports are read when it does so.
# The garbage collector is off: a start ends before there is any garbage, and its rounds over the modules took 4 %.
_START = """\
import gc, marshal, sys
gc.disable()
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER
magic, size, late_size = marshal.load(file)
if magic == MAGIC_NUMBER:
    modules = marshal.loads(file.read(size))
    late = file.tell()
else:
    import zlib
    file.seek(size + late_size, 1)
    modules = marshal.loads(zlib.decompress(file.read()))
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in modules:
            return ModuleSpec(name, Finder, is_package=modules[name][0])
    @staticmethod
    def create_module(spec):
        pass
    @staticmethod
    def exec_module(module):
        code = modules[module.__name__][1]
        if isinstance(code, str):
            code = compile(code, module.__name__, "exec", dont_inherit=True)
        elif isinstance(code, tuple):
            file.seek(late + code[0])
            code = marshal.loads(file.read(code[1]))
        exec(code, module.__dict__)
sys.meta_path.insert(0, Finder)
from {package}.labrun.cli import entry
entry()
"""


def sources(at_start: bool = False) -> dict[str, tuple[bool, str]]:
    """(is a package, source) of each module that the command can reach, by its dotted name.

    at_start: only those that are imported when it starts, and not by a function later.
    They are read through the import system, so that this works from a checkout and from a module's archive alike.
    """
    own = __name__.rpartition(".")[0].rpartition(".")[0]
    found: dict[str, tuple[bool, str]] = {"": (True, "")}
    waiting = ["labrun.cli"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        spec: Any = import_module(own + "." + name).__spec__
        is_package = spec.submodule_search_locations is not None
        source = spec.loader.get_source(spec.name) or ""
        found[name] = (is_package, source)
        waiting += [name.rpartition(".")[0], *_imported(name, source, is_package, own, at_start)]
    return {_PACKAGE + ("." + name if name else ""): module for name, module in found.items()}


def _imported(name: str, source: str, is_package: bool, own: str, at_start: bool) -> list[str]:
    """The modules of this package that the source imports relatively, in functions too unless at_start."""
    result = []
    tree = ast.parse(source)
    for node in tree.body if at_start else ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = name.split(".")
        base = ".".join(parts[: len(parts) - node.level + is_package] + ([node.module] if node.module else []))
        for alias in node.names:
            longer = (base + "." if base else "") + alias.name
            result.append(longer if _is_module(own, base, longer) else base)
    return result


def _is_module(own: str, base: str, name: str) -> bool:
    """True when name is a module below the package base, and not something that the module base defines."""
    parent: Any = find_spec(own + "." + base if base else own)
    return parent.submodule_search_locations is not None and find_spec(own + "." + name) is not None


class _Bare(ast.NodeTransformer):
    """Takes annotations away: nothing reads them when the command runs, and making them takes time at each start."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)


def _bare(source: str) -> ast.Module:
    tree: ast.Module = ast.fix_missing_locations(_Bare().visit(ast.parse(source)))
    return tree


def _without_lines(code: CodeType) -> CodeType:
    """The code without its tables of line numbers, a third of its size: the command shows no traceback."""
    constants = tuple(_without_lines(item) if isinstance(item, CodeType) else item for item in code.co_consts)
    if sys.version_info < (3, 10):
        return code.replace(co_consts=constants, co_lnotab=b"")
    return code.replace(co_consts=constants, co_linetable=b"")


def build(interpreter: str) -> bytes:
    """The command's file for the interpreter's path; quick for the Python that runs this function."""
    found = sources()
    at_start = sources(at_start=True)
    code: dict[str, Any] = {}
    late = b""
    for name, (is_package, source) in found.items():
        compiled = _without_lines(compile(_bare(source), name, "exec", dont_inherit=True, optimize=2))
        if name in at_start:
            code[name] = (is_package, compiled)
        else:
            block = marshal.dumps(compiled)
            code[name] = (is_package, (len(late), len(block)))
            late += block
    start = _START.format(package=_PACKAGE)
    blocks = [marshal.dumps(code), late]
    # The start is source: it must run on any Python, and only then is known which one it is.
    header: Any = (MAGIC_NUMBER, *(len(block) for block in blocks))
    parts = [marshal.dumps(start, 2), marshal.dumps(header, 2), *blocks]
    parts.append(zlib.compress(marshal.dumps(found, 2), 9))
    offset = len(_SHELL.format(interpreter=interpreter, offset=0))
    return b"".join([_SHELL.format(interpreter=interpreter, offset=offset).encode("ascii"), *parts])


def is_current(path: str) -> bool:
    """Whether the file at path is what write_executable() would write. Raises OSError but for a file that is missing.

    The marshalled code may differ from one build to the next: interpreter, version and sources tell.
    """
    try:
        with open(path, "rb") as file:
            there = file.read()
    except FileNotFoundError:
        return False
    interpreter = _SHELL.split("{interpreter}", maxsplit=1)[0] + _interpreter() + " "
    return (
        os.access(path, os.X_OK)
        and there.startswith(interpreter.encode("ascii"))
        and MAGIC_NUMBER in there
        and there.endswith(zlib.compress(marshal.dumps(sources(), 2), 9))
    )


def _interpreter() -> str:
    """The Python that runs this function, where its path can stand unquoted in a line of shell."""
    path = os.path.realpath(sys.executable)
    return path if set(path) <= _PLAIN else "/usr/bin/python3"


def write_executable(path: str, interpreter: str = "") -> None:
    """Write the command to path, whole or not at all; by default for the Python that runs this function.

    Raises OcilabError for an interpreter that cannot be executed, and OSError.
    """
    interpreter = interpreter or _interpreter()
    if not set(interpreter) <= _PLAIN:
        interpreter = "/usr/bin/python3"  # the path stands unquoted in a line of shell
    if not os.access(interpreter, os.X_OK):
        raise OcilabError("interpreter %s: not executable; labrun needs a Python 3.8 or newer there" % interpreter)
    temporary = "%s.%d.new" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755)
    try:
        with open(fd, "wb") as file:
            file.write(build(interpreter))
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
