#!/usr/bin/env bash
# Make .venv, install, run the live demo. Flags go to `physadv live`; see README.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
install_project ""
# -P: a file in the folder this is called from must not stand in for a module.
exec "$PY" -P -m physadv live "$@"
