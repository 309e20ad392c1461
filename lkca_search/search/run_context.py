"""Context of a run, given by the command line, and its outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lkca_search.layout import Home
from lkca_search.records.record import RecordReader
from lkca_search.search.state.status import SearchStatus
from lkca_search.tracking.faults import Fault
from lkca_search.tracking.tracker import Tracker
from lkca_search.training.images import DataDirs

if TYPE_CHECKING:
    from lkca_search.search.ray_backend.session import RaySession


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Machine, cluster and terminal that a search runs on."""

    home: Home
    """Home of all searches."""
    data_dirs: DataDirs
    """Folders of images, on every node."""
    console: Tracker
    """Tracker that shows progress in the terminal."""
    reader: RecordReader | None = None
    """Reader that has read the search's records already; None for a new one."""
    notify: Callable[[str], None] = lambda _: None
    """Function that prints a line for the user: waiting trials, a stop, the round that is confirmed."""
    address: str | None = None
    """Address of the Ray cluster; None for a local one."""
    num_cpus: int | None = None
    """Cores of the local cluster; None for all."""
    session: "RaySession | None" = None
    """Session with Ray, which the driver ends; None for a new one with this address and these cores."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """State of a search after its driver has ended."""

    status: SearchStatus
    """Status of the search."""
    halt_reason: str | None
    """Reason for starting no further trial; None if no trial is left."""
    num_untracked: int
    """Number of finished trials and replicates that MLflow lacks."""
    tracking_fault: Fault | None
    """Latest fault of MLflow; None if there was none."""
    is_fault_told: bool = False
    """True if this fault was printed while the search ran."""
