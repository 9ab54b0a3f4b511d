"""The check of words: an argument that is annotated with a `Literal` takes none but the words that it names.

Python does not look at annotations. Without a check, ``if norm == "linf": ... else: ...`` takes every other word,
``"Linf"`` and ``float("inf")`` among them, for the other norm.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin, overload

from biorep.errors import choose


@overload
def checked[C: type](function: C) -> C: ...


@overload
def checked[**P, R](function: Callable[P, R]) -> Callable[P, R]: ...


def checked(function: Any) -> Any:
    """Let a function refuse words that its annotations do not name, before it looks at anything else.

    Of a class, a dataclass as a rule, it is the ``__init__``.

    Raises
    ------
    ConfigError
        From the decorated function: the word, those that are allowed, and the nearest of them.

    Examples
    --------
    >>> @checked
    ... def size(norm: Literal["linf", "l2"]) -> str:
    ...     return norm
    >>> size("Linf")
    Traceback (most recent call last):
    biorep.errors.ConfigError: unknown norm 'Linf'; did you mean 'linf'? Available: l2, linf.
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return function
    parameters = inspect.signature(function).parameters
    places = {name: (place, parameter.default) for place, (name, parameter) in enumerate(parameters.items())}

    @functools.cache
    def rules() -> list[tuple[str, int, Any, tuple[Any, ...]]]:
        return [(name, *places[name], words) for name, words in allowed_words(function).items()]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, place, default, words in rules():
            value = args[place] if place < len(args) else kwargs.get(name, default)
            if not (type(value) is str and value in words) and value is not inspect.Parameter.empty:
                _check(value, words, name)
        return function(*args, **kwargs)

    return call


def allowed_words(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the parameters of a function that take words: name -> the words, and types that are allowed beside them.

    Annotations are read in the module of the function. Those that are known to type checkers only, ``xr.Dataset`` for
    one, take no words.
    """
    plain = inspect.unwrap(function)
    found = {}
    for name, parameter in inspect.signature(plain).parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, dict(getattr(plain, "__globals__", {})))
            except NameError:
                continue
        options = tuple(_options(annotation))
        if any(isinstance(option, str) for option in options) and str not in options:
            found[name] = options
    return found


def _options(annotation: Any) -> list[Any]:
    """Return the words of an annotation, and the types beside them."""
    if isinstance(annotation, TypeAliasType):
        return _options(annotation.__value__)
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [type(None) if annotation is None else annotation]


def _check(value: Any, options: tuple[Any, ...], name: str) -> None:
    words = [option for option in options if isinstance(option, str)]
    kinds = [option for option in options if not isinstance(option, str)]
    # Of the types beside the words none but None and floats (inf for a norm) is judged here: the function knows what it
    # wants of them.
    only_words = all(kind is type(None) for kind in kinds)
    number = isinstance(value, float) and not {int, float} & set(kinds)
    if isinstance(value, str) or number or (only_words and not (value is None and kinds)):
        choose(value, words, name.replace("_", " "))
