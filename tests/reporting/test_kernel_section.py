"""Section on kernels, attention and receptive fields: every sentence follows from the numbers, or has the reason."""

from dataclasses import replace

import numpy as np
import pytest

from lkca_search.analysis.search_results import SearchResults
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import FORMATS, draw
from lkca_search.reporting.values.figure import Figure, SmallMultiples
from lkca_search.reporting.values.report import Section
from tests.support.inspections import make_inspection, make_layer, with_inspections
from tests.support.search_results import FRACTIONS, law, make_search_results


def growing(family: str, images: int, draw: int, seed: int, layer: int) -> float:
    return 1.2 + 0.4 * layer + (images / 5000 if family == "lkca" else 0) + 0.05 * draw + 0.02 * seed


def section_of(results: SearchResults) -> Section:
    return next(section for section in make_report(results).sections if section.name == "kernels")


def table(section: Section, name: str) -> list[list[str]]:
    found = next(each for each in section.tables if each.name == name)
    return [[cell.text for cell in row] for row in found.rows]


def test_the_section_has_maps_profiles_radii_and_fields_of_both_families() -> None:
    section = section_of(with_inspections(make_search_results(law()), growing))
    assert [figure.name for figure in section.figures] == [
        *("kernel_maps_1", "energy_profile_1", "kernel_maps_2", "energy_profile_2"),
        *("kernel_radius", "field_radius", "receptive_fields"),
    ]
    assert [each.name for each in section.tables] == ["kernel_layers", "receptive_fields", "kernel_trends"]
    maps = section.figures[0]
    assert isinstance(maps, SmallMultiples)
    assert maps.columns == ("layer 1", "layer 2")
    assert maps.rows == tuple(f"{round(18_000 * fraction):,} images" for fraction in FRACTIONS)
    largest = max(
        abs(value) for row in maps.panels for panel in row if panel for line in panel.values for value in line
    )
    assert maps.limit == pytest.approx(largest), "all panels have one scale"
    for row in maps.panels:
        for panel in row:
            assert panel is not None
            assert panel.center == (7, 7)
            assert panel.radius is not None


def test_sentences_have_the_numbers_of_the_tables() -> None:
    section = section_of(with_inspections(make_search_results(law()), growing))
    kernels, field, attention, _ = section.summary
    assert kernels.startswith("lkca: 90% of the energy of the kernels lies within a mean radius of ")
    assert "at 360 images and " in kernels
    assert "at 9,000 images, in tokens. Equal weights would have 8.49." in kernels
    trends = table(section, "kernel_trends")
    slope = next(row for row in trends if row[:2] == ["lkca", "mean over layers"])
    assert (
        f"The radius grows with training images: {slope[3]} {slope[4]} tokens per tenfold training images." in kernels
    )
    assert field.startswith("lkca: 90% of the gradients of the central feature lie within ")
    assert "A kernel reaches 28 pixels." in field
    assert attention.startswith("vit: 90% of the energy of the attention lies within a mean radius of ")
    slope = next(row for row in trends if row[:2] == ["vit", "mean over layers"])
    # Each draw has the same radii at all sizes, so the slope is exactly 0.
    assert "every draw gives the same value" in attention or "No change of the radius" in attention
    assert slope[3] in ("+0.00", "0.00")


def test_a_search_without_lkca_has_attention_and_fields() -> None:
    section = section_of(with_inspections(make_search_results(law(), families=("vit", "resnet")), growing))
    assert not any("kernel" in sentence for sentence in section.summary)
    assert [sentence.split(":")[0] for sentence in section.summary] == ["vit", "vit", "resnet"]
    assert {row[0] for row in table(section, "kernel_layers")} == {"vit"}


def test_convolutional_families_alone_have_fields_alone() -> None:
    section = section_of(with_inspections(make_search_results(law(), families=("resnet", "van")), growing))
    assert [figure.name for figure in section.figures] == ["field_radius", "receptive_fields"]
    assert [each.name for each in section.tables] == ["receptive_fields", "kernel_trends"]


def test_a_single_draw_has_no_interval_and_the_reason() -> None:
    section = section_of(with_inspections(make_search_results(law(), draws=1, seeds=1), growing))
    assert "without an interval: a single draw has no spread for an interval." in section.summary[0]
    assert all("a single draw" in row[6] for row in table(section, "kernel_layers"))


def test_a_single_size_has_no_statement_on_a_change() -> None:
    section = section_of(with_inspections(make_search_results(law(), fractions=(0.1,)), growing))
    assert not any("change" in sentence or "grows" in sentence for sentence in section.summary)
    assert "kernel_radius" not in [figure.name for figure in section.figures]


