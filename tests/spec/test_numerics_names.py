"""Precision and compilation in a space file: levels as YAML writes them, and values that a CPU does not have."""

import pytest

from lkca_search.errors import SpaceFileError
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.search_spec import SearchSpec
from tests.support.space_files import VALID, Read

WITHOUT_GPU = VALID.replace("gpu: 0.25", "gpu: 0.0")


def test_on_and_off_are_levels_of_compile_although_yaml_reads_them_as_true_and_false(read: Read) -> None:
    text = VALID.replace("[lkca, vit]", "[lkca]").replace(
        "data_fraction: [0.1, 1]", "compile: [on, off]\n  position_embedding: [on, off]"
    )
    spec = read(text, "parameters.mlp_ratio={choice: [1.0, 2.0], when: {compile: [on], position_embedding: [on]}}").spec
    assert spec.factors["compile"].levels == ("on", "off")
    assert spec.factors["position_embedding"].levels == (True, False)
    assert {cell.levels["compile"] for cell in cells(spec)} == {"on", "off"}
    assert spec.parameters["mlp_ratio"].when == {"compile": ("on",), "position_embedding": (True,)}
    assert SearchSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_compile_may_be_a_parameter_a_fixed_value_a_base_and_an_exclusion(read: Read) -> None:
    spec = read(VALID, "parameters.compile={choice: [on, off]}", "parameters.precision={value: tf32}").spec
    assert spec.parameters["compile"].edges() == ("on", "off")
    spec = read(
        VALID, "factors.compile=[on, off]", "design=one_at_a_time", "base.compile=off", "exclude=[{compile: on}]"
    ).spec
    assert (spec.base["compile"], spec.exclude[0]["compile"]) == ("off", ("on",))
    assert Configuration.model_validate({"compile": True}).compile == "on"


@pytest.mark.parametrize("precision", ["tf32", "float16"])
@pytest.mark.parametrize("form", ["factors.precision=[float32, {}]", "parameters.precision={{choice: [{}, bfloat16]}}"])
def test_a_precision_that_no_cpu_has_is_refused_before_the_search_and_allowed_on_gpus(
    read: Read, precision: str, form: str
) -> None:
    override = form.format(precision)
    assert read(VALID, override).spec.resources.uses_gpu
    rule = f"precision must be auto, float32 or bfloat16 on a CPU, got {precision}; request a GPU with resources.gpu"
    with pytest.raises(SpaceFileError, match=rule):
        read(WITHOUT_GPU, override)


def test_the_position_of_a_refused_precision_is_its_line(read: Read) -> None:
    text = WITHOUT_GPU.replace("  depth:", "  precision: {value: tf32}\n  depth:")
    with pytest.raises(SpaceFileError, match=r"on a CPU, got tf32; .* \(space.yaml:11\)"):
        read(text)


@pytest.mark.parametrize(("name", "other"), [("precision", "float32"), ("compile", "off")])
def test_auto_among_several_values_is_refused_as_it_stands_for_one_of_them(read: Read, name: str, other: str) -> None:
    with pytest.raises(SpaceFileError, match=rf"{name} must not have auto among several values, got .*'auto'"):
        read(VALID, f"factors.{name}=[auto, {other}]")
    with pytest.raises(SpaceFileError, match=rf"{name} must not have auto among several values, got .*'auto'"):
        read(VALID, f"parameters.{name}={{choice: [{other}, auto]}}")


def test_an_unknown_precision_lists_the_known_ones(read: Read) -> None:
    with pytest.raises(SpaceFileError, match=r"precision: .*'bfloat16' or 'float16', got 'float61'"):
        read(VALID, "factors.precision=[float61, float32]")
