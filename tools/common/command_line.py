"""What the commands of ./run_all.sh share: their options, errors in one line, exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from helpers.machinery.files import LabError, did_you_mean, one_line

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
MOST_LETTERS = 4096  # of a value: as long as a path may be, and Python reads such a number


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line."""

    also_known: Sequence[str] = ()  # words that may stand where an unknown one stands

    def parse_args(self, *arguments: Any, **more: Any) -> Any:
        """As argparse does; words cut short, and empty or endless values, are mistakes.

        A value is empty where a shell variable is not set. A help text of several lines is shown as
        it is written.
        """
        self.allow_abbrev = False
        if "\n" in f"{self.description}{self.epilog}":
            self.formatter_class = argparse.RawDescriptionHelpFormatter
        options = super().parse_args(*arguments, **more)
        for name, value in vars(options).items():
            option = f"--{name.replace('_', '-')}"
            if value == "":
                self.error(f"{option} is empty; leave it out or give a value")
            if isinstance(value, str) and len(value) > MOST_LETTERS:
                self.error(f"{option} has {len(value)} letters; give at most {MOST_LETTERS}")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise LabError, with the option that was meant where one is close."""
        known = [option for action in self._actions for option in action.option_strings]
        known += self.also_known
        words = message.partition("unrecognized arguments: ")[2].split()
        hint = did_you_mean(words[0], known) if words else ""
        raise LabError(f"{message}{hint}; {self.prog} --help shows what there is")


def run_command(
    main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None
) -> int:
    """Run a command with these arguments, by default the process's own; return the exit code.

    A LabError becomes one line, and so does what the machine refuses (a full disk, no more files).
    A polite kill or a closed terminal ends the command as cleanly as Ctrl-C does.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores the closed terminal
            signal.signal(number, signal.default_int_handler)
    try:
        code = main(list(sys.argv[1:] if arguments is None else arguments))
        print(end="", flush=True)  # while what goes wrong with it can still be said
        return code
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (OSError, MemoryError) as error:
        with suppress(OSError):
            print(end="", flush=True)
        sys.stdout = None  # else Python tries once more to write what was refused, and complains
        if not isinstance(error, BrokenPipeError):  # as of `| head`, which has read enough
            print(f"error: {one_line(error)}; mend that and run this again", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
