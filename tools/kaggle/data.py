"""`./run_all.sh --data kaggle`: the lab's data from Kaggle, kept in kagglehub's own cache."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from requests.exceptions import HTTPError, RequestException

from helpers.folders import find_data
from helpers.machinery.files import LabError
from tools.kaggle.client import explained

DATA_SET = "geoparslp/patreco3-multitask-affective-music"
PAGE = f"https://www.kaggle.com/datasets/{DATA_SET}"
_HINTS = {404: "the data set is gone or was renamed; see data_links.md for other ways to the data"}


def fetch_data() -> Path:
    """The folder with the lab's data, downloaded where the cache does not hold them yet.

    Shows how far it is; a download that broke off goes on where it stopped. A token is used when
    there is one, and asked for only when Kaggle wants it. Without network, what was fetched before
    is taken. Raises LabError when the data cannot be had.
    """
    import kagglehub  # takes a second, and is seldom needed
    from kagglehub.exceptions import DataCorruptionError

    try:
        return find_data(kagglehub.dataset_download(DATA_SET))
    except RequestException as error:  # an OSError, too: it must stand first
        before = None if isinstance(error, HTTPError) else _fetched_before()
        if before is None:
            raise LabError(explained(error, PAGE, _HINTS)) from error
        print(f"no connection to Kaggle; taking what was fetched before: {before}")
        return find_data(before)
    except (zipfile.BadZipFile, tarfile.TarError, DataCorruptionError, ValueError) as error:
        for archive in _cache().glob("*.archive"):
            archive.unlink()
        raise LabError(
            f"{PAGE}: what was downloaded is damaged ({str(error).strip().splitlines()[0]}) and "
            "was deleted; give the same command again"
        ) from error
    except OSError as error:
        raise LabError(
            f"{_cache()}: the data cannot be stored ({error.strerror or error}); free some space, "
            "or name another folder with KAGGLEHUB_CACHE"
        ) from error


def _cache() -> Path:
    """Where kagglehub keeps this data set: the archive while it downloads, a folder per version."""
    from kagglehub.config import get_cache_folder

    return Path(get_cache_folder(), "datasets", *DATA_SET.split("/"))


def _fetched_before() -> Path | None:
    """The newest version that kagglehub has marked as complete; None where there is none."""
    versions = [int(mark.stem) for mark in _cache().glob("*.complete") if mark.stem.isdecimal()]
    return _cache() / "versions" / str(max(versions)) if versions else None
