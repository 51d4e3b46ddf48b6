"""Log records on one line each; the traceback is in the log file and on the page of failures."""

from __future__ import annotations

import logging


class OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        return " ".join(self.formatMessage(record).split())
