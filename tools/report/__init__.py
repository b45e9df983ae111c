"""The members' report: from a run's records and `my_report/` to PDF, Word and Markdown."""
