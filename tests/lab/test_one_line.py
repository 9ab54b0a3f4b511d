"""One file and one line in a table make a new thing that works in any recipe, to the page. CONTRIBUTING.md says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import biorep

PACKAGE = Path(biorep.__file__).parent
#: Table -> word, dotted name, text of the file.
ADDED = {
    "NETWORKS": (
        "brightness",
        "biorep.networks.local.brightness:Brightness",
        '''
        """The mean of each row of an image."""
        from typing import ClassVar, Literal
        import torch, xarray as xr
        from biorep.contracts import Column
        from biorep.networks.base import DifferentiableNetwork, flat_images, set_report
        from biorep.nn.encoder import LinearEncoder

        class Brightness(DifferentiableNetwork):
            columns: ClassVar[tuple[Column, ...]] = (Column("rows", "rows", 0),)
            kind: Literal["brightness"] = "brightness"
            input_norm: float | None = None

            def fit(self, dataset, *, seed, context=None):
                size = flat_images(dataset).shape[1]
                weights = torch.kron(torch.eye(8), torch.ones(1, size // 8)).numpy()
                state = xr.Dataset({"weights": (("neuroid", "input"), weights, {"long_name": "rows", "units": "1"})})
                set_report(state, {}, [])
                return state

            def module(self, state):
                return LinearEncoder(torch.as_tensor(state["weights"].values), input_norm=None, power=1.0)

            def numbers(self, state):
                return {"rows": float(state.sizes["neuroid"])}
        ''',
    ),
    "MEASURES": (
        "sparseness",
        "biorep.spectra.sparseness:Sparseness",
        '''
        """The share of silent responses."""
        from typing import ClassVar, Literal
        import xarray as xr
        from biorep.contracts import Code, Column, Drawing, Measure

        class Sparseness(Measure):
            columns: ClassVar[tuple[Column, ...]] = (Column("silent", "silent share", 2, "responses of 0"),)
            kind: Literal["sparseness"] = "sparseness"
            threshold: float = 0.0

            def needs(self, recipe):
                return {"code": Code("test")}

            def make(self, given):
                share = float((given["code"]["response"] <= self.threshold).mean())
                return xr.Dataset({"silent": ((), share, {"long_name": "silent share", "units": "1"})})

            def numbers(self, result):
                return {"silent": float(result["silent"])}

            def figures(self, rows):
                from matplotlib.figure import Figure

                figure = Figure()
                figure.add_subplot().bar(list(rows), [float(members[0]["silent"]) for members in rows.values()])
                yield Drawing("sparseness", "Silent responses.", figure)
        ''',
    ),
    "PENALTIES": (
        "bias",
        "biorep.penalties.bias:BiasPenalty",
        '''
        """Squares of the biases alone."""
        from typing import Literal
        from biorep.penalties.base import BasePenalty

        class BiasPenalty(BasePenalty):
            kind: Literal["bias"] = "bias"

            def __call__(self, forward, prepared=None):
                return sum(p.square().sum() for name, p in forward.module.named_parameters() if name.endswith("bias"))
        ''',
    ),
    "OBJECTIVES": (
        "dimmed",
        "biorep.networks.backprop.dimmed:Dimmed",
        '''
        """Cross-entropy of dimmed images."""
        from typing import ClassVar, Literal
        from biorep.networks.backprop.objectives import BaseObjective

        class Dimmed(BaseObjective):
            moves_images: ClassVar[bool] = True
            kind: Literal["dimmed"] = "dimmed"
            share: float = 0.9

            def batch(self, images, labels, problem):
                return self.share * images
        ''',
    ),
    "ATTACKS": (
        "darkness",
        "biorep.robustness.darkness:Darkness",
        '''
        """Every pixel epsilon darker."""
        from typing import Literal
        from biorep.robustness.attack import Attack
        from biorep.robustness.perturbation import per_image

        class Darkness(Attack):
            kind: Literal["darkness"] = "darkness"

            def __call__(self, problem, index, epsilon):
                images = problem.images[index]
                return (images - per_image(epsilon, images)).clamp(*problem.bounds)
        ''',
    ),
    "DATASETS": (
        "blobs",
        "biorep.datasets.blobs:Blobs",
        '''
        """Two classes: bright above, bright below."""
        from typing import Literal
        import numpy as np
        from biorep.contracts import Dataset
        from biorep.datasets import from_arrays

        class Blobs(Dataset):
            name: Literal["blobs"] = "blobs"
            n: int = 60

            def content(self):
                return {"word": "blobs", "n": self.n}

            def load(self, split):
                number = {"train": 0, "validation": 1, "test": 2}[split]
                generator = np.random.default_rng(number)
                labels = np.arange(self.n) % 2
                images = generator.random((self.n, 8, 8)) * 0.4
                images[labels == 1, :4] += 0.5
                images[labels == 0, 4:] += 0.5
                ids = [f"blobs-{split}-{i}" for i in range(self.n)]
                return from_arrays(images, labels, split=split, stimulus_id=ids, class_names=["below", "above"])
        ''',
    ),
}
PLAN = """
name: added
recipe:
  dataset: {name: blobs, n: 40}
  network: {kind: brightness}
  sparseness: {}
  spectrum: null
  robustness: {images: 10, attacks: [darkness], linf: [0.3], l2: [], noise: []}
cases:
  rows: {}
  mlp: {network: {kind: mlp, hidden: [8], bias: true, epochs: 2, batch_size: 20, evaluate: 0,
                  penalties: [{kind: bias, strength: 0.1}], objective: {kind: dimmed}}}
"""


def _add(package: Path) -> None:
    tables = package / "tables.py"
    text = tables.read_text()
    for table, (word, dotted, source) in ADDED.items():
        module = dotted.partition(":")[0]
        lines = source.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        body = "\n".join(line[indent:] for line in lines)
        head, rest = body.split("\n", 1)
        file = package.parent / f"{module.replace('.', '/')}.py"
        assert not file.exists()
        file.write_text(f"{head}\n\nfrom __future__ import annotations\n\n{rest}\n")
        line = f'        "{word}": "{dotted}",\n'
        start = text.index(f"{table} = Table(")
        end = text.index("    },\n", start)
        text = text[:end] + line + text[end:]
    tables.write_text(text)


def test_one_file_and_one_line_of_each_kind_run_to_the_page(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "biorep", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("models", "data"):
        shutil.copytree(PACKAGE.parent / folder, tmp_path / folder)
    _add(tmp_path / "biorep")
    (tmp_path / "added.yaml").write_text(PLAN)
    command = [sys.executable, "-W", "error::UserWarning", "-m", "biorep.cli", "run", "added.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    heads = re.split(r"\s{2,}", next(line for line in answer.stdout.splitlines() if line.startswith("network")))
    critical = ["median critical L-inf (pixels)", "L-inf of correct (pixels)"]
    assert heads == ["network", "seeds", "test accuracy", *critical, "silent share", "rows"]
    page = (tmp_path / "runs/added/report.html").read_text()
    assert "Silent responses." in page
    assert "Silent share: responses of 0." in page
    assert list((tmp_path / "runs/stages/sparseness").glob("*/sparseness.nc"))