def test_replicates_of_an_earlier_version_are_named_and_nothing_else_is_claimed() -> None:
    section = section_of(make_search_results(law()))
    assert (section.summary, section.figures, section.tables) == ((), (), ())
    (sentence,) = section.paragraphs
    assert sentence.startswith("100 tested replicates have no inspection")


def test_an_unconfirmed_search_has_no_such_section() -> None:
    assert "kernels" not in [section.name for section in make_report(make_search_results(None)).sections]


def test_own_models_have_the_reasons_for_missing_parts() -> None:
    results = make_search_results(law())
    reason = "receptive field: no module has an output with height and width"
    empty = replace(make_inspection((), field=None), failures=(reason,))
    inspections = {record.trial_id: empty for record in results.replicates if record.test}
    section = section_of(replace(results, inspections=inspections))
    assert section.figures == ()
    assert any(f"lkca: {reason}; vit: {reason}" in paragraph for paragraph in section.paragraphs)


def test_configurations_that_differ_between_sizes_are_named_beside_the_trend() -> None:
    results = with_inspections(make_search_results(law()), growing)
    replicates = []
    for record in results.replicates:
        assert record.facts is not None
        size = 3 if record.facts.num_train_images < 1000 else 5
        configuration = record.spec.configuration.model_copy(update={"kernel_size": size})
        spec = record.spec.model_copy(update={"configuration": configuration})
        facts = record.facts.model_copy(update={"description": None})
        replicates.append(record.model_copy(update={"spec": spec, "facts": facts}))
    section = section_of(replace(results, replicates=replicates))
    assert (
        "The configurations of these sizes differ in kernel_size, so the change may come from them."
        in section.summary[0]
    )
    assert table(section, "kernel_trends")[0][5] == "kernel_size"
    alike = section_of(results)
    assert "configurations differ in" not in next(t for t in alike.tables if t.name == "kernel_trends").columns


def test_kernels_of_two_sizes_have_no_gray_line_and_no_interval_beyond_their_corners() -> None:
    results = make_search_results(law(), families=("lkca", "resnet"), draws=3, seeds=1)
    generator = np.random.default_rng(0)
    inspections = {}
    for record in results.replicates:
        assert record.facts is not None
        assert record.replicate is not None
        side = 3 if record.facts.num_train_images < 1000 else 5
        weights = np.zeros((1, side, side), dtype=np.float32)
        weights[0, side // 2, side // 2] = 1  # radius 0, and that of the corner in the third draw
        weights[0, 0, 0] = 10 * (record.replicate.draw == max(results.rounds[0].draws))
        layer = make_layer(weights + 0.01 * generator.normal(size=weights.shape))
        inspections[record.trial_id] = replace(make_inspection(()), layers=(layer,))
    section = section_of(replace(results, inspections=inspections))
    profile = section.figures[1]
    assert profile.name == "energy_profile_1"
    assert "gray line" not in profile.caption
    ends = {row[6].rpartition(", ")[2] for row in table(section, "kernel_layers") if row[0] == "lkca"}
    assert ends == {"1.41]", "2.83]"}


def test_zero_kernels_are_named() -> None:
    results = with_inspections(make_search_results(law()), growing)
    zeroed = {
        replicate: replace(
            each,
            layers=tuple(
                replace(layer, weights=0 * layer.weights, energy=0 * layer.energy, mass=0 * layer.mass)
                for layer in each.layers
            ),
        )
        for replicate, each in results.inspections.items()
    }
    section = section_of(replace(results, inspections=zeroed))
    assert any("Some layers of lkca and vit have no energy" in paragraph for paragraph in section.paragraphs)


def test_figures_are_drawn_for_the_page_and_for_a_paper() -> None:
    report = make_report(with_inspections(make_search_results(law()), growing))
    page = to_html(report, source="a test")
    figures = next(section for section in report.sections if section.name == "kernels").figures
    for figure in figures:
        assert f'id="{figure.name}"' in page
    assert len(page) < 6e6
    for figure in (figures[0], figures[-1]):
        drawn = draw(figure)
        assert set(drawn) == set(FORMATS)
        assert drawn["png"].startswith(b"\x89PNG")
        assert drawn == draw(figure)


def test_bands_are_in_the_profiles_and_equal_weights_are_a_line() -> None:
    section = section_of(with_inspections(make_search_results(law()), growing))
    profiles = section.figures[1]
    assert isinstance(profiles, Figure)
    assert profiles.caption.endswith("The gray line is a map of this size with equal weights.")
    *sizes, flat = profiles.series
    assert [series.kind for series in sizes] == ["band"] * len(FRACTIONS)
    assert (flat.name, flat.kind) == ("equal weights", "line")
    assert flat.y[-1] == pytest.approx(100)
