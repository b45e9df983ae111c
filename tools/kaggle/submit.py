"""`./run_all.sh submit`: sends a run's solution.txt to the Kaggle competition, once it is whole."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from requests.exceptions import RequestException

from helpers.evaluation import Score
from helpers.folders import MULTITASK, find_data, inspect_clips
from helpers.machinery.files import LabError, read_json, write_atomically
from helpers.notebook.records import HELD_OUT, RESULTS
from helpers.notebook.soundness import data_fingerprint
from helpers.submission import check_solution
from tools.common.command_line import Parser, run_command
from tools.common.run_folder import SUMMARY, Paths, command_of, find_run
from tools.kaggle.client import asking, explained, sign_in, words_of

COMPETITION = "multitask-affective-music-lab-2022"
NOTEBOOK = "11_kaggle_submission"
SOLUTION, SCORE = "solution.txt", "kaggle_score.txt"
POLL_SECONDS, WAIT_SECONDS = 5.0, 300.0
_CLOSED = re.compile(r"\b(closed|ended|deadline|disabled|no longer|not accepting)\b", re.IGNORECASE)
_CLOSED_ADVICE = "the competition is closed: the expected score is what you can report"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code. Raises LabError for all that goes wrong."""
    options = _parser().parse_args(list(arguments))
    run = find_run(options.run)
    model, expected, n_clips = expectation(run)
    solution, n_rows = checked_solution(run)
    print(f"{solution}: whole, {n_rows} rows, one per test clip")
    print(f"model: {model}")
    print(f"expected mean Spearman: {expected}, from {n_clips} held-out clips")
    message = options.message or f"{model}, run {run.name}"
    page = f"https://www.kaggle.com/c/{options.competition}"
    if options.dry_run:
        print(f"dry run, nothing was sent; would go to {page} with the message {message!r}")
        return 0
    if read_json(run / SUMMARY)["data"]["demo"]:
        raise LabError(
            f"{run}: is a run on the demo set, for which there is no competition; run the lab on "
            "its own data (--data), then submit that run"
        )
    answer = send(sign_in(), solution, message, options.competition)
    write_atomically(run / SCORE, f"{answer}\n")
    print(f"Kaggle's score: {answer}, expected {expected}")
    print(f"stored in {run / SCORE}; notebook 11 compares the two:")
    print(f"  {command_of(run)} --only 11 --force")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh submit",
        description="Check solution.txt, show what score is expected, send it to the Kaggle "
        "competition, and store the score for notebook 11.",
    )
    add = parser.add_argument
    add("--run", metavar="NAME", help="a run below runs/ (default: the newest)")
    add("--competition", metavar="SLUG", default=COMPETITION, help="default: %(default)s")
    add("--message", metavar="TEXT", help="what to write beside it (default: model and run)")
    add("--dry-run", action="store_true", help="check and show everything, and send nothing")
    return parser


def expectation(run: Path) -> tuple[str, Score, int]:
    """The model that notebook 11 of a run chose, its mean Spearman and the number of clips.

    Raises LabError when it has not run.
    """
    path = Paths(run, NOTEBOOK).record / RESULTS
    if not path.is_file():
        raise LabError(
            f"{path}: not there, so there is nothing to submit yet; give {command_of(run)} "
            "--only 11 first"
        )
    table = pd.read_csv(path)
    row = table[(table["test_set"] == HELD_OUT) & (table["metric"] == "mean Spearman")].iloc[0]
    score = Score(row["value"], row["low"], row["high"], "see notebook 11")
    return row["model"], score, int(row["n"])


def checked_solution(run: Path) -> tuple[Path, int]:
    """A run's solution.txt and its number of rows.

    Raises LabError unless it is a whole submission for the test clips of the data of that run.
    """
    path = run / SOLUTION
    summary = read_json(run / SUMMARY)
    root = find_data(summary["data"]["folder"])
    if data_fingerprint(root) != summary["data"]["fingerprint"]:
        raise LabError(
            f"{root}: the data have changed since {run.name!r} was run; run it again: "
            f"{command_of(run)}"
        )
    ids = inspect_clips(root / MULTITASK, "test")[0]["id"].tolist()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: cannot be read ({error}); run notebook 11 again") from error
    check_solution(text, ids, str(path))
    return path, len(ids)


def send(client: Any, solution: Path, message: str, competition: str) -> float:
    """Submit a file with Kaggle's client, wait for the answer, and return the public score.

    Raises LabError when the competition does not take it, or gives no score within some minutes.
    """
    page = f"https://www.kaggle.com/c/{competition}"
    join = f"join it and accept its rules at {page}/rules, then give the same command again"
    try:
        response = client.competition_submit(str(solution), message, competition)
    except RequestException as error:
        closed = _CLOSED_ADVICE if _CLOSED.search(words_of(error)) else ""
        hints = {403: join, 404: "check --competition"}
        raise LabError(explained(error, page, hints, closed)) from error
    if not response.ref:
        raise LabError(f"{page}: not accepted ({response.message}); give the same command again")
    print(f"sent to {page}; waiting for the score")
    submission = _scored(client, competition, response.ref, page)
    for score in (submission.public_score, submission.private_score):
        with suppress(TypeError, ValueError):  # hidden, while the competition runs
            if math.isfinite(float(score)):
                return float(score)
    raise LabError(f"{page}/submissions: shows no score; look there, and see its rules")


def _scored(client: Any, competition: str, ref: int, page: str) -> Any:
    """The submission when Kaggle has scored it."""
    by_hand = f"look at {page}/submissions, and write the score into {SCORE} in the run's folder"
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        with asking("sent, but the answer could not be read", by_hand):
            found = client.competition_submissions(competition) or []
        for submission in found:
            if submission.ref == ref and submission.status.name == "ERROR":
                reason = submission.error_description or "without saying why"
                raise LabError(f"{page}: Kaggle could not score it ({reason}); {by_hand}")
            if submission.ref == ref and submission.status.name == "COMPLETE":
                return submission
    raise LabError(f"sent, but not scored within {WAIT_SECONDS / 60:.0f} minutes; {by_hand}")


if __name__ == "__main__":
    sys.exit(run_command(main))
