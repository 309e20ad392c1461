"""Spec of a started search, read from any intact copy of its `spec.json`."""

from lkca_search.errors import SearchError
from lkca_search.layout import SearchFolder
from lkca_search.records.finding import DamagedError, Finding, read_stored, repair_command
from lkca_search.spec.search_spec import SearchSpec


def read_spec(folder: SearchFolder) -> SearchSpec:
    """Read the spec of a started search.

    Raises:
        DamagedError: Every copy of the spec is damaged.
        SearchError: There is no copy.
    """
    spec, findings = scan_specs(folder)
    if spec is not None:
        return spec
    if findings:
        raise DamagedError(findings[0])
    raise SearchError(f"search {folder.name!r} must have a spec, got no file {folder.spec}")


def find_spec(folder: SearchFolder) -> SearchSpec | None:
    """Return the spec of a search, from its folder or its storage; None if no intact copy exists."""
    return scan_specs(folder)[0]


def scan_specs(folder: SearchFolder) -> tuple[SearchSpec | None, list[Finding]]:
    """Return the first intact copy of the spec, None if there is none, and a finding per damaged copy."""
    intact, findings = [], []
    remedy = f"{repair_command(folder.name)}, or run the space file of the search again under this name"
    for path in folder.specs:
        try:
            intact.append(read_stored(path, SearchSpec, remedy=remedy))
        except DamagedError as error:
            findings.append(error.finding)
        except FileNotFoundError:
            pass
    return (intact[0] if intact else None), findings
