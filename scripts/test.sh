#!/usr/bin/env bash
# Make .venv, install with the development tools, run every check. Arguments go to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install_project "[dev]"
cd "$ROOT"

# The page is tested in a real Chromium. Where we are root on Debian we bring it; elsewhere its tests say that they skip.
if ! command -v chromium >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  say "installing chromium and poppler-utils"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium poppler-utils; } >/dev/null 2>&1 ||
    say "chromium could not be installed: the browser tests will skip"
fi

"$PY" -m ruff check .
"$PY" -m ruff format --check .
"$PY" -m mypy
"$PY" -m pytest "$@"
