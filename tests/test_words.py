"""Words: every public function with a `Literal` among its annotations takes the words that it names and no others."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import biorep
from biorep.errors import ConfigError
from biorep.words import allowed_words, checked

ROOT = Path(biorep.__file__).parent
FILES = {
    ".".join(["biorep", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def _functions():
    """Yield name and object of every function, method and ``__init__`` of biorep that is public."""
    for name in FILES:
        for word, thing in vars(importlib.import_module(name)).items():
            if word.startswith("_") or getattr(thing, "__module__", None) != name:
                continue
            if inspect.isfunction(thing):
                yield f"{name}.{word}", thing
            elif inspect.isclass(thing):
                for key, method in vars(thing).items():
                    method = inspect.unwrap(method) if isinstance(method, classmethod | staticmethod) else method
                    own = key == "__init__" and not issubclass(thing, BaseModel)
                    if inspect.isfunction(method) and (own or not key.startswith("_")):
                        yield f"{name}.{word}.{key}", method


TAKES_WORDS = {name: function for name, function in _functions() if allowed_words(function)}


def _called_with(function, name, value):
    """Call a function with one argument that means something: the words come first, nothing else is looked at."""
    signature = inspect.signature(function)
    needed = [
        p
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    others = allowed_words(function)
    given_ = {p.name: next((w for w in others.get(p.name, ()) if isinstance(w, str)), None) for p in needed}
    bound = signature.bind(**{**given_, name: value})
    return function(*bound.args, **bound.kwargs)


@pytest.mark.parametrize("where", sorted(TAKES_WORDS))
def test_every_other_word_is_refused(where):
    function = TAKES_WORDS[where]

    @settings(max_examples=5, deadline=None, derandomize=True)
    @given(st.one_of(st.text(), st.just(float("inf")), st.just("Linf"), st.just("RAW")))
    def refuses(word):
        for name, options in allowed_words(function).items():
            if word not in options:
                with pytest.raises(ConfigError):
                    _called_with(function, name, word)

    refuses()


def _aliases(trees):
    """Return the names that stand for a `Literal`, found in the text: nothing is evaluated."""
    found, before = {"Literal"}, None
    while before != found:
        before = set(found)
        for tree in trees.values():
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
                    if _mentions(node.value, found):
                        found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
                elif isinstance(node, ast.TypeAlias) and _mentions(node.value, found):
                    found.add(node.name.id)
    return found


def _mentions(node, names):
    return node is not None and any(
        (isinstance(part, ast.Name) and part.id in names) or (isinstance(part, ast.Attribute) and part.attr in names)
        for part in ast.walk(node)
    )


def test_no_function_with_a_literal_escapes():
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
    names = _aliases(trees)
    assert {"Norm", "Loss", "Quantity", "Space", "Init"} <= names
    found = set()
    for module, tree in trees.items():
        for node in tree.body:
            methods = node.body if isinstance(node, ast.ClassDef) else []
            dataclass = any("dataclass" in ast.unparse(one) for one in getattr(node, "decorator_list", []))
            if dataclass and any(isinstance(f, ast.AnnAssign) and _mentions(f.annotation, names) for f in methods):
                found.add(f"{module}.{node.name}.__init__")
            for function in [node, *methods]:
                if not isinstance(function, ast.FunctionDef):
                    continue
                own = f"{module}.{node.name}" if function is node else f"{module}.{node.name}.{function.name}"
                arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                if any(_mentions(argument.annotation, names) for argument in arguments):
                    found.add(own)
    public = {
        name for name in found if not any(part.startswith("_") and part != "__init__" for part in name.split("."))
    }
    assert len(public) > 30
    assert public == set(TAKES_WORDS)


@checked
def _last(last: int | Literal["auto"] | None = None):
    return last


def test_types_beside_the_words_are_let_through():
    assert (_last(), _last(3), _last("auto")) == (None, 3, "auto")
    with pytest.raises(ConfigError, match="^unknown last 'aut'; did you mean 'auto'"):
        _last("aut")
