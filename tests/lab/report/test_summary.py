"""The table of a plan."""

from __future__ import annotations

import numpy as np
import pytest

from biorep.lab.batch.run_one import columns_of
from biorep.lab.recipe import recipe_from
from biorep.lab.report.table import Estimate, Row, estimate, notes, render, summary, table
from biorep.lab.store.runs import PlanRecord, RunRecord
from biorep.source import Source


def test_estimate_is_the_mean_with_its_t_interval():
    values = [1.0, 2.0, 4.0]
    found = estimate(values)
    # t quantile 0.975 with 2 degrees of freedom: 4.302653
    assert found.mean == pytest.approx(7 / 3)
    assert found.half_width == pytest.approx(4.302653 * np.std(values, ddof=1) / np.sqrt(3), rel=1e-6)
    assert np.isnan(estimate([3.0]).half_width)
    assert np.isnan(estimate([]).mean)


def test_text():
    assert Estimate(0.12345, 0.01).text(2) == "0.12 ± 0.01"
    assert Estimate(1.0, np.nan).text(1) == "1.0"
    assert Estimate(np.nan, np.nan).text(1) == "–"


@pytest.mark.parametrize(
    ("mean", "half_width", "expected"),
    [
        (0.00123, 0.0000456, "0.00123 ± 0.00005"),
        (0.08294, 0.0011, "0.0829 ± 0.0011"),
        (0.978, 0.002, "0.978 ± 0.002"),
        (1.0, np.nan, "1.000"),
        (0.0, np.nan, "0.000"),
        (-0.0123, np.nan, "-0.0123"),
        (np.inf, np.nan, "inf"),
    ],
)
def test_small_numbers_keep_their_significant_digits(mean, half_width, expected):
    assert Estimate(mean, half_width).text(3) == expected


def test_three_reasons_for_no_interval_have_three_words():
    cases = {
        "0.50": (estimate([0.5, 0.5, 0.5], shared=True), "nothing in it is random, one result serves all seeds"),
        "0.50 (equal)": (estimate([0.5, 0.5, 0.5]), "the seeds differ and came out equal"),
        "inf (1 of 3)": (estimate([0.5, np.inf, 0.5]), "infinite for one of three seeds"),
    }
    for text, (found, reason) in cases.items():
        assert found.text(2) == text
        said = notes([Row("a", 3, {"x": found})])[0]
        assert [reason in said for _, reason in cases.values()] == [one == text for one in cases]
    assert estimate([np.inf]).text(2) == estimate([np.inf, np.inf], shared=True).text(2) == "inf"


def test_seeds_are_one_result_if_they_have_one_stage(tmp_path):
    columns = [{"name": "spectrum.alpha", "heading": "exponent", "digits": 2, "note": ""}]
    runs = [
        RunRecord(f"{m}{s}", {}, {"model": m, "seed": s}, {"spectrum": f"spectrum/{m}{s * (m == 'b')}"},
                  {"spectrum.alpha": 1.5})
        for m in "ab" for s in range(3)
    ]  # fmt: skip
    rows = summary(PlanRecord(tmp_path / "p", ["model", "seed"], runs, columns=columns))
    assert [row.values["spectrum.alpha"].text(2) for row in rows] == ["1.50", "1.50 (equal)"]


def test_few_seeds_are_called_preliminary():
    rows = [Row("a", 3, {"accuracy": Estimate(0.5, 0.1), **dict.fromkeys(("alpha",), Estimate(1, 0.1))})]
    assert "preliminary" in notes(rows)[0]
    assert "preliminary" not in notes([Row("a", 5, {})])[0]
    assert "over 5 seeds" in notes([Row("a", 5, {})])[0]
    assert notes([Row("a", 1, {})]) == ["One seed: no interval, no claim."]


def test_render_leaves_out_columns_without_numbers(tmp_path):
    columns = [
        {"name": "readout.accuracy", "heading": "test accuracy", "digits": 3, "note": ""},
        {"name": "spectrum.alpha", "heading": "exponent", "digits": 2, "note": ""},
    ]
    nothing = Estimate(np.nan, np.nan)
    row = Row("kh", 5, {"readout.accuracy": Estimate(0.98, 0.01), "spectrum.alpha": nothing})
    text = render(PlanRecord(tmp_path / "p", ["seed"], [], columns=columns), [row])
    assert text.splitlines()[0].split("  ") == ["network", "seeds", "test accuracy"]
    assert "0.980 ± 0.010" in text


