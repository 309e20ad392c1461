"""Properties of all specs: JSON, space files, conditions and suggestions."""

import json
import math

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lkca_search.search.studies.study import Study, open_in_memory_storage
from lkca_search.spec.cells import cells
from lkca_search.spec.components import ComponentConfig
from lkca_search.spec.configuration import NAMES, SUBSET_NAMES, Configuration, Scalar
from lkca_search.spec.domains import Choice, Domain, Fixed, FloatRange, IntRange, holds
from lkca_search.spec.factors import Design, Factor, combinations, excluded
from lkca_search.spec.resources import ResourcesSection
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection, SearchSection, TrainingSection
from lkca_search.spec.space_file import read_space_file

VALUES = {
    "family": st.sampled_from(["lkca", "vit", "ResNet-20", "timm:12", "timm:a: b", "timm:{}", "mine.Net"]),
    "data_fraction": st.floats(0, 1, exclude_min=True) | st.just(1),
    "draw": st.integers(0, 10),
    "pooling": st.sampled_from(["mean", "class_token"]),
    "depth": st.integers(1, 500),
    "width": st.integers(1, 500),
    "kernel_size": st.integers(1, 31),
    "learning_rate": st.floats(1e-12, 1e3),
    "weight_decay": st.floats(0, 1),
    "label_smoothing": st.floats(0, 0.9),
}
INTEGERS = ["draw", "depth", "width", "kernel_size"]
NUMBERS = ["learning_rate", "weight_decay", "label_smoothing", "data_fraction"]


@st.composite
def domains(draw: st.DrawFn, name: str, when: dict[str, tuple[object, ...]]) -> Domain:
    kinds = ["value", "choice", *(["int"] if name in INTEGERS else ["float"] if name in NUMBERS else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "value":
        return Fixed.model_validate({"value": draw(VALUES[name]), "when": when})
    values = tuple(draw(st.lists(VALUES[name], min_size=2 if kind in ("int", "float") else 1, max_size=4, unique=True)))
    if kind == "choice":
        return Choice.model_validate({"choice": values, "when": when})
    bounds = (min(values), max(values))
    log = draw(st.booleans()) and bounds[0] > 0 and math.isfinite(bounds[1] / bounds[0])
    if kind == "float":
        return FloatRange.model_validate({"float": bounds, "log": log, "when": when})
    step = 1 if log else draw(st.integers(1, 3))
    return IntRange.model_validate({"int": bounds, "log": log, "step": step, "when": when})


@st.composite
def designs(
    draw: st.DrawFn, factors: dict[str, Factor]
) -> tuple[Design, dict[str, Scalar], tuple[dict[str, Scalar], ...]]:
    """Draw a valid design of the factors, with a base and exclusions if it can have them."""
    design: Design = draw(st.sampled_from(["crossed", "one_at_a_time"]))
    base: dict[str, Scalar] = {}
    if design == "one_at_a_time":
        named = [name for name in factors if name not in SUBSET_NAMES and draw(st.booleans())]
        base = {name: draw(st.sampled_from(factors[name].levels)) for name in named}
    cells = combinations(factors, design, base)
    assume(all({cell.get(name) for cell in cells} >= set(factor.levels) for name, factor in factors.items()))
    entry = draw(st.sampled_from(cells))
    leaves_some = entry and excluded(cells, [{name: (entry[name],) for name in entry}])[0].bit_count() < len(cells)
    return design, base, (entry,) if leaves_some and draw(st.booleans()) else ()


@st.composite
def specs(draw: st.DrawFn) -> SearchSpec:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    num_factors = draw(st.integers(0, len(names)))
    factors: dict[str, Factor] = {}
    for name in names[:num_factors]:
        others = draw(st.lists(st.sampled_from(sorted(factors)), unique=True, max_size=1)) if factors else []
        factors[name] = Factor(
            levels=tuple(draw(st.lists(VALUES[name], min_size=1, max_size=4, unique=True))),
            when={other: factors[other].levels[:2] for other in others},
        )
    design, base, exclude = draw(designs(factors))
    parameters: dict[str, Domain] = {}
    for name in names[num_factors:]:
        known = {name: factor.levels for name, factor in factors.items()}
        known |= {other: domain.edges() for other, domain in parameters.items()}
        others = draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=2)) if known else []
        parameters[name] = draw(domains(name, {other: known[other][:2] for other in others}))
    metric = draw(st.sampled_from(["val_accuracy", "val_loss"]))
    return SearchSpec(
        data=DataSection(
            dataset=draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Nd"]), min_size=1)),
            validation=draw(st.floats(0.01, 0.99)),
            augment=draw(st.sampled_from([(), ("crop",), ("flip", "crop")])),
        ),
        factors=factors,
        design=design,
        base=base,
        exclude=exclude,
        parameters=parameters,
        training=TrainingSection.model_validate(
            draw(st.sampled_from([{"epochs": 3}, {"steps": 3}, {"samples": 3}, {"epochs": 3, "min_steps": 2}]))
        ),
        search=SearchSection.model_validate(
            {
                "trials_per_cell": draw(st.integers(1, 99)),
                "metric": metric,
                "goal": "minimize" if metric == "val_loss" else "maximize",
                "seed": draw(st.integers(0, 2**70)),
                "checkpoint_seconds": draw(st.floats(0, 1e6)),
                "sampler": draw(st.sampled_from(["random", "tpe", {"name": "a.B", "c": [1, {"d": None}]}])),
                "pruner": draw(st.sampled_from(["none", {"name": "patient", "patience": 2, "wraps": "median"}])),
            }
        ),
        resources=ResourcesSection(
            cpu=draw(st.integers(1, 64)),
            gpu=draw(st.just("auto") | st.just(0.0) | st.floats(1e-4, 1)),
            custom=draw(st.dictionaries(st.sampled_from(["a100", "accelerator_type:H100"]), st.floats(1e-4, 1))),
            max_concurrent=draw(st.none() | st.integers(1, 99)),
        ),
    )


