"""Code of others: the examples of docs/plugins.md work, and what a plug-in does wrong is said in one line with its name."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from physadv.capture import is_live, open_source
from physadv.cli import main
from physadv.cli.config import read_config
from physadv.defend import known_defences, parse_pipeline
from physadv.detect import check_attackable, load_detector, load_gradient_detector
from physadv.detect.names import UltralyticsName, parse_name
from physadv.detect.plugin import PluginDetector, PluginGradient
from physadv.detect.weights import Weights, find_weights
from physadv.errors import (
    DefenceError,
    EndOfStream,
    PhysadvError,
    PluginError,
    SettingsError,
    SourceError,
    WeightsError,
)
from physadv.tune.origin import origin_of
from physadv.types import Frame, GradientDetector, Source

ROOT = Path(__file__).parent
FOLDER = ROOT / "plugin"
IMAGE = np.full((128, 160, 3), 60, np.uint8)
IMAGE[16:112, 48:96] = (30, 220, 40)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the examples, as if it were installed."""
    monkeypatch.syspath_prepend(str(FOLDER))


def one_line(kind: type[PhysadvError], task: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        task()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_documentation_has_the_examples_word_for_word() -> None:
    text = (ROOT.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name in ("detector", "defence", "source"):
        code = (FOLDER / "example" / f"{name}.py").read_text(encoding="utf-8")
        assert f"```python\n{code}```" in text and 20 <= len(code.splitlines()) <= 35, name
    entries = (FOLDER / "example-1.0.dist-info" / "entry_points.txt").read_text(encoding="utf-8")
    for line in (line for line in entries.splitlines() if "=" in line):
        name, _, value = line.partition(" = ")
        assert f'{name} = "{value}"' in text


@pytest.mark.parametrize("name", ["green", "example.detector:GreenPeople"])
def test_a_detector_finds_and_has_gradients(name: str) -> None:
    detector = load_detector(name)
    (found,) = detector.detect_batch([IMAGE])
    np.testing.assert_allclose(found.xyxy[0], [48, 16, 96, 112], atol=8)
    assert found.score[0] > 0.9 and (np.diff(found.score) <= 0).all() and (found.score >= 0.05).all()
    attacked = load_gradient_detector(name, device="cpu")
    assert isinstance(attacked, GradientDetector) and attacked.stride == 32
    assert len(detector.sha256 or "") == 64 and detector.sha256 == attacked.sha256 == attacked.fingerprint()
    images = torch.from_numpy(IMAGE[None]).permute(0, 3, 1, 2).float().div(255).requires_grad_()
    (slope,) = torch.autograd.grad(attacked.candidates(images).logit.sum(), images)
    assert slope.abs().sum() > 0


def test_a_defence_is_listed_guards_and_has_a_twin(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = parse_pipeline("median,blur:sigma=9")
    assert pipeline.text == "median,blur:sigma=9.0"
    detector = load_detector("green")
    guarded = pipeline.guard(detector)
    # As large as the detector looks at, so that a defence works on these very pixels.
    wide = np.full((480, 640, 3), 60, np.uint8)
    wide[:128, :160] = IMAGE
    bare, blurred = (d.detect(Frame(wide, 0, 0, 0.0)) for d in (detector, guarded))
    assert 0 < blurred.score[0] < bare.score[0] and blurred.seen is not None and guarded.cost_ms > 0
    images = torch.from_numpy(IMAGE[None]).permute(0, 3, 1, 2).float().div(255).requires_grad_()
    answer = pipeline.twin(load_gradient_detector("green", device="cpu")).candidates(images)
    (slope,) = torch.autograd.grad(answer.logit.sum(), images)
    assert slope.abs().sum() > 0
    assert "blur" in known_defences()[0] and main(["defences", "blur"]) == 0
    assert "width of the blur in pixels" in capsys.readouterr().out
    assert "sigma: expected at most 20" in one_line(DefenceError, lambda: parse_pipeline("blur:sigma=99"))


def test_a_source_is_read_to_its_end(tmp_path: Path) -> None:
    np.save(tmp_path / "film.npy", np.stack([IMAGE, IMAGE // 2]))
    spec = f"stack:{tmp_path / 'film.npy'}"
    source = open_source(spec)
    assert isinstance(source, Source) and not source.live and not is_live(spec)
    first, second = source.read(), source.read()
    assert (first.index, second.index, second.pts_s) == (0, 1, 0.1) and np.array_equal(first.pixels, IMAGE)
    for _ in range(2):
        with pytest.raises(EndOfStream):
            source.read()
        source.close()
    assert "stack:nowhere.npy: its factory failed (FileNotFoundError" in one_line(
        PluginError, lambda: open_source("stack:nowhere.npy")
    )
    assert "or a plug-in's name" in one_line(SourceError, lambda: open_source("nothing:film.npy"))


BOX, SCORE = np.array([[1.0, 2, 3, 4]]), np.array([0.5])
WRONG: list[tuple[Any, str]] = [
    (None, "expected boxes and scores, perhaps keypoints, got NoneType"),
    ((BOX,), "got 1 parts"),
    ((BOX[:, :3], SCORE), "expected boxes of shape (1, 4), got (1, 3)"),
    ((BOX, SCORE[None]), "expected scores of shape (n,), got (1, 1)"),
    ((BOX * np.nan, SCORE), "expected finite boxes, got NaN"),
    ((BOX, SCORE * 7), "expected scores from 0 to 1, got 3.5 to 3.5"),
    ((BOX[:, ::-1], SCORE), "expected boxes x0, y0, x1, y1 with x0 <= x1"),
    ((BOX.astype("U9"), SCORE), "expected boxes of numbers, got ndarray of <U9"),
    ((BOX, SCORE, np.zeros((1, 17, 2))), "expected keypoints of shape (1, 17, 3), got (1, 17, 2)"),
    (ValueError("no camera\nhere"), "its detect failed (ValueError: no camera)"),
]


class Says:
    """A detector that answers with what it is given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def detect(self, image: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def candidates(self, images: Any) -> Any:
        return self.answer(images)


@pytest.mark.parametrize(("answer", "line"), WRONG)
def test_a_wrong_answer_of_a_detector_is_named(answer: Any, line: str) -> None:
    detector = PluginDetector(Says(answer), Weights("mine", Path("mine.py"), "0" * 64, "plug-in"))
    said = one_line(PluginError, lambda: detector.detect_batch([IMAGE]))
    assert said.startswith("mine: ") and line in said
    # What is right but as lists, out of order, or beyond the image, is put right.
    fine = PluginDetector(Says(([[0, 0, 999, 9], [1, 1, 2, 2]], [0.2, 0.9])), detector_weights())
    (found,) = fine.detect_batch([IMAGE])
    np.testing.assert_allclose(found.xyxy, [[1, 1, 2, 2], [0, 0, 160, 9]])


@pytest.mark.parametrize("size", ["large", 0, 32.5, None])
def test_a_size_that_is_none_is_named(size: object) -> None:
    says = Says(None)
    says.imgsz = says.stride = size  # type: ignore[attr-defined]
    for kind, member in ((PluginDetector, "imgsz"), (PluginGradient, "stride")):
        said = one_line(PluginError, partial(kind, says, detector_weights()))
        assert f"mine: its {member}: expected a whole number of pixels, got {size!r}" in said


def detector_weights() -> Weights:
    return Weights("mine", Path("mine.py"), "0" * 64, "plug-in")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (lambda i: i, "expected two tensors, logits and boxes, got Tensor"),
        (lambda i: (torch.zeros(3), torch.zeros(3, 4)), "expected logits of shape (1, a), a at least 1, got (3,)"),
        (lambda i: (i.mean((1, 2, 3))[:, None], torch.zeros(1, 4)), "expected boxes of shape (1, 1, 4), got (1, 4)"),
        (lambda i: (i.mean((1, 2, 3))[:, None] * np.nan, torch.zeros(1, 1, 4)), "expected finite numbers"),
        (lambda i: (i.detach().mean((1, 2, 3))[:, None], torch.zeros(1, 1, 4)), "expected logits with gradients"),
        (lambda i: 1 / 0, "its candidates failed (ZeroDivisionError"),
    ],
)
def test_a_wrong_gradient_is_named(answer: Any, line: str) -> None:
    attacked = PluginGradient(Says(answer), detector_weights())
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert line in one_line(PluginError, lambda: attacked.candidates(images))


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_here.py").write_text(
        "class Blind:\n    def detect(self, image): return [], []\nnumber = 3\ndef broken(): raise OSError('no licence')\n"
        "def empty(): return 3\ndef leaves(): raise SystemExit(3)\n"
    )
    (tmp_path / "mine_worse.py").write_text("import nowhere_at_all\n")
    monkeypatch.chdir(tmp_path)
    for name in ("mine_here", "mine_worse"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def said(name: str) -> str:
        return one_line(PluginError, lambda: load_detector(name))

    assert "there is no module nothing_here; install it, or start from its folder" in said("nothing_here:x")
    assert "the module mine_here has no gone" in said("mine_here:gone")
    assert "cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')" in said("mine_worse:x")
    assert "expected a factory to call, got int" in said("mine_here:number")
    assert "its factory failed (OSError: no licence)" in said("mine_here:broken")
    assert "its factory failed (SystemExit: 3)" in said("mine_here:leaves")
    assert "expected a detector with a method detect, got int without it" in said("mine_here:empty")
    # One that has no gradients finds people, and says so when it is to be attacked.
    blind = load_detector("mine_here:Blind")
    assert len(blind.detect_batch([IMAGE])[0]) == 0 and str(tmp_path) not in sys.path
    wanted = "mine_here:Blind gives no gradients, so nothing can be trained against it; it can be evaluated"
    assert wanted in one_line(PluginError, lambda: check_attackable("mine_here:Blind"))
    assert wanted in one_line(PluginError, lambda: load_gradient_detector("mine_here:Blind"))
    before = find_weights("mine_here:Blind").sha256
    (tmp_path / "mine_here.py").write_text("class Blind:\n    def detect(self, image): return 1\n")
    assert find_weights("mine_here:Blind").sha256 != before
    with pytest.raises(WeightsError, match="expected a network of Ultralytics"):
        from physadv.detect.yolo import load_net

        load_net(find_weights("mine_here:Blind"))


def test_a_name_means_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "physadv.detectors", "other:Green", monkeypatch, name="green")
    said = one_line(PluginError, lambda: load_detector("green"))
    assert "several installed packages declare green: " in said and "other:Green, " in said
    (tmp_path / "own-1.0.dist-info" / "entry_points.txt").write_text(
        "[physadv.detectors]\nyolo11n-pose = other:Green\n"
    )
    assert parse_name("yolo11n-pose") == UltralyticsName("yolo11n-pose")
    (tmp_path / "own-1.0.dist-info" / "entry_points.txt").write_text("[physadv.defences]\nmedian = other:Median\n")
    assert "a package declares median, which is one of physadv's own" in known_defences()[1][0]
    assert "aaa: cannot be read: File name too long" in one_line(WeightsError, lambda: load_detector("a" * 5000))


def test_code_is_not_run_on_the_word_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ('detector = "evil:factory"', 'detector = ["yolo11n-pose", "evil:factory"]'):
        (tmp_path / "c.toml").write_text(line)
        said = one_line(SettingsError, lambda: read_config(tmp_path / "c.toml"))
        assert "evil:factory in " in said and "name it on the command line" in said
    (tmp_path / "c.toml").write_text('detector = "green"')
    assert read_config(tmp_path / "c.toml") == {"detector": "green"}
    (tmp_path / "flags.json").write_text('{"images": ["x"], "detector": ["evil:factory"]}')
    assert main(["train", "--resume", "--out", str(tmp_path)]) == 2
    (tmp_path / "flags.json").write_text('{"data": "x", "detector": "evil:factory"}')
    assert main(["lab", "finetune", "--resume", "--out", str(tmp_path)]) == 2
    assert "evil:factory in " in capsys.readouterr().err.splitlines()[-1]
    # The parent of a run is looked for by its record, which others may have written too.
    code = find_weights("example.detector:GreenPeople").sha256
    made = {"detector": {"sha256": ""}, "parent": {"name": "example.detector:GreenPeople", "sha256": code}}
    (tmp_path / "run.json").write_text(json.dumps(made))
    assert origin_of(str(tmp_path)).parent is None
    (tmp_path / "c.toml").write_text('detector = "yolo11n-pose, torchvision:ssd300_vgg16"')
    assert "torchvision" in str(read_config(tmp_path / "c.toml"))


def declare(folder: Path, group: str, value: str, monkeypatch: pytest.MonkeyPatch, name: str = "own") -> None:
    (folder / "own-1.0.dist-info").mkdir()
    (folder / "own-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (folder / "own-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(folder))


DEFENCE = """
from typing import ClassVar
from physadv.defend.image import ImageDefence, ImageView
class Own(ImageDefence):
    name: ClassVar[str] = "{name}"
    title: ClassVar[str] = "t"
    cost: ClassVar[str] = "c"
    paper: ClassVar[str] = "p"
    def view(self, image, rng, detector): {view}
    def differentiable(self, images, rng): {twin}
"""


def test_a_defence_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "physadv.defences", "own_defence:Own", monkeypatch)
    assert (
        "own_defence:Own: there is no module" in known_defences()[1][0]
        or "cannot be imported" in known_defences()[1][0]
    )

    def written(name: str = "own", view: str = "return ImageView(image)", twin: str = "return images") -> None:
        (tmp_path / "own_defence.py").write_text(DEFENCE.format(name=name, view=view, twin=twin) + f"# {len(view)}\n")
        monkeypatch.delitem(sys.modules, "own_defence", raising=False)

    written(name="other")
    assert "expected a class with texts name (here 'own')" in one_line(PluginError, lambda: parse_pipeline("own"))
    written(view="return 3")
    guarded = parse_pipeline("own").guard(load_detector("green"))
    said = one_line(PluginError, lambda: guarded.detect(Frame(IMAGE.copy(), 0, 0, 0.0)))
    assert said.startswith("the defence own failed (")
    written(twin="return images.detach()")
    twin = parse_pipeline("own").twin(load_gradient_detector("green", device="cpu"))
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert "with gradients to the images" in one_line(PluginError, lambda: twin.candidates(images))


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("[1, 2]", "expected an array (h, w, 3) of uint8, RGB, or None at the end, got list"),
        ("numpy.zeros((4, 4, 3))", "got float64 (4, 4, 3)"),
        ("numpy.zeros((4, 4), 'uint8')", "got uint8 (4, 4)"),
        ("1 / 0", "its read failed (ZeroDivisionError"),
    ],
)
def test_a_source_that_fails_is_named(answer: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "physadv.sources", "own_source:Own", monkeypatch)
    code = f"import numpy\nclass Own:\n    def __init__(self, text): pass\n    def read(self): return {answer}\n"
    (tmp_path / "own_source.py").write_text(code)
    monkeypatch.delitem(sys.modules, "own_source", raising=False)
    source = open_source("own")
    assert source.live and is_live("own")
    said = one_line(PluginError, source.read)
    assert said.startswith("own: ") and line in said
