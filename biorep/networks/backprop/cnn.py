"""Convolutional networks: convolutions, each with a nonlinearity and max-pooling, then one or more dense layers.

Nassar, J. et al. (2020). On 1/n neural representation and robustness. NeurIPS 33: two convolutions of 16 and 32 kernels
of 3 x 3, and a dense layer of 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from biorep.config import Count, setting
from biorep.errors import DataError
from biorep.networks.backprop.backprop import Backprop
from biorep.nn.layers import Activation, Block, Hidden
from biorep.nn.whitening import WhiteningChoice


class CNN(Backprop):
    """Convolutional network; its representation is the last dense layer."""

    reference: ClassVar[str] = "Nassar et al. (2020), arXiv:2012.04729"
    versions: ClassVar[Mapping[str, int]] = {"cnn": 1}
    answers_by: ClassVar[tuple[str, ...]] = (
        "channels",
        "kernel",
        "padding",
        "pool",
        "dense",
        "convolution_activation",
        "batch_norm",
        "whitening",
    )

    kind: Literal["cnn"] = "cnn"
    activation: Activation = setting("tanh", description="relu (with `power`), tanh or softplus")
    convolution_activation: Activation | None = setting(None, description="of the convolutions; null: as `activation`")
    bias: bool = setting(True, description="whether hidden layers have a bias")
    channels: tuple[Count, ...] = setting((16, 32), min_length=1, description="kernels of each convolution")
    kernel: int = setting(3, ge=1, description="side of the kernels in pixels")
    padding: int = setting(0, ge=0, description="zeros around the images, in pixels")
    pool: int = setting(2, ge=1, description="side of the squares that max-pooling takes together; 1: none")
    dense: tuple[Count, ...] = setting((1000,), min_length=1, description="widths of the dense layers")
    batch_norm: bool = setting(False, description="normalise convolutions before their nonlinearity")
    whitening: WhiteningChoice | None = setting(
        None, description="whiten what the last convolution passes on; null: do not"
    )

    @property
    def depends_on_batch(self) -> bool:
        """Whether the answer to an image depends on the images that are shown with it."""
        return self.whitening is not None and self.whitening.statistics == "batch"

    def hidden_module(self, shape: tuple[int, ...]) -> Hidden:
        """Return the hidden layers, before training.

        Raises
        ------
        DataError
            If the samples are no images, or too small for the convolutions.
        """
        if len(shape) not in (2, 3):
            raise DataError(
                f"a network with convolutions needs images (row, column) or (row, column, channel): {shape}"
            )
        height, width, previous = (*shape, 1)[:3]
        image, blocks, flat = (previous, height, width), [], 0
        for index, kernels in enumerate(self.channels):
            height, width = (((side + 2 * self.padding - self.kernel + 1) // self.pool) for side in (height, width))
            if min(height, width) < 1:
                raise DataError(
                    f"images of {shape[0]} x {shape[1]} pixels are too small for convolution {index + 1} of "
                    f"{len(self.channels)} with kernels of {self.kernel} and pooling of {self.pool}"
                )
            layer = nn.Conv2d(previous, kernels, self.kernel, padding=self.padding, bias=self.bias)
            flat = kernels * height * width
            last = index == len(self.channels) - 1
            blocks.append(
                Block(
                    layer,
                    self.convolution_activation or self.activation,
                    self.power,
                    norm=nn.BatchNorm2d(kernels) if self.batch_norm else None,
                    norm_first=True,
                    pool=self.pool,
                    whitening=self.whitening.layer(flat) if last and self.whitening is not None else None,
                )
            )
            previous = kernels
        for a, b in zip((flat, *self.dense), self.dense, strict=False):
            blocks.append(Block(nn.Linear(a, b, bias=self.bias), self.activation, self.power))
        return Hidden(blocks, image)