def test_the_table_comes_from_the_records_alone(tmp_path):
    columns = [{"name": "entropy.bits", "heading": "bits", "digits": 1, "note": ""}]
    runs = [RunRecord(f"s{s}", {}, {"model": "a", "seed": s}, numbers={"entropy.bits": 1.0 + s}) for s in range(3)]
    runs.append(RunRecord("b0", {}, {"model": "b", "seed": 0}, numbers={"entropy.bits": "inf"}))
    rows = summary(PlanRecord(tmp_path / "p", ["model", "seed"], runs, columns=columns))
    assert [row.name for row in rows] == ["a", "b"]
    assert rows[0].values["entropy.bits"].mean == 2.0
    assert rows[1].values["entropy.bits"].mean == np.inf


def test_exponents_of_a_table_are_of_the_same_ranks_unless_the_plan_names_them(tmp_path):
    """Rows that end at 51 and at 287 are both shown up to 50; one whose recipe says 3 to 40 keeps that, marked."""
    columns = [{"name": "spectrum.alpha", "heading": "exponent", "digits": 2, "note": "", "ranked": True}]

    def run(model, first, last, **ends):
        numbers = {"alpha": 9.0, "first_rank": first, "last_rank": last, **ends}
        return RunRecord(model, {}, {"model": model}, {}, {f"spectrum.{key}": n for key, n in numbers.items()})

    short = run("short", 11, 51, alpha_to_40=1.4, alpha_to_50=1.5)
    long = run("long", 11, 287, alpha_to_40=2.4, alpha_to_50=2.5, alpha_to_200=2.9)

    def shown(*runs):
        plan = PlanRecord(tmp_path / "p", ["model"], list(runs), columns=columns)
        (heads, *lines), (note,) = table(plan, summary(plan)), notes(summary(plan))
        assert ("[3-40]" in note) == ("ranks" not in heads[2])
        return [heads[2], *(line[2] for line in lines)]

    assert shown(short, long) == ["exponent (ranks 11-50)", "1.50", "2.50"]
    assert shown(long, run("b", 11, 287)) == ["exponent (ranks 11-287)", "9.00", "9.00"]
    named = run("named", 3, 40)
    assert shown(short, long, named) == ["exponent", "1.50 [11-50]", "2.50 [11-50]", "9.00 [3-40]"]
    assert shown(long, named) == ["exponent", "9.00 [11-287]", "9.00 [3-40]"]


def test_headings_have_units_of_all_spaces_that_a_plan_attacks():
    document = {"name": "c", "dataset": {"name": "digits"}, "network": {"kind": "krotov-hopfield", "input_norm": 3}}
    spaces = ("pixel", "normalised")
    recipes = [recipe_from(Source({**document, "robustness": {"space": space}}, "c", {})) for space in spaces]
    for chosen, unit in ((recipes[:1], "pixels"), (recipes[1:], "unit-L3"), (recipes, "pixels or unit-L3")):
        headings = {column["name"]: column["heading"] for column in columns_of(chosen)}
        assert headings["robustness.critical_linf"] == f"median critical L-inf ({unit})"
        assert headings["robustness.critical_linf_correct"] == f"L-inf of correct ({unit})"


def test_a_column_that_two_networks_have_says_what_each_means_by_it():
    recipes = [
        recipe_from(Source({"name": "c", "dataset": {"name": "digits"}, "network": {"kind": kind}}, "c", {}))
        for kind in ("krotov-hopfield", "diehl-cook", "krotov-hopfield")
    ]
    (used,) = [column for column in columns_of(recipes) if column["name"] == "state.used"]
    assert used["note"].startswith("krotov-hopfield: share of the units that win and whose weights")
    assert "; diehl-cook: share of the units that answer most" in used["note"]
    assert columns_of(recipes[:1])[-1]["note"].startswith("share of the units that win")
