"""The command line: verbs only, no logic. Heavy libraries are imported by the verb that needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from biorep.errors import BiorepError

app = tyro.extras.SubcommandApp()


@app.command(name="run")
def run(
    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE_OR_PLAN")],
    /,
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = (),
    out: Path = Path("runs"),
    device: str = "auto",
    engine: str = "auto",
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
        dry_run: Check everything, list the runs and stop.
        shrunk: Run a small version that takes seconds, to try the file out.
    """
    from biorep import batch
    from biorep.context import RunContext
    from biorep.report import write_report
    from biorep.store.summary import render, summary

    plan = batch.read(recipe, set, shrunk=shrunk)
    batch.check(plan)
    if dry_run:
        print(f"{plan.name}: {len(plan.runs)} runs")
        print("\n".join(f"  {planned.name}" for planned in plan.runs))
        return
    record = batch.execute(plan, out, run=RunContext(device=device, engine=engine, progress=True))
    page = write_report(record.folder)
    print(f"\n{render(summary(record))}\n")
    print(f"Report:  {page}")
    print(f'Python:  biorep.open("{record.folder}")')


@app.command(name="report")
def report(folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")], /) -> None:
    """Draw the figures and write the HTML page of a finished plan again.

    Args:
        folder: The folder of the plan, STORE/<name>.
    """
    from biorep.report import write_report

    print(write_report(folder))


@app.command(name="models")
def models() -> None:
    """List the published models and what they reproduce."""
    from biorep import resources
    from biorep.config import read_yaml

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
    from biorep.datasets.registry import search_folders

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
    except KeyboardInterrupt:
        print("\nbiorep: stopped. Finished stages are kept; repeat the command to go on.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
