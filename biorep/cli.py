"""The command line: verbs only, no logic. Heavy libraries are imported by the verb that needs them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from biorep.errors import BiorepError

if TYPE_CHECKING:
    from biorep.context import RunContext
    from biorep.lab.plan import Plan
    from biorep.lab.store import PlanRecord

app = tyro.extras.SubcommandApp()
Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]


@dataclass(frozen=True)
class Common:
    """What `run` and `sweep` have in common."""

    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = ()
    """Overrides, for example `--set network.units=500 seed=1`, in a plan `--set grid.seed=[0,1]`."""
    out: Path = Path("runs")
    """Root of the store; results go to OUT/<name>."""
    device: str = "auto"
    """Of torch: auto, cpu or cuda (in a sweep, then one worker per GPU)."""
    engine: str = "auto"
    """Of Brian2: auto, cpp_standalone, cuda_standalone, cuda_standalone-single (precision), runtime-cython or
    runtime-numpy."""
    name: str = ""
    """Of the folder of the results, instead of that in the file."""
    replace: bool = False
    """Let overrides replace results of other settings under the same name."""
    dry_run: bool = False
    """Check everything, say what is done and what is left, and stop."""
    shrunk: bool = False
    """Run a small version that takes seconds, to try the file out."""

    def read(self, file: str) -> tuple[Plan, RunContext]:
        """Return the plan of a file or a published model, and where it runs."""
        from biorep.context import RunContext
        from biorep.lab import batch

        named = [f"name={json.dumps(self.name)}"] if self.name else []
        context = RunContext(device=self.device, engine=self.engine, progress=True)
        return batch.read(file, [*self.set, *named], shrunk=self.shrunk), context


@app.command(name="run")
def run(
    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE_OR_PLAN")],
    /,
    common: tyro.conf.OmitArgPrefixes[Common] = Common(),
) -> None:
    """Run a recipe or a plan; what the store has already is not repeated.

    Args:
        recipe: A YAML file, or the name of a published model (`biorep models` lists them).
        common: Of `run` and `sweep`.
    """
    from biorep.lab import batch

    plan, context = common.read(recipe)
    if common.dry_run:
        print("\n".join(batch.preview(plan, common.out, context=context)))
    else:
        _conclude(batch.execute(plan, common.out, context=context, replace=common.replace))


@app.command(name="sweep")
def sweep(
    plan: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PLAN")],
    /,
    workers: int = 2,
    cluster: str = "local",
    cluster_option: tuple[str, ...] = (),
    retry_failed: bool = False,
    common: tyro.conf.OmitArgPrefixes[Common] = Common(),
) -> None:
    """Run a plan on workers; it can be killed at any time and goes on when the command is repeated.

    Args:
        plan: A YAML file, or the name of a published model.
        workers: Runs at a time.
        cluster: local, slurm, or the address of a Dask scheduler, tcp://HOST:PORT.
        cluster_option: Of the Slurm cluster, as KEY=VALUE: queue=debug walltime=02:00:00 memory=4GB.
        retry_failed: Try runs again that have failed.
        common: Of `run` and `sweep`.
    """
    from biorep.lab import batch
    from biorep.lab.batch.clusters import parse_options

    (planned, context), options = common.read(plan), parse_options(cluster_option)
    if common.dry_run:
        print("\n".join(batch.preview(planned, common.out, context=context, workers=workers)))
        return
    where: dict[str, Any] = {"workers": workers, "cluster": cluster, "options": options, "context": context}
    record = batch.sweep(planned, common.out, **where, replace=common.replace, retry_failed=retry_failed)
    _conclude(record)
    if record.missing:
        sys.exit(1)


def _conclude(record: PlanRecord) -> None:
    """Collect the results of a plan, write its page and print its table."""
    from biorep.lab.report.page import write_report
    from biorep.lab.report.table import render, summary
    from biorep.lab.store import collect, status
    from biorep.resources import shown

    if record.missing:
        print("\n".join(status(record.folder)), file=sys.stderr)
    if not record.runs:
        return
    collect(record.folder)
    page = write_report(record.folder)
    print(f"\n{render(record, summary(record))}\n")
    print(f"Report:  {shown(page)}")
    print(f'Python:  biorep.open("{shown(record.folder)}")')


@app.command(name="status")
def status(folder: Folder, /) -> None:
    """Say how a plan stands: what is done, going on, failed and left, and what to do next.

    Args:
        folder: The folder of the plan, STORE/<name>.
    """
    from biorep.lab.store import status as lines

    print("\n".join(lines(folder)))


@app.command(name="collect")
def collect(folder: Folder, /) -> None:
    """Bring the collected files of a plan up to date: all runs in one netCDF file per kind.

    Args:
        folder: The folder of the plan, STORE/<name>.
    """
    from biorep.lab.store import collect as bring
    from biorep.lab.store import read_plan
    from biorep.lab.store.status import versions

    written = bring(folder)
    print("\n".join([*map(str, written), *versions(read_plan(folder))] or ["nothing has changed"]))


@app.command(name="clean")
def clean(
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")],
    /,
    yes: bool = False,
    unfinished: bool = False,
) -> None:
    """Remove what no plan of a store needs any more; lists it and asks first.

    Args:
        store: The root of the store.
        yes: Do not ask.
        unfinished: Also if runs are not finished, although what they have trained goes.
    """
    from biorep.lab.store.clean import remove, waste

    found = waste(store, unfinished=unfinished)
    if not found:
        print("there is nothing to remove")
        return
    for item in found:
        print(f"{item.size / 2**20:8.1f} MiB  {item.path}  ({item.reason})")
    total = sum(item.size for item in found) / 2**20
    if not yes:
        try:
            answer = input(f"Remove these {len(found)} folders and files, {total:.1f} MiB? [y/N] ")
            yes = answer.strip().lower() in ("y", "yes")
        except EOFError:
            yes = False
    if yes:
        remove(found)
    print(f"removed {total:.1f} MiB" if yes else "nothing was removed")


@app.command(name="report")
def report(folder: Folder, /) -> None:
    """Draw the figures and write the HTML page of a finished plan again.

    Args:
        folder: The folder of the plan, STORE/<name>.
    """
    from biorep.lab.report.page import write_report
    from biorep.resources import shown

    print(shown(write_report(folder)))


@app.command(name="models")
def models() -> None:
    """List the published models and what they reproduce."""
    from biorep import resources
    from biorep.source import read_yaml

    for name, path in resources.models().items():
        about = read_yaml(path).data
        print(f"{name}\n  {' '.join(str(about.get('about', '')).split())}")
        for key in ("reference", "expected", "time"):
            if about.get(key):
                print(f"  {key}: {' '.join(str(about[key]).split())}")


@app.command(name="data")
def data() -> None:
    """List the known datasets and where their files are."""
    from biorep import datasets
    from biorep.datasets.files import search_folders

    for row in datasets.available():
        absent = "not here, downloaded on first use" if row["downloadable"] else "not here"
        print(f"{row['name']:<16} {row['where'] or absent}\n{'':<16} {row['title']}; {row['licence']}")
    print("\nFolders searched: " + ", ".join(map(str, search_folders())))
    print("Your own: dataset: {name: FILE.npz}, a netCDF file or a folder of images")


@app.command(name="doctor")
def doctor() -> None:
    """Show versions, compilers and GPU, and what will run where."""
    from biorep.doctor import examine

    print("\n".join(examine()))


def _gather(arguments: list[str]) -> list[str]:
    """Return the arguments with all overrides behind one --set at the end, however often and wherever it stood."""
    rest: list[str] = []
    overrides: list[str] = []
    taking = False
    for word in arguments:
        if word == "--set":
            taking = True
        elif taking and not word.startswith("-") and ("=" in word or len(rest) >= 2):
            overrides.append(word)
        else:
            taking = False
            rest.append(word)
    return [*rest, "--set", *overrides] if overrides else rest


def main() -> None:
    """Run the command line; errors meant for the user come without a traceback."""
    try:
        about = "What brain-like local learning does to a representation."
        app.cli(args=_gather(sys.argv[1:]), prog="biorep", description=about)
    except BiorepError as error:
        print(f"biorep: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nbiorep: stopped. Finished stages are kept; repeat the command to go on.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
