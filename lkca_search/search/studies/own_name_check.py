"""Check that a name of your own is given to families of your own alone."""

from collections.abc import Iterator
from itertools import islice

from lkca_search.errors import Problem
from lkca_search.own_code import is_dotted
from lkca_search.spec.cells import cells
from lkca_search.spec.configuration import Scalar
from lkca_search.spec.domains import Domain
from lkca_search.spec.search_spec import SearchSpec

_MAX_COMBINATIONS = 20_000


def find_foreign_names(spec: SearchSpec) -> Iterator[Problem]:
    """Yield each name of your own that a configuration of another family has, such as `lkca`."""
    in_conditions = {name for domain in spec.parameters.values() for name in domain.when} | {"family"}

    def edges(name: str, domain: Domain) -> tuple[Scalar, ...]:
        return domain.edges() if name in in_conditions else domain.edges()[:1]

    own_families = ", ".join(family for family in map(str, spec.families) if is_dotted(family))
    found: set[str] = set()
    for cell in cells(spec) if spec.own_names else ():
        for chosen in islice(spec.space.branch(edges, cell.levels), _MAX_COMBINATIONS):
            family = str(chosen["family"]) if "family" in chosen else None
            for name in spec.own_names:
                if name in chosen and name not in found and not (family and is_dotted(family)):
                    found.add(name)
                    section = "factors" if name in spec.factors else "parameters"
                    rule = f"{name} is no name of family {family or 'lkca'}; give it when: {{family: [{own_families}]}}"
                    yield Problem((section, name), rule)
