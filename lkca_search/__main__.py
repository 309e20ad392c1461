"""Entry point of `python -m lkca_search`, for a Ray job, where the package is shipped but not installed."""

import os
import sys

from lkca_search.errors import UserError
from lkca_search.search.jobs.versions import check_versions


def main() -> None:
    """Compare the installed versions with the submitter's, then run the command line."""
    try:
        check_versions(os.environ)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # Imported only now: other versions may break the imports themselves.
    from lkca_search.cli import app

    app.main()


if __name__ == "__main__":
    main()
