"""The source on the page: an address without its secrets that still opens the camera, and the visitor's own camera."""

import json

import pytest

from tests.browser.stand import Stand, eventually
from tests.live.scene import until

pytestmark = pytest.mark.browser


def test_the_address_field_keeps_no_password(stand: Stand) -> None:
    page, sent = stand.page, []
    page.on("request", lambda request: sent.append(request.post_data) if request.url.endswith("/api/source") else None)
    page.fill("#source", "http://127.0.0.1:9/video?pwd=hUnT3r")
    page.press("#source", "Enter")
    eventually(page, "() => document.getElementById('source').value === 'http://127.0.0.1:9/video?pwd=***'")
    page.click("#source-open")
    until(lambda: len(sent) == 2)
    # By what is shown the demo knows the whole address.
    assert json.loads(sent[1]) == {"spec": "http://127.0.0.1:9/video?pwd=***"}
    assert "hUnT3r" not in page.content()


def test_the_visitors_camera_is_asked_for_on_the_image(stand: Stand) -> None:
    page = stand.page
    page.evaluate("() => { window.real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); }")
    stand.demo.switch_source("browser")
    page.wait_for_selector("#veil-camera:not([hidden])")
    assert "No camera yet" in page.text_content("#veil")
    refuse = "() => Promise.reject(new DOMException('', 'NotAllowedError'))"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refuse}; }}")
    page.click("#veil-camera")
    eventually(page, "() => document.getElementById('veil-says').textContent.includes('was not allowed')")
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = window.real; }")
    page.click("#veil-camera")
    until(lambda: stand.demo.latest is not None and stand.demo.latest.frame.size[0] >= 640, 8)
    page.wait_for_selector("#veil", state="hidden")
    assert page.is_hidden("#veil-camera") and page.is_hidden("#camera-says")
    assert stand.demo.state()["source"]["state"] == "live"
    assert page.get_attribute("#own-camera", "aria-pressed") == "true"
