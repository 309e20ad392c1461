"""Function `plan`: size, cost and duration of a search that is not started."""

from pathlib import Path
from typing import TYPE_CHECKING

from lkca_search.api.home import local_data_dirs, open_home
from lkca_search.api.space import Overrides, check_at_least, read_space
from lkca_search.faults import explained_faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from lkca_search.data.readers.download_cache import Progress
    from lkca_search.search.planning.plan import Plan


@explained_faults()
def plan(
    space: str | Path,
    overrides: Overrides = (),
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    calibrate: bool = False,
    home: str | Path | None = None,
    on_download: "Progress | None" = None,
    on_measured: "Callable[[int, int], None] | None" = None,
) -> "Plan":
    """Return the trials of a search, their cost and the duration. Nothing is trained.

    Args:
        space: Space file (YAML).
        overrides: Changes to the space file, `["search.trials_per_cell=4"]` or `{"search.trials_per_cell": 4}`.
        num_cpus: Cores to plan for; by default all cores of this machine.
        num_gpus: GPUs to plan for; by default 1 if trials use a GPU and this machine has one, else 0.
        calibrate: True to time a few configurations for about a minute; torch is then deterministic in this process.
        home: Folder of searches and datasets; by default LKCA_SEARCH_HOME, else `./lkca_runs`.
        on_download: Called with the file, the received bytes and all bytes while a dataset is downloaded.
        on_measured: Called with the numbers of timed and of all configurations.

    Raises:
        SpaceFileError: The space file breaks a rule, or a configuration cannot be trained.
        DataError: A dataset cannot be read.
        SearchError: No trial fits on the machine.
    """
    check_at_least(1, num_cpus=num_cpus)
    check_at_least(0, num_gpus=num_gpus)
    opened = open_home(home)
    space_file = read_space(space, overrides, opened)
    from lkca_search.data.readers.download_cache import no_progress
    from lkca_search.search.planning.planner import make_plan
    from lkca_search.training.images import check_test_classes, open_all_train_images

    data_dirs = local_data_dirs(opened)
    check_test_classes(space_file.spec, data_dirs)
    open_all_train_images(space_file.spec, data_dirs, progress=on_download or no_progress)
    return make_plan(
        space_file,
        data_dirs,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        calibrate_speed=calibrate,
        on_measured=on_measured or _ignore,
    )


def _ignore(num_done: int, num_all: int) -> None:
    pass
