"""The README's Python example, run as it stands but for the minutes that it trains."""

import re
from pathlib import Path

import pytest

import physadv
from physadv.arrays import write_png
from physadv.capture.sample import SampleSource
from physadv.capture.settings import CaptureSettings

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    example, shortened = re.subn(r"minutes=[\d.]+", "steps=2", found[1])
    assert shortened == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHYSADV_CACHE", str(tmp_path / "cache"))
    camera = SampleSource(CaptureSettings(width=320, height=240))
    for name, first in (("photos", 0), ("test-photos", 50)):
        for index in range(first, 80, 20):
            write_png(tmp_path / name / f"{index}.png", camera.image(index))
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert isinstance(names["pattern"], physadv.Patch)
    assert {cell.condition for cell in names["results"].cells} >= {"none", "grey", "shuffled", "patch"}  # type: ignore[attr-defined]
