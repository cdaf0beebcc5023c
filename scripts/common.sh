# Sourced by demo.sh and test.sh: make .venv beside this folder and install the project into it, once per pyproject.toml.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PY="$VENV/bin/python"

say() { printf '%s\n' "$*" >&2; }

find_python() {
  for candidate in python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 13)))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  say "physadv needs Python 3.11 or 3.12 (the embedded detector's package stops there); found: $(python3 --version 2>&1 || echo none)"
  exit 2
}

# install EXTRAS: idempotent; the stamp names what was installed, so a second run starts at once.
install_project() {
  local extras="$1" stamp="$VENV/.installed${1//[^a-z]/-}" want
  want="$(sha256sum "$ROOT/pyproject.toml" | cut -d' ' -f1)"
  if [ -x "$PY" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
  if [ ! -x "$PY" ]; then
    local python
    python="$(find_python)" || exit 2
    say "making $VENV"
    "$python" -m venv "$VENV" || { say "could not make a virtual environment; on Debian: apt-get install python3-venv"; exit 2; }
  fi
  say "installing physadv and what it needs (minutes the first time)"
  "$PY" -m pip install --quiet --disable-pip-version-check -e "$ROOT$extras" || { say "the installation failed; see the lines above"; exit 2; }
  printf '%s' "$want" > "$stamp"
}
