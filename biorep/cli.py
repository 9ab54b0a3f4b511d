"""The command line: verbs only, no logic. Heavy libraries are imported by the verb that needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from biorep.errors import BiorepError

if TYPE_CHECKING:
    from biorep.lab.store import PlanRecord

app = tyro.extras.SubcommandApp()


@app.command(name="run")
def run(
    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE_OR_PLAN")],
    /,
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = (),
    out: Path = Path("runs"),
    device: str = "auto",
    engine: str = "auto",
    name: str = "",
    replace: bool = False,
    dry_run: bool = False,
    shrunk: bool = False,
) -> None:
    """Run a recipe or a plan; what the store has already is not repeated.

    Args:
        recipe: A YAML file, or the name of a published model (`biorep models` lists them).
        set: Overrides, for example `--set network.units=500 seed=1`.
        out: Root of the store; results go to OUT/<name>.
        device: Of torch: auto, cpu or cuda.
        engine: Of Brian2: auto, cpp_standalone, cuda_standalone, cuda_standalone-single (precision), runtime-cython or
            runtime-numpy.
        name: Of the folder of the results, instead of that in the file.
        replace: Let overrides replace results of other settings under the same name.
        dry_run: Check everything, list the runs and stop.
        shrunk: Run a small version that takes seconds, to try the file out.
    """
    from biorep.context import RunContext
    from biorep.lab import batch

    plan, context = (
        batch.read(recipe, _with_name(set, name), shrunk=shrunk),
        RunContext(device=device, engine=engine, progress=True),
    )
    if dry_run:
        print("\n".join(batch.preview(plan, out, context=context)))
        return
    _conclude(batch.execute(plan, out, context=context, replace=replace))


@app.command(name="sweep")
def sweep(
    plan: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PLAN")],
    /,
    workers: int = 2,
    cluster: str = "local",
    cluster_option: tuple[str, ...] = (),
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = (),
    out: Path = Path("runs"),
    device: str = "auto",
    engine: str = "auto",
    name: str = "",
    replace: bool = False,
    dry_run: bool = False,
    shrunk: bool = False,
    retry_failed: bool = False,
) -> None:
    """Run a plan on workers; it can be killed at any time and goes on when the command is repeated.

    Args:
        plan: A YAML file, or the name of a published model.
        workers: Runs at a time.
        cluster: local, slurm, or the address of a Dask scheduler, tcp://HOST:PORT.
        cluster_option: Of the Slurm cluster, as KEY=VALUE: queue=debug walltime=02:00:00 memory=4GB.
        set: Overrides, for example `--set grid.seed=[0,1]`.
        out: Root of the store; results go to OUT/<name>.
        device: Of torch: auto, cpu or cuda (then one worker per GPU).
        engine: Of Brian2, see `biorep run --help`.
        name: Of the folder of the results, instead of that in the file.
        replace: Let overrides replace results of other settings under the same name.
        dry_run: Say what is done, what is left and how long it may take, and stop.
        shrunk: Run a small version that takes seconds, to try the file out.
        retry_failed: Try runs again that have failed.
    """
    from biorep.context import RunContext
    from biorep.lab import batch
    from biorep.lab.batch.clusters import parse_options

    planned, options = batch.read(plan, _with_name(set, name), shrunk=shrunk), parse_options(cluster_option)
    context = RunContext(device=device, engine=engine, progress=True)
    if dry_run:
        print("\n".join(batch.preview(planned, out, context=context, workers=workers)))
        return
    record = batch.sweep(
        planned,
        out,
        workers=workers,
        cluster=cluster,
        options=options,
        context=context,
        replace=replace,
        retry_failed=retry_failed,
    )
    _conclude(record)
    if record.missing:
        sys.exit(1)


def _with_name(overrides: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*overrides, f"name={json.dumps(name)}") if name else overrides


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
def status(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")], /) -> None:
    """Say how a plan stands: what is done, going on, failed and left, and what to do next.

    Args:
        folder: The folder of the plan, STORE/<name>.
    """
    from biorep.lab.store import status as lines

    print("\n".join(lines(folder)))


@app.command(name="collect")
def collect(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")], /) -> None:
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
            yes = input(f"Remove these {len(found)} folders and files, {total:.1f} MiB? [y/N] ").strip().lower() in (
                "y",
                "yes",
            )
        except EOFError:
            yes = False
    if yes:
        remove(found)
    print(f"removed {total:.1f} MiB" if yes else "nothing was removed")


@app.command(name="report")
def report(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")], /) -> None:
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
    words = iter(arguments)
    taking = False
    for word in words:
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
        app.cli(
            args=_gather(sys.argv[1:]),
            prog="biorep",
            description="What brain-like local learning does to a representation.",
        )
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
