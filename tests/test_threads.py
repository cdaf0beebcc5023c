"""How torch's threads wait, which decides how fast everything is while another program takes a core."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP, which torch has on Linux")
def test_threads_of_torch_do_not_spin() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    said = subprocess.run(
        [sys.executable, "-c", "import physadv, torch"],
        env={**kept, "OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert "GOMP_SPINCOUNT = '0'" in said
