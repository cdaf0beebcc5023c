import socket
import urllib.request

import pytest

from physadv.errors import SettingsError
from physadv.web.serve import Listener, PageServer
from tests.live.scene import Camera, demo


def test_it_serves_on_a_free_port_and_stops() -> None:
    running = demo(Camera(), ui="web")
    running.start()
    server = PageServer(Listener(port=0), running)
    try:
        server.start()
        with urllib.request.urlopen(server.url, timeout=5) as answer:
            assert b"physadv" in answer.read()
    finally:
        server.close()
        running.stop()
    with pytest.raises(OSError, match=r"refused|reset|closed"):
        urllib.request.urlopen(server.url, timeout=2)


def test_a_port_in_use_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"{port} is in use"):
            PageServer(Listener(port=port))


@pytest.mark.parametrize("host", ["bogus.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_said(host: str) -> None:
    with pytest.raises(SettingsError, match=f"host: expected an address of this machine.*{host}"):
        PageServer(Listener(host=host, port=0))


def test_another_host_gets_a_token() -> None:
    server = PageServer(Listener(host="0.0.0.0", port=0))
    assert "?token=" in server.url
    # No other machine could open that one.
    assert "0.0.0.0" not in server.url
    server.close()
