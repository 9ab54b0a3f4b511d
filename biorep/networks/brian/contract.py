"""What a network that Brian2 simulates says of itself: its objects, its values, and which of them are learnt."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from biorep import usercode
from biorep.config import setting
from biorep.contracts import Network
from biorep.engines.layout import Layout, Timing
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays, Blueprint
from biorep.errors import ConfigError
from biorep.networks.brian.building import (
    building,
    check_counted,
    check_declared,
    check_objects,
    give_constants,
)
from biorep.networks.brian.health import REMEDIES
from biorep.networks.brian.repeatable import check_repeatable, made_at

_VALUES = (Mapping, "{'group.variable': value}")
_STATE = (xr.Dataset, "the state, an xarray.Dataset")
#: What the hooks of a network have to return, and how that is called.
RETURNED: dict[str, tuple[type, str]] = {
    "parameters": _VALUES,
    "initial": _VALUES,
    "frozen": _VALUES,
    "schedule_over": _VALUES,
    "flush": _VALUES,
}
RETURNED |= {"learnt": _STATE, "judged": _STATE, "prepare_images": (np.ndarray, "an array, (presentation, input)")}


class BrianNetwork(Network):
    """The hooks of a concrete network; what is done with them is in `biorep.networks.brian.spiking`."""

    accepts: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    #: What the health report advises, see `biorep.networks.brian.health`.
    remedies: ClassVar[Mapping[str, str]] = REMEDIES
    #: Fields that are parameters of a run: members of one ensemble may differ in them.
    swept: ClassVar[frozenset[str]] = frozenset()
    #: Of what all Brian2 networks share: the presentation protocol, and the names and numbers of their draws.
    versions: ClassVar[Mapping[str, int]] = {"presentation": 1, "draws": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("units",)

    units: int
    dt: float
    stimulus_duration: float
    rest_duration: float
    max_tries: int
    epochs: int = setting(1, ge=0, description="passes over the training images")

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        """Let the hooks of a user's class say file and line of what goes wrong in them."""
        super().__pydantic_init_subclass__(**settings)
        if cls.is_users():
            for name, hook in list(vars(cls).items()):
                if inspect.isfunction(hook) and hasattr(BrianNetwork, name):
                    setattr(cls, name, usercode.blaming(hook, RETURNED.get(name)))

    @classmethod
    def is_users(cls) -> bool:
        """Return whether the network is none of biorep's own."""
        return cls.__module__.partition(".")[0] != "biorep"

    # ------------------------------------------------------------------------------------------- Brian2 objects

    @abstractmethod
    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the Brian2 objects of the network to a circuit, for all of its copies.

        Parameters
        ----------
        circuit : Circuit
            Its `poisson_input` or `pixel_input` is the input; `tally` says which layers are recorded; `keep` names
            each variable that lasts from slot to slot, `renew` those that every slot sets anew.
        learn : bool
            Whether the network is plastic.
        """

    def resets(self, learn: bool) -> bool:
        """Return whether every image finds the fast variables at rest, while the network learns or is frozen."""
        return True

    def assemble(self, circuit: Circuit, learn: bool) -> None:
        """Build the network and complete its circuit: what is reset at an onset follows from what it keeps.

        Raises
        ------
        ConfigError
            If a variable that can change was not declared, or the network would be another one in each simulation.
        """
        with building(self.word) as seen:
            self.build(circuit, learn)
        circuit.assigned = seen.assigned
        check_objects(circuit, seen)
        give_constants(circuit, seen)
        check_repeatable(circuit, self.word)
        check_declared(circuit, self.word)
        if forgotten := list(circuit.undeclared()):
            name = forgotten[0]
            where = made_at(circuit.groups[name.partition(".")[0]])
            raise ConfigError(
                f"{where}'{self.word}': {', '.join(forgotten)} can change, and `build` does not say how long "
                f"{'they last' if len(forgotten) > 1 else 'it lasts'}. Say circuit.keep({name!r}, rest=...) for what "
                f"an image is to find at rest, circuit.keep({name!r}, learnt=True) for what is learnt, or "
                f"circuit.renew({name!r}) for what each slot sets before it is read; parameters are flagged "
                "'(constant)' in the equations."
            )
        if not circuit.tallies:
            raise ConfigError(f"'{self.word}' records no layer: let `build` call circuit.tally(group)")
        check_counted(circuit, self.word)
        if self.resets(learn):
            circuit.put_to_rest()
        elif tired := [name for name, part in circuit.groups.items() if circuit.is_refractory(part)]:
            raise ConfigError(
                f"'{self.word}': '{tired[0]}' has `refractory`, which counts from the start of each chunk of images, "
                "and `resets` says that nothing is reset. Count a variable down in run_regularly, and keep it."
            )

    def blueprint(self, layout: Layout, learn: bool) -> Blueprint:
        """Return what a simulation of this network is made from."""
        return Blueprint(layout, lambda circuit: self.assemble(circuit, learn))

    def timing(self) -> Timing:
        """Return the time of one slot."""
        return Timing(self.dt, self.stimulus_duration, self.rest_duration)

    def time_constants(self) -> dict[str, float]:
        """Return the time constants in ms by the name of what decays; a longer `dt` is warned of."""
        return {}

    # --------------------------------------------------------------------------------------------------- values

    @abstractmethod
    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters by name, ``"group.variable"``, SI units."""

    @abstractmethod
    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the learnt variables of one copy before learning, SI units; what is not named is 0."""

    @abstractmethod
    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return the learnt arrays of one copy as a state."""

    @abstractmethod
    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state, SI units."""

    @property
    def draws(self) -> str:
        """The word that random draws are named by."""
        return self.word

    def prepare_images(self, images: np.ndarray) -> np.ndarray:
        """Return images, (presentation, input), as the network is to be shown them."""
        return images

    def schedule_over(self, presentations: int) -> dict[str, float]:
        """Return the values of the parameters of a training that depend on its length, beside `parameters`."""
        return {}

    def flush(self, arrays: Arrays, inputs: int) -> Arrays:
        """Return the variables of one copy after what is still to be learnt from the last presentation."""
        return arrays

    def report(self, state: xr.Dataset, arrays: Arrays) -> dict[str, float]:
        """Return entries for the training report, beside those of `learning_report`.

        Parameters
        ----------
        state : xr.Dataset
            With its history.
        arrays : dict of str to array
            The variables of the copy at the end of the training, SI units.
        """
        return {}

    def judged(self, state: xr.Dataset, images: np.ndarray) -> xr.Dataset:
        """Return a state with its report after a last look at it, given the training images as prepared."""
        return state

    def settings_of_shape(self) -> dict[str, object]:
        """Return the fields that are compiled in: members of an ensemble must agree on them."""
        values = self.model_dump()
        return {name: values[name] for name in values if name not in self.swept}