@given(specs())
def test_a_spec_is_equal_after_a_round_trip_through_json(spec: SearchSpec) -> None:
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


@given(specs())
def test_a_spec_is_equal_after_a_round_trip_through_a_space_file(
    tmp_path_factory: pytest.TempPathFactory, spec: SearchSpec
) -> None:
    path = tmp_path_factory.getbasetemp() / "spec.yaml"
    plain = json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))
    path.write_text(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False), encoding="utf-8")
    assert read_space_file(path).spec == spec


@given(specs())
def test_parameters_come_after_the_parameters_of_their_conditions(spec: SearchSpec) -> None:
    order = spec.space.order
    assert sorted(order) == sorted(spec.parameters)
    assert set(order) <= set(NAMES)
    for name, domain in spec.parameters.items():
        assert all(order.index(other) < order.index(name) for other in domain.when if other in spec.parameters)


@settings(max_examples=50)
@given(specs())
def test_a_suggestion_is_in_its_domain_and_exists_if_and_only_if_its_condition_holds(spec: SearchSpec) -> None:
    spec = spec.model_copy(
        update={"search": spec.search.model_copy(update={"sampler": ComponentConfig(name="random")})}
    )
    storage = open_in_memory_storage()
    for cell in cells(spec)[:2]:
        _, chosen = Study(storage, spec, cell).ask()
        assert chosen.keys() <= {*cell.levels, *spec.parameters}
        assert cell.levels.items() <= chosen.items()
        for name, domain in spec.parameters.items():
            assert (name in chosen) == holds(domain.when, chosen)
            if name in chosen and isinstance(domain, FloatRange):
                assert domain.bounds[0] <= float(chosen[name]) <= domain.bounds[1]
            elif name in chosen:
                assert chosen[name] in domain.values()
        Configuration.model_validate(chosen)
