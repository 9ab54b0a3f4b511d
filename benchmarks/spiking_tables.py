"""The tables of `spiking.py`: times against targets and peers, and what synaptic events cost."""

from __future__ import annotations

import statistics
import time

import numpy as np
from spiking_cases import ASKED, GIGA, INPUTS, PEERS, PROTOCOLS, Key, Measured


def print_speed(found: Measured, sizes: list[int], inputs: dict[str, float]) -> None:
    """Print the table of times: ours against the targets, the peers against ours."""
    middle = {key: statistics.median(values) for key, values in found.spent.items()}
    for protocol in PROTOCOLS:
        short = protocol is PROTOCOLS[0]
        settings = protocol.settings
        print(
            f"\n{protocol.name} of {settings['dt']} ms ({settings['stimulus_duration']:.0f} ms of image, "
            f"{settings['rest_duration']:.0f} ms of rest), {inputs[protocol.name]:.0f} input spikes per presentation\n"
        )
        print(
            f"{'':<12}{'N':>4}  " + "".join(f"{verb + ' ms':>10}  {'range':<14}" for verb in ("train", "infer")), end=""
        )
        print("  output spikes   target ms, or times ours (target)" if short else "  output spikes   target ms")
        for units in sizes:
            print(_row("biorep", (protocol.name, units), found, middle), end="")
            wishes = (f"{verb} <= {wish[units]}" for verb, wish in protocol.targets.items() if units in wish)
            print(", ".join(wishes))
            asked = f"{protocol.name}{ASKED}", units
            print(_row("each asked", asked, found, middle), end="")
            times = (
                f"{verb} {middle[*asked, verb] / middle[protocol.name, units, verb]:.2f}" for verb in protocol.targets
            )
            print(", ".join(times))
            if not short:
                continue
            for peer, (_, _, wish) in PEERS.items():
                if peer in found.remarks:
                    print(f"{peer:<12}{units:>4}  {found.remarks[peer]}")
                    continue
                ratio = {
                    verb: middle[peer, units, verb] / middle[protocol.name, units, verb] for verb in ("train", "infer")
                }
                print(_row(peer, (peer, units), found, middle), end="")
                print(f"train {ratio['train']:.1f} (>= {wish.get(units, '-')}), infer {ratio['infer']:.1f}")
    for peer, title in found.title.items():
        encoding = [units for units in sizes if (peer, units, "encode") in middle]
        apart = "".join(
            f"; encoding is not in it: {middle[peer, units, 'encode']:.1f} ms on top, "
            f"{found.spikes[peer, units, 'encode']:.0f} input spikes"
            for units in encoding[:1]
        )
        print(f"\n{peer}: {title}{apart}", end="")
    print()


def _row(name: str, case: tuple[str, int], found: Measured, middle: dict[Key, float]) -> str:
    cells = []
    for verb in ("train", "infer"):
        values = found.spent[*case, verb]
        cells.append(f"{middle[*case, verb]:>10.2f}  {f'{min(values):.2f}-{max(values):.2f}':<14}")
    spikes = " / ".join(f"{found.spikes[*case, verb]:.1f}" for verb in ("train", "infer"))
    return f"{name:<12}{case[1]:>4}  {''.join(cells)}  {spikes:<14}  "


#: Bytes that an event moves to or from arrays as long as the weights. Training: the weight is read and written (16),
#: its target and its number are read (4 each); inference does not write it. The traces of a few hundred neurons and
#: the queue stay in the first cache and are not counted.
BYTES = {"train": 24, "infer": 16}


def bandwidth(numbers: int) -> float:
    """Return bytes per second, read and written, of a copy of so many float64."""
    source, target = np.ones(numbers), np.zeros(numbers)
    rates = []
    for _ in range(7):
        repeats = max(1, int(2e7 / numbers))
        before = time.process_time()
        for _ in range(repeats):
            np.copyto(target, source)
        rates.append(repeats * (source.nbytes + target.nbytes) / (time.process_time() - before))
    return statistics.median(rates)


def print_profile(found: Measured, sizes: list[int], inputs: dict[str, float]) -> None:
    """Print what synaptic events cost: the difference that the input spikes make."""
    middle = {key: statistics.median(values) for key, values in found.spent.items()}
    large = bandwidth(2**25)
    print("\nProfile. Events: input spikes x N. Their cost: the time less that of the same program without input.\n")
    print(
        f"{'':<12}{'N':>4}  {'':<6}{'ms':>6}  {'no input':>8}  {'events':>8}  {'share':>6}  {'ns/event':>8}  "
        f"{'GB/s':>6}  of a copy, GB/s: {'as the weights':>15}  {'256 MiB':>8}"
    )
    for protocol in PROTOCOLS:
        for units in sizes:
            events = inputs[protocol.name] * units
            near = bandwidth(INPUTS * units)
            for verb, moved in BYTES.items():
                whole, silent = (middle[protocol.name, units, name] for name in (verb, f"{verb}, no input"))
                seconds = (whole - silent) * 1e-3 / events
                rate = moved / seconds
                print(
                    f"{protocol.name:<12}{units:>4}  {verb:<6}{whole:>6.2f}  {silent:>8.2f}  {events:>8.0f}  "
                    f"{(whole - silent) / whole:>6.0%}  {seconds * 1e9:>8.2f}  {rate / GIGA:>6.1f}  "
                    f"{'':<17}{near / GIGA:>7.1f} ({rate / near:>4.0%})  {large / GIGA:>8.1f}"
                )
            without = middle[protocol.name, units, "train"] - middle[protocol.name, units, "infer"]
            silent = middle[protocol.name, units, "train, no input"] - middle[protocol.name, units, "infer, no input"]
            print(f"{'':<18}plasticity: {without:.2f} ms of a training presentation, {silent:.2f} ms without input")
    print(f"\nBytes of an event: {BYTES['train']} in training, {BYTES['infer']} in inference.")
