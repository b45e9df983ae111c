"""Reading command lines: what the commands of ./run_all.sh share."""

from __future__ import annotations

import argparse
from typing import NoReturn

from helpers.settings import LabError, did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    def error(self, message: str) -> NoReturn:
        """Raise LabError, with the option that was meant where one is close."""
        known = [option for action in self._actions for option in action.option_strings]
        words = message.partition("unrecognized arguments: ")[2].split()
        hint = did_you_mean(words[0], known) if words else ""
        raise LabError(f"{message}{hint}; {self.prog} --help shows what there is")
