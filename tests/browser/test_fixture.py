"""The browser's fixture sees what it is there to see."""

import pytest


@pytest.fixture
def troubles(seen):
    """What went wrong, taken away so that `page` lets it pass."""

    def take() -> list[str]:
        taken, seen.troubles[:] = list(seen.troubles), []
        return taken

    return take


def opened(page, tmp_path, body: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><link rel=icon href='data:,'>{body}")
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")


def test_a_quiet_page_has_no_trouble(page, seen, tmp_path):
    opened(page, tmp_path, "<h1>quiet</h1><script>document.title = 'run'</script>")
    assert page.title() == "run"
    assert [url.rpartition("/")[2] for url in seen.requests] == ["page.html"]
    assert seen.troubles == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<script>console.error('aloud')</script>", "aloud"),
        ("<script>throw new Error('thrown')</script>", "thrown"),
        ("<img src='absent.png'>", "absent.png"),
        ("<img src='http://198.51.100.1/x.png'>", "a request to http://198.51.100.1/x.png"),
        (
            "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><script>1</script>",
            "Content Security Policy",
        ),
    ],
)
def test_trouble_is_seen(page, troubles, tmp_path, body, expected):
    page.route("http://**", lambda route: route.abort())
    opened(page, tmp_path, body)
    assert expected in "\n".join(troubles())
