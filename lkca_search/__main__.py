"""`python -m lkca_search`: the command line where the package was shipped to and not installed, as a Ray job's is."""

import os
import sys

from lkca_search.errors import UserError
from lkca_search.search.jobs.versions import check_versions


def main() -> None:
    """Compare versions with the submitter's, then run the command line; what differs may break its very imports."""
    try:
        check_versions(os.environ)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from lkca_search.cli import app

    app.main()


if __name__ == "__main__":
    main()
