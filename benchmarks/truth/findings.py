"""Printer of result tables that collects the values outside their limits."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from tests.support.statistics.coverage import Coverage


class Findings:
    """Printer of result tables and collector of values outside their limits."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._console = Console(width=140)

    def show(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], expected: str) -> None:
        """Print one table with the expected values as its caption."""
        table = Table(*columns, title=title, caption=f"expected: {expected}", title_justify="left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)
        self._console.print()

    def check(self, name: str, value: float, minimum: float, maximum: float) -> bool:
        """Return True if the value is within its limits; record it otherwise."""
        passed = minimum <= value <= maximum
        if not passed:
            self.failed.append(f"{name} must be from {minimum:g} to {maximum:g}, got {value:.4g}")
        return passed

    def share(self, name: str, value: float, minimum: float, maximum: float) -> str:
        """Check a share and return it in percent, marked with ! if it is outside its limits."""
        return f"{100 * value:.1f}" + ("" if self.check(name, value, minimum, maximum) else " !")


def percent(coverage: Coverage) -> str:
    """Return the rate of a coverage in percent."""
    return f"{100 * coverage.rate:.1f}"
