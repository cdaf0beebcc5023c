#!/usr/bin/env bash
# Make .venv, install with the development tools and the engines of `scale`, run every check, the tests in a process a core,
# four at most. Arguments go to pytest: `-n 0` runs the tests in one process, as --pdb and -s want it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install_project "[dev,scale]"
cd "$ROOT"

# The page is tested in a real Chromium, printed sheets with poppler. Where we are root on Debian we bring both; elsewhere
# the tests that want them say that they skip.
missing=()
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
command -v pdftoppm >/dev/null 2>&1 || missing+=(poppler-utils)
if [ ${#missing[@]} -gt 0 ]; then
  apt_install "${missing[@]}" || say "not installed: ${missing[*]}; the tests that need them will skip"
fi

"$PY" -m ruff check .
"$PY" -m ruff format --check .
"$PY" -m mypy
"$PY" -m pytest -n logical --maxprocesses 4 --dist worksteal "$@"
