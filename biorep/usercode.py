"""A user's own classes: loaded from ``file.py:Class``, and known by the text of their code, never by a path.

What such a class computes is decided by its file, the modules beside it that its import statements reach, and the data
files that it names in ``files = ("weights.npy", ...)``. The digest of all these texts enters the keys of its results.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from biorep.errors import BiorepError, ConfigError

#: Where modules lie that no user writes.
_INSTALLED = tuple({*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), "<"})

#: Modules of users' files, by path and digest.
_MODULES: dict[tuple[Path, str], ModuleType] = {}
#: Digests of the code and the data that their classes were loaded with.
_LOADED: dict[tuple[Path, str, str], str] = {}
#: Modules beside them that are loaded under their own names: their files, their texts, and whether a function imports
#: them only when it is called, so that it would get another one of that name.
_BESIDE: dict[str, tuple[Path, str, bool]] = {}


def load(path: Path, name: str) -> tuple[Any, str]:
    """Return the attribute `name` of a Python file, or None if it defines none, and the digest of its code.

    Raises
    ------
    ConfigError
        If the file cannot be run: the line where it went wrong.
    """
    path = path.resolve()
    sources = reached(path)
    text = digest(sources)
    if (path, text) not in _MODULES:
        _MODULES[path, text] = _run(path, sources, text)
    module = _MODULES[path, text]
    found = getattr(module, name, None)
    if getattr(found, "__module__", None) not in {module.__name__, *sources}:  # it only imports it
        return None, text
    named = getattr(found, "files", ())
    if isinstance(named, str):
        raise ConfigError(f"{path}: {name}.files is the text {named!r}; write a tuple, ({named!r},)")
    data = [(f"file {number}", path.parent / file) for number, file in enumerate(named)]
    if missing := [file for _, file in data if not file.is_file()]:
        raise ConfigError(f"{path}: {name}.files names {missing[0]}, which does not exist")
    whole = digest({**sources, **dict(data)}) if data else text
    if _LOADED.setdefault((path, text, name), whole) != whole:  # the module may have read its data when it was loaded
        del _MODULES[path, text]
        _LOADED[path, text, name] = whole
        return load(path, name)
    return found, whole


def blaming[**P, R](hook: Callable[P, R], expected: tuple[type, str] | None = None) -> Callable[P, R]:
    """Return a function of a user's class that says file and line of what goes wrong in it.

    Parameters
    ----------
    hook : callable
    expected : (type, str), optional
        What it has to return, and how that is called.

    Raises
    ------
    ConfigError
        From the returned function.
    """

    @functools.wraps(hook)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = hook(*args, **kwargs)
        except (BiorepError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{_where(error) or home}: {type(error).__name__}: {said_by(error)}") from error
        if expected and not isinstance(result, expected[0]):
            raise ConfigError(f"{home}: it returned {type(result).__name__}; it must return {expected[1]}")
        return result

    code = inspect.unwrap(hook).__code__
    home = f"{code.co_filename}:{code.co_firstlineno}: {hook.__qualname__}"
    return call


def is_users(frame: FrameType) -> bool:
    """Return whether a frame belongs to code that is neither biorep's nor installed."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] != "biorep" and not frame.f_code.co_filename.startswith(_INSTALLED)


def _where(error: BaseException) -> str | None:
    """Return file and line of the last step in a user's code on the way to an error."""
    steps = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if is_users(frame)]
    return f"{steps[-1][0].f_code.co_filename}:{steps[-1][1]}" if steps else None


def said_by(error: BaseException) -> str:
    """Return the message of an error in one line; of a syntax error in a text, with the text."""
    text = f"{error.msg}: {error.text}" if isinstance(error, SyntaxError) and error.text else str(error)
    return " ".join(text.split())


def classes(path: Path, base: type) -> list[str]:
    """Return the names of the classes of a kind that a file defines."""
    module = next(module for (file, _), module in reversed(_MODULES.items()) if file == path.resolve())
    found = {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)}
    return [name for name, cls in found.items() if cls.__module__ == module.__name__]


def digest(parts: Mapping[str, Path]) -> str:
    """Return the digest of the contents of files by their names in the code, wherever they are."""
    texts = [f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in parts.items()]
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:16]


def reached(path: Path) -> dict[str, Path]:
    """Return a file (under the empty name) and the modules below its folder that its imports lead to, by their names.

    They are found without running anything.
    """
    found = {"": path}
    todo = [path]
    while todo:
        for other in _imported(todo.pop(), path.parent):
            name = ".".join(other.relative_to(path.parent).with_suffix("").parts).removesuffix(".__init__")
            if name not in found and other != path:
                found[name] = other
                todo.append(other)
    return found


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` that a file imports, inside functions too."""
    for level, name in _imports(_parsed(file)):
        start, parts = file.parents[level - 1] if level else root, name.split(".")
        for end in range(1, len(parts) + 1):
            module = start.joinpath(*parts[:end])
            yield from (p for p in (module.with_suffix(".py"), module / "__init__.py") if p.is_file())


def _imports(code: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what may be a module that some code imports, with the number of dots before its name."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)]
            yield from ((node.level, name) for name in names if name)


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise ConfigError(f"{file}:{error.lineno or 1}: {error.msg}") from None
    except ValueError as error:  # NUL bytes
        raise ConfigError(f"{file}: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error}") from error


def _run(path: Path, sources: Mapping[str, Path], text: str) -> ModuleType:
    """Run a file as a module; its folder is on the path meanwhile, and modules beside it are read afresh."""
    beside = {name: file for name, file in sources.items() if name}
    _make_room(path, beside)
    spec = importlib.util.spec_from_file_location(f"biorep_user_{path.stem}_{text}", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made  # dataclasses and pickles look there
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(made)
        for name in beside:  # those that functions import when they are called: the folder is not on the path then
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(spec.name, None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return made


def _make_room(path: Path, beside: Mapping[str, Path]) -> None:
    """Forget the modules beside a file if the text of one has changed; refuse two different ones of one name."""
    nodes = (node for file in (path, *beside.values()) for node in ast.walk(_parsed(file)))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    late = {name for function in functions for _, name in _imports(function)}  # imported when they are called
    changed = False
    for name, file in beside.items():
        text = hashlib.sha256(file.read_bytes()).hexdigest()
        known, before, was_late = _BESIDE.get(name, (file, text, False))
        if known != file and before != text and (was_late or name in late):
            raise ConfigError(
                f"{path} imports the module '{name}' beside it, and another module '{name}', {known}, is in use "
                "already. Rename one of them."
            )
        changed |= before != text or getattr(sys.modules.get(name), "__file__", None) != str(known)
        _BESIDE[name] = (file, text, name in late)
    for name in beside if changed else ():  # those that are as they were may have taken something from one that is not
        sys.modules.pop(name, None)
