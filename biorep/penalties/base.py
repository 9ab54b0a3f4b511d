"""What all penalties share as settings of a recipe: a kind, a strength, and when they look at what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from biorep.config import Config, setting
from biorep.errors import ConfigError
from biorep.nn.loss import Forward
from biorep.words import checked


class BasePenalty(Config, ABC):
    """Base of the penalties that recipes name; concrete ones are final and set `kind`."""

    #: Whether the inputs of a mini-batch must require a gradient.
    needs_input_gradient: ClassVar[bool] = False

    kind: str
    strength: float = setting(ge=0, description="multiplies the penalty")

    def examine(self, forward: Forward, smallest: int) -> list[str]:
        """Look at the first mini-batch before the training begins, and at the size of the smallest one.

        Returns
        -------
        list of str
            What the user should know.

        Raises
        ------
        ConfigError
            If the penalty cannot be computed.
        """
        return []

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> Any:
        """Return what `__call__` needs for an epoch, from the whole training set; nothing by default."""
        return None

    @abstractmethod
    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty of a mini-batch, before it is multiplied by its strength."""

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty without the shortcuts that make it fast; what the history records."""
        return self(forward)

    def after_step(self, module: nn.Module, step: int, *, ends_epoch: bool) -> None:
        """Constrain the parameters after a step, counted from 1; nothing by default."""


@checked
def hidden_layers(hidden: Sequence[Tensor], layers: Literal["last", "all"] = "last") -> tuple[Tensor, ...]:
    """Return the responses of the last hidden layer, or of all of them."""
    if not hidden:
        raise ConfigError("this penalty needs a network with a hidden layer")
    return tuple(hidden if layers == "all" else hidden[-1:])


def smaller_gram(matrix: Tensor) -> Tensor:
    """Return ``W W^T`` or ``W^T W``, whichever is smaller."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def matrices(module: nn.Module, *, head: bool = True) -> list[Tensor]:
    """Return the weights of the layers as matrices (output, input), the last of them only with `head`.

    Kernels of a convolution (output, input, row, column) become matrices (output, input x row x column).
    """
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    found = [layer.weight.flatten(1) for layer in layers]
    return found if head else found[:-1]
