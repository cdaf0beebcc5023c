"""No secret of an address is shown, and a wrong address is explained."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from physadv.address import check_address, doubt, masked, meant_as_address, split_user
from physadv.capture import open_source
from physadv.errors import SourceError

# Secrets are of capital letters and marks, everything else is of small letters: what leaks is seen at once.
SECRETS = st.text("QXZ@/:#?&=%.;_-+$!\\ ", min_size=1).filter(lambda s: any(c in "QXZ" for c in s))
SCHEMES = st.sampled_from(["rtsp://", "http://", "https://", "rtmp://", "rtsp:/", "rstp://"])
HOSTS = st.sampled_from(["cam", "cam.example.org", "10.0.0.9", "10.0.0.9:554", "[::1]:8080", "localhost:1"])
PATHS = st.sampled_from(["", "/", "/x", "/video?channel=1&stream=0", "/a/b.mp4"])


@given(scheme=SCHEMES, name=st.text("QXZ-@/?#", min_size=1), password=SECRETS, host=HOSTS, path=PATHS)
@example(scheme="rtsp://", name="Q", password="1/Z", host="cam", path="/x")
@example(scheme="rtsp://", name="Q", password="Z/token=Q", host="cam", path="/x")
def test_nothing_is_left_of_a_name_or_password(scheme: str, name: str, password: str, host: str, path: str) -> None:
    seen = masked(f"{scheme}{name}:{password}@{host}{path}")
    assert not set(seen) & set("QXZ"), seen


@given(
    start=st.sampled_from(["rtsp://10.0.0.9:554/", "http://cam/video?", "http://cam:80/a/b?x=1&", "https://h/a;"]),
    key=st.sampled_from(
        [
            "password",
            "passwd",
            "PWD",
            "pass",
            "Passwort",
            "token",
            "ACCESS_TOKEN",
            "api_key",
            "key",
            "client-secret",
            "auth",
            "X-Amz-Signature",
            "loginpas",
            "pw",
            "user[password]",
            "pass%77ord",
        ]
    ),
    secret=st.text("QXZ@:#%._-+$!", min_size=1).filter(lambda s: any(c in "QXZ" for c in s)),
    rest=st.sampled_from(["", "&channel=1", "&channel=1&stream=0.sdp"]),
)
def test_no_value_of_a_secret_is_left(start: str, key: str, secret: str, rest: str) -> None:
    seen = masked(f"{start}user=admin&{key}={secret}{rest}")
    assert not set(seen.replace(key, "")) & set("QXZ"), seen
    if not set(secret) & set("@:"):
        assert seen == f"{start}user=admin&{key}=***{rest}"


@pytest.mark.parametrize(
    ("spec", "seen"),
    [
        ("http://admin:p%40ss%3Aw%2Frd%231@127.0.0.1:8765/auth", "http://127.0.0.1:8765/auth"),
        ("rtsp://admin:P@ssw0rd@127.0.0.1:9/x", "rtsp://127.0.0.1:9/x"),
        ("rtsp://admin:hunter/22@127.0.0.1:9/x", "rtsp://127.0.0.1:9/x"),
        ("rtsp://h:9/user=admin_password=tlJw_channel=1_stream=0.sdp?real_stream", None),
        ("http://127.0.0.1:9/v?usr=admin&pwd=hunter2&token=abc123", "http://127.0.0.1:9/v?usr=admin&pwd=***&token=***"),
        ("http://h/v?token=a_b=c/d?e#f&x=1", "http://h/v?token=***&x=1"),
        ("http://h/live/token/abc123/index", "http://h/live/token/***/index"),
        ("rtsp://cam:9/user=admin&password=p@ss&channel=1", "rtsp://***&channel=1"),
        ("http://10.0.0.1/?url=rtsp://admin:pw@cam/x", "http://10.0.0.1/?url=rtsp://cam/x"),
        ("http://10.0.0.1/?url=rtsp%3A%2F%2Fadmin%3Apw%40cam&x=1", "http://10.0.0.1/?url=***&x=1"),
        ("http://10.0.0.1/admin:pw@/x", "http://10.0.0.1//x"),
        ("ffmpeg:rtsp://admin:pw@cam/x", "ffmpeg:rtsp://cam/x"),
        ("rtsp://admin:hunter2", "rtsp://admin:***"),
        ('http://h/x?q={"password":"pw"}', 'http://h/x?q={"password":***'),
        ("http://h/?u=http%253A%252F%252Fa%253Apw%2540cam&x=1", "http://h/?u=***&x=1"),
        ("http://h/live/eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln/x", "http://h/live/***/x"),
        ("http://h/x?login=admin:pw&x=1", "http://h/x?login=admin:***&x=1"),
        ("http://h/x?pwd=a&b&c=1", "http://h/x?pwd=***&c=1"),
        ("http://h/x?pincode=1&ticket=2&digest=3&hash=4", "http://h/x?pincode=***&ticket=***&digest=***&hash=***"),
        ("http://h/key/abc/x", "http://h/key/***/x"),
        ("//admin:pw@cam/x", "//cam/x"),
        ("admin:pw@cam/x", "cam/x"),
        ("127.0.0.1:9/user=a&password=b", "127.0.0.1:9/user=a&password=***"),
    ],
)
def test_what_is_shown(spec: str, seen: str | None) -> None:
    assert masked(spec) == (seen or spec.replace("tlJw", "***"))


@pytest.mark.parametrize(
    "spec",
    [
        "0",
        "/dev/video0",
        "sample",
        "auto",
        "",
        "clips/a@b.mp4",
        "/home/me/a:b@c.mp4",
        "C:\\clips\\a@b:c.mp4",
        "key=3.mp4",
        "~/pass=1/*.jpg",
        "http://cam/video?channel=1&keyframe=2",
        "https://you.example.org/@me/v.mp4",
        "rtsp://[::1]:554/x",
        "http://127.0.0.1:8765/auth",
        "rtsp://cam:554/author/path",
        "//server/share/a:b@c.mp4",
        "http://cam/video?user=admin&codec=h264",
    ],
)
def test_what_holds_no_secret_stays(spec: str) -> None:
    assert masked(spec) == spec


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rtsp://admin:hunter/22@127.0.0.1:9/x", "/ is %2F"),
        ("rtsp://admin:hunter#22@127.0.0.1:9/x", "# is %23"),
        ("http://admin:hunter?22@cam/x", r"\? is %3F"),
        ("rtsp://cam:port/x", "expected a port of 1 to 65535"),
        ("rtsp://cam:99999/x", "expected a port of 1 to 65535"),
        ("rtsp://cam:²/x", "expected a port of 1 to 65535"),
        ("rtsp://admin:hunter22", "NAME:PASSWORD@HOST"),
        ("http:///x", "got none"),
        ("rtsp://admin:hunter22@/x", "got none"),
        ("rtsp://<ip>/x", "characters that no name has"),
        ("rtsp://192.168.1.300/x", "four numbers"),
        ("rtsp://fe80::1/x", "in brackets"),
        ("rtsp://[fe80::zz]/x", "IPv6"),
        ("rtsp://cam/my video", "%20"),
        ("http://cam..lan/x", "empty or too long part"),
        ("rtsp://cam/a\nb", "%0A"),
    ],
)
def test_a_wrong_address_is_explained_by_what_is_wrong_in_it(url: str, says: str) -> None:
    with pytest.raises(SourceError, match=says) as raised:
        check_address(url)
    assert "hunter" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8765/plain",
        "rtsp://admin:P@ss:w0rd@cam.local:554/x?y=1",
        "rtsp://[fe80::1%25eth0]:554/x",
        "http://kamera-küche/x",
        "http://a_b/x",
        "http://user@cam/x",
        "https://h/@me/v",
        "udp://@239.0.0.1:1234",
        "http://cam:80/x?mail=me@example.org",
        "rtsp://cam:9/user=admin&password=p@ss",
        "srt://:9000?mode=listener",
    ],
)
def test_an_address_that_may_be_right_is_not_refused(url: str) -> None:
    check_address(url)


def test_a_doubt_is_said_once_an_address_has_failed() -> None:
    assert "%2F" in doubt("rtsp://admin:12/34@cam/x")
    assert "%25" in doubt("http://admin:50%off@cam/x")
    assert doubt("rtsp://cam:554/x") == doubt("rtsp://a:b@cam/x") == ""


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rstp://admin:hunter@cam/x", "did you mean rtsp://?"),
        ("gopher://cam/x", "expected rtsp:// or http://"),
        ("rtsp:/cam/x", "two slashes"),
        ("file:///clips/a.mp4", "the path alone"),
        ("admin:hunter@192.168.1.5/stream", "begins with rtsp://"),
        ("192.168.1.5:554/stream", "begins with rtsp://"),
        ("clips/a.mp4", ""),
        ("C:/clips/a.mp4", ""),
    ],
)
def test_what_was_meant_as_an_address_is_distinguished_from_a_path(spec: str, says: str) -> None:
    assert says in meant_as_address(spec)
    assert bool(says) == bool(meant_as_address(spec))
    with pytest.raises(SourceError) as raised:
        open_source(spec)
    assert says in str(raised.value) and "hunter" not in str(raised.value)


def test_name_and_password_are_taken_out_decoded() -> None:
    assert split_user("http://admin:p%40ss%3Aw%2Frd%231@127.0.0.1:8765/auth") == (
        "http://127.0.0.1:8765/auth",
        "admin",
        "p@ss:w/rd#1",
    )
    assert split_user("http://a:P@ss:w@cam/@x") == ("http://cam/@x", "a", "P@ss:w")
    assert split_user("http://cam/a@b") == ("http://cam/a@b", None, "")
