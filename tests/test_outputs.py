"""Where results may go: links are followed, devices and other programs' files are spared, two writers are kept apart."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from physadv.arrays import read_image, write_png
from physadv.cli import main
from physadv.errors import OutputError
from physadv.files import atomic_write, escaped, parse_json, parse_yaml, printable, write_json
from physadv.outputs import check_folder_replaceable, check_replaceable, locked, written_by_physadv
from physadv.patch import load_patch, save_patch

GREY = np.full((8, 8, 3), 90, np.uint8)


def special_files(folder: Path) -> dict[str, Path]:
    """Files that are none, of this folder's own: nothing of the machine is named."""
    pipe, listening, device = folder / "pipe", folder / "socket", folder / "null"
    os.mkfifo(pipe)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(listening))
    server.close()
    made = {"a pipe": pipe, "a socket": listening}
    try:
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
        made["a character device"] = device
    except PermissionError:
        pass
    return made


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    for kind, path in special_files(tmp_path).items():
        before = path.lstat()
        with pytest.raises(OSError, match="no regular file"), atomic_write(path) as stream:
            stream.write(b"x")
        with pytest.raises(OutputError, match=f"is {kind}"):
            check_replaceable(path, overwrite=True)
        assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "sub" / "t.json", tmp_path / "l.json", tmp_path / "d.json"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "sub" / "new.json")
    for path in (link, dangling):
        write_json(path, {"a": 1})
        assert path.is_symlink()
    assert json.loads(target.read_text()) == json.loads((tmp_path / "sub" / "new.json").read_text()) == {"a": 1}


def test_own_files_are_distinguished_from_others(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", GREY)
    write_json(tmp_path / "b.json", {"physadv": "0.1.0"})
    save_patch(load_patch("webcam"), tmp_path)
    for name in ("a.png", "b.json", "patch.png", "patch.safetensors"):
        assert written_by_physadv(tmp_path / name), name
    assert np.array_equal(read_image(tmp_path / "a.png"), GREY)
    other = tmp_path / "notes.md"
    other.write_text("what physadv did today")
    with pytest.raises(OutputError, match=r"not written by physadv.*`overwrite`"):
        check_replaceable(other)
    check_replaceable(other, overwrite=True)
    check_folder_replaceable(tmp_path, ["b.json", "results.json"])
    with pytest.raises(OutputError, match="not written by physadv"):
        check_folder_replaceable(tmp_path, ["notes.md"])


def test_an_empty_file_is_replaced_and_makes_no_folder_ours(tmp_path: Path) -> None:
    (tmp_path / "report.md").touch()
    check_replaceable(tmp_path / "report.md")
    check_folder_replaceable(tmp_path, ["report.md", "run.json"])
    (tmp_path / "run.json").write_text("mine")
    with pytest.raises(OutputError, match=r"run\.json: exists and was not written by physadv"):
        check_folder_replaceable(tmp_path, ["report.md", "run.json"])


@pytest.mark.parametrize(
    "argv",
    [
        ["print", "webcam", "--size", "10cm", "--out", "x.pdf"],
        ["print", "webcam", "--size", "10cm", "--out", "x.png"],
        ["preview", "webcam", "--images", ".", "--out", "x.png"],
        ["live", "--source", "sample", "--ui", "none", "--frames", "1", "--stats", "x.json"],
        ["live", "--source", "sample", "--ui", "none", "--frames", "1", "--record", "x.jsonl"],
        ["learn", "blocks", "--images", ".", "--out", "x.safetensors"],
        ["calibrate", "camera", "--sheet", "x.pdf"],
        ["calibrate", "camera", "--source", ".", "--out", "x.json"],
        ["calibrate", "camera", "--source", ".", "--preview", "x.png"],
        ["calibrate", "colour", "--chart", "x.pdf"],
        ["calibrate", "colour", "--photo", ".", "--out", "x.json"],
        ["evaluate", "webcam", "--images", ".", "--out", "x"],
        ["train", "--images", "images", "--out", "x"],
    ],
    ids=lambda argv: f"{argv[0]}-{argv[-2]}-{argv[-1]}",
)
def test_every_output_flag_spares_what_is_not_its_own(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flag, name = argv[-2:]
    path = Path(name) if Path(name).suffix else Path(name) / "run.json"
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "images").mkdir()
    path.write_text("mine")
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "exists" in said and str(path) in said, said
    assert flag in said or argv[0] == "print"
    assert path.read_text() == "mine"
    path.unlink()
    os.mkfifo(path)
    assert main([*argv, "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pipe" in said, said
    assert main([*argv[:-1], f"http://me:hunter2@127.0.0.1/{name}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "an address cannot be written to" in said, said
    assert "hunter2" not in said, said


def test_what_was_printed_is_printed_again_and_other_files_with_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.pdf"
    argv = ["print", "webcam", "--size", "10cm", "--out", str(out)]
    assert main(argv) == main(argv) == 0
    out.write_text("mine")
    assert main(argv) == 2
    assert main([*argv, "--overwrite"]) == 0
    assert out.read_bytes().startswith(b"%PDF")


HOLD = """
import sys, pathlib
from physadv.outputs import locked
with locked(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_of_a_folder_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(OutputError, match="another physadv is writing there"), locked(out):
            pass
        holder.kill()
        holder.wait()
    with locked(out):
        (out / "x").touch()
    assert (out / "x").exists()
    with locked(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()


def test_texts_that_do_not_parse_are_one_error() -> None:
    for text in ("[" * 100_000, "{", "\ud800", b"\xff", "9" * 10_000):
        with pytest.raises(ValueError):
            parse_json(text)
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    for text in (
        "[" * 100_000,
        "a: [",
        bomb,
        "a: &a [*a]",
        "? {a: 1}\n: 2",
        "a: 2020-99-99",
        "a: !!python/object:x.Y {}",
    ):
        with pytest.raises(ValueError):
            parse_yaml(text)
    assert parse_yaml("a: 1\nb: [x, 2.5]") == {"a": 1, "b": ["x", 2.5]}


def test_what_is_printed_cannot_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\n  c\udcff\u202e") == "a\\x1b[2Jb c\\udcff\\u202e"
    assert len(printable("x" * 10_000, limit=500)) <= 500
    assert escaped("a\tb\n\x07") == "a\tb\n\\x07"
    assert main(["live", "--source", "\x1b]0;evil\x07" + "x" * 5000, "--ui", "none"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said and len(said) <= 501
    assert main(["\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err
