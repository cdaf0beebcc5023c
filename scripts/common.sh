# Sourced by demo.sh and test.sh: make .venv beside this folder and install the project into it, once per pyproject.toml.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PY="$VENV/bin/python"

say() { printf '%s\n' "$*" >&2; }

find_python() {
  local candidate
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

# apt_install PACKAGE...: true if Debian's packages are installed now; only as root, and never asks or hangs.
apt_install() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then return 1; fi
  say "installing with apt-get: $*"
  export DEBIAN_FRONTEND=noninteractive
  { timeout 120 apt-get update -qq; timeout 400 apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null 2>&1
}

make_venv() {
  # A folder without a working pip is what an interrupted run leaves behind.
  if [ -x "$PY" ] && "$PY" -m pip --version >/dev/null 2>&1; then return; fi
  local python
  python="$(find_python)" || exit 2
  say "making $VENV"
  "$python" -m venv --clear "$VENV" >/dev/null 2>&1 && return
  apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" &&
    "$python" -m venv --clear "$VENV" && return
  say "could not make a virtual environment with $python; on Debian: apt-get install python3-venv"
  exit 2
}

# OpenCV's wheel needs two of the system's libraries that a bare server lacks.
check_opencv() {
  local error
  if error="$("$PY" -c 'import cv2' 2>&1)"; then return; fi
  apt_install libgl1 libglib2.0-0 && "$PY" -c 'import cv2' 2>/dev/null && return
  say "OpenCV does not load: ${error##*$'\n'}"
  say "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
  exit 2
}

# install_project EXTRAS: idempotent; the stamp names what was installed, so a second run starts at once.
install_project() {
  local extras="$1" want have="" stamp="$VENV/.installed"
  # Where it was installed counts too: a copied folder still points at the original.
  want="$(printf '%s' "$ROOT" | cat - "$ROOT/pyproject.toml" | cksum)"
  if [ -f "$stamp" ]; then have="$(cat "$stamp")"; fi
  # "all" has the development tools, and so everything that "run" has.
  if [ -x "$PY" ] && { [ "$have" = "all $want" ] || { [ -z "$extras" ] && [ "$have" = "run $want" ]; }; }; then return; fi
  make_venv
  rm -f "$stamp"
  say "installing physadv and what it needs into $VENV (gigabytes and minutes the first time)"
  local quiet=(--quiet)
  if [ -t 2 ]; then quiet=(); fi
  "$PY" -m pip install "${quiet[@]+"${quiet[@]}"}" --disable-pip-version-check -e "$ROOT$extras" >&2 ||
    { say "the installation failed; see the lines above"; exit 2; }
  check_opencv
  printf '%s' "$([ -z "$extras" ] && echo run || echo all) $want" > "$stamp"
}
