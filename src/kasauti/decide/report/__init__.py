"""trial.json → one page. `render_report(trial)` gives the HTML; `write_report(trial, path)` puts it on disk whole."""

from kasauti.decide.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
