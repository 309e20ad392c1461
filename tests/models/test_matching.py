"""Width that gives a family its target number of parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lkca_search.errors import Problem, UserError
from lkca_search.models.cost import count_parameters
from lkca_search.models.registry import FAMILIES, build_model, problems, resolve
from lkca_search.spec.configuration import Configuration, ImageShape

SHAPE = ImageShape(32, 32, 3)
TARGETS = (100_000, "250k", "1.0M", 5_000_000)
# A kernel a head is 225 parameters in each of 9 blocks, and 37 and 38 have no divisor near 8 heads.
UNMATCHED = {("lkca_grouped", 100_000): "nearest: 95311 at depth 9 and width 36 and 116152 at depth 9 and width 39"}


def matching(family: str, target: object, **values: object) -> Configuration:
    return Configuration.model_validate({"family": family, "match_parameters": target, **values})


def size(configuration: Configuration, shape: ImageShape = SHAPE, num_classes: int = 10) -> int:
    with torch.device("meta"):
        return count_parameters(build_model(configuration, shape, num_classes))


@pytest.mark.parametrize(
    ("family", "target"), [(key, target) for key in FAMILIES for target in TARGETS if (key, target) not in UNMATCHED]
)
def test_every_family_is_matched_within_three_percent_and_resolving_is_idempotent(family: str, target: object) -> None:
    configuration = matching(family, target)
    resolved = resolve(configuration, SHAPE, 10)
    assert size(resolved) == pytest.approx(configuration.match_parameters, rel=0.03)
    assert resolve(resolved, SHAPE, 10) == resolved


@pytest.mark.parametrize(("family", "target", "nearest"), [(*key, nearest) for key, nearest in UNMATCHED.items()])
def test_an_impossible_size_of_a_family_is_refused_with_the_nearest_sizes(
    family: str, target: int, nearest: str
) -> None:
    rule = f"match_parameters must be within 3% of a possible size of {family}, got {target}; {nearest}"
    assert list(problems(matching(family, target), SHAPE, 10)) == [Problem(("match_parameters",), rule)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_below_the_smallest_model_is_refused(family: str) -> None:
    (problem,) = problems(matching(family, 20), SHAPE, 10)
    assert problem.location == ("match_parameters",)
    assert problem.rule.startswith(f"match_parameters must be within 3% of a possible size of {family}, got 20;")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_width_set_by_the_user_must_match_the_target(family: str) -> None:
    width = 64
    has = size(Configuration(family=family, width=width))
    agreed = matching(family, has + 1, width=width)
    assert resolve(agreed, SHAPE, 10).width == width
    step = "remove width, which match_parameters sets"
    rule = f"width must match match_parameters ({2 * has}); {step}: got {has} parameters of width {width}"
    assert list(problems(matching(family, 2 * has, width=width), SHAPE, 10)) == [Problem(("width",), rule)]


@pytest.mark.parametrize("values", [{"num_heads": 2}, {"num_heads": 3, "depth": 3}, {"num_heads": 4}])
@pytest.mark.parametrize("family", ["vit", "timm_vit", "swin", "cct", "lkca_grouped"])
def test_heads_set_by_the_user_are_kept(family: str, values: dict[str, int]) -> None:
    resolved = resolve(matching(family, 4_000_000, **values), SHAPE, 10)
    assert resolved.num_heads == values["num_heads"]
    assert resolved.width is not None
    assert family == "swin" or resolved.width % values["num_heads"] == 0


@settings(max_examples=25)
@given(target=st.integers(20_000, 20_000_000), classes=st.integers(2, 200), side=st.sampled_from([28, 32, 64]))
def test_a_matched_width_is_the_nearest_and_a_larger_size_is_not_narrower(target: int, classes: int, side: int) -> None:
    shape = ImageShape(side, side, 1)
    width, wider = (resolve(matching("convmixer", target * times, depth=4), shape, classes).width for times in (1, 2))
    assert width is not None
    assert wider is not None
    assert width < wider
    errors = [
        abs(size(Configuration(family="convmixer", depth=4, width=near), shape, classes) - target)
        for near in (width - 1, width, width + 1)
    ]
    assert min(errors) == errors[1]


@pytest.mark.parametrize("target", [1_000_000, "1.0M", "1000k"])
def test_a_size_may_have_a_suffix_k_or_M(target: object) -> None:
    assert matching("vit", target).match_parameters == 1_000_000


@pytest.mark.parametrize("family", ["timm:resnet18", "LKCA-T", "ResNet-20"])
def test_a_model_whose_width_is_fixed_cannot_be_matched(family: str) -> None:
    with pytest.raises(UserError, match=f"^match_parameters does not apply to (family|preset) {family}"):
        resolve(matching(family, 1_000_000), SHAPE, 10)
