"""A run on one page: `write_report(run)` writes report.html, which can be read offline, and its pictures."""

from gendi.report.write import write_report

__all__ = ["write_report"]
