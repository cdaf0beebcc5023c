"""Recordings on the page: every file of each, in every tab; one that fails is said."""

import errno

import av
import pytest

from physadv.live import recorder as record
from tests.browser.stand import Stand, eventually
from tests.live.scene import until

pytestmark = pytest.mark.browser
LINKS = "() => [...document.querySelectorAll('#recordings-list a')].map((link) => link.textContent).join()"


def test_all_files_of_a_recording_are_offered_in_both_tabs(stand: Stand) -> None:
    page, other = stand.page, stand.open()
    page.check("#record-clean", force=True)
    page.click("#record")
    eventually(other, "() => document.getElementById('record').getAttribute('aria-pressed') === 'true'")
    for tab in (page, other):
        eventually(tab, "() => document.getElementById('record-clean').disabled")
        assert tab.is_checked("#record-clean")
    eventually(other, "() => document.getElementById('recording-now').textContent.startsWith('Recording demo-')")
    until(lambda: stand.demo.state()["recording"]["written"] > 15)
    other.click("#record")
    eventually(other, "() => document.getElementById('recording-now').textContent.startsWith('Saved demo-')")
    for tab in (page, other):
        eventually(tab, f"() => ({LINKS})() === 'video,untouched video,data'", timeout=5)
        assert tab.is_visible("#recordings a")
        assert tab.is_enabled("#record-clean")
    with page.expect_download() as download:
        page.click("#recordings a:has-text('untouched')")
    assert download.value.suggested_filename.endswith(".clean.mp4")
    with page.expect_download() as download:
        page.click("#recordings a:has-text('video')")
    with av.open(str(download.value.path())) as container:
        assert sum(1 for _ in container.decode(video=0)) > 15
    later = stand.open()
    eventually(later, "() => document.getElementById('recordings-count').textContent === '1'")


def test_a_recording_that_ended_by_itself_is_said_until_the_next(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    page = stand.page
    with monkeypatch.context() as patched:
        patched.setattr(record.VideoWriter, "write", full)
        page.click("#record")
        page.wait_for_selector("#recording-failed:not([hidden])")
    assert "the disk is full" in page.text_content("#recording-failed")
    assert page.get_attribute("#record", "aria-pressed") == "false"
    page.click("#record")
    page.wait_for_selector("#recording-failed", state="hidden")
    page.click("#record")
