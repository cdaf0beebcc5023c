"""Official models fetched by ultralytics' own download."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from ultralytics.utils import LOGGER
from ultralytics.utils.downloads import attempt_download_asset

from physadv.errors import WeightsError


def download(target: Path) -> None:
    """Fetch an official ultralytics model to `target`, whose folder exists.

    Raises: WeightsError if there is no such model or no network.
    """
    level = LOGGER.level
    LOGGER.setLevel(logging.CRITICAL)
    try:
        attempt_download_asset(str(target))
    except Exception as error:  # ultralytics raises many kinds: URL error, assertion, HTTP status
        reason = re.sub(r"[^ -~]+", " ", str(error)).strip(" .")
        raise WeightsError(
            f"{target.name} is not a file here and could not be fetched ({reason})",
            field="detector",
            hint="give the path of a .pt file",
        ) from error
    finally:
        LOGGER.setLevel(level)
    if not target.is_file():
        raise WeightsError(
            f"{target.name} is not a file here, nor a model ultralytics offers for download", field="detector"
        )
