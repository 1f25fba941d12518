"""The credentials file: it saves typing, and gives its token to nobody but its own server."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.client import DEFAULT_URL, Client
from controlplane.client.credentials import find_credentials
from controlplane.errors import InvalidInput

URL = "https://keystead.example"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a credentials file."""
    path = tmp_path / ".config" / "keystead" / "credentials"
    path.parent.mkdir(parents=True)
    path.write_text(f'url = "{URL}"\ntoken = "from-the-file"\n')
    path.chmod(0o600)
    return {"HOME": str(tmp_path)}


def test_the_file_names_server_and_token(home: dict[str, str]) -> None:
    found = find_credentials(None, home)
    assert (found.url, found.token) == (URL, "from-the-file")
    assert "from-the-file" not in repr(found)
    assert Client.from_environment(environ=home).url == URL


def test_the_environment_comes_first(home: dict[str, str]) -> None:
    found = find_credentials(None, {**home, "KEYSTEAD_TOKEN": "given"})
    assert (found.url, found.token) == (DEFAULT_URL, "given"), "a token of the environment is not for the file's server"
    found = find_credentials(None, {**home, "KEYSTEAD_TOKEN": "given", "KEYSTEAD_URL": "https://other.example"})
    assert (found.url, found.token) == ("https://other.example", "given")


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_its_token_goes_to_no_other_server(home: dict[str, str], where: str) -> None:
    other = "https://other.example"
    environ = home if where == "command line" else {**home, "KEYSTEAD_URL": other}
    found = find_credentials(other if where == "command line" else None, environ)
    assert (found.url, found.token) == (other, None)
    assert find_credentials(f"{URL}/", home).token == "from-the-file", "the same server, written otherwise"


def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    found = find_credentials(None, {"HOME": str(tmp_path)})
    assert (found.url, found.token) == (DEFAULT_URL, None)
    assert find_credentials(None, {}).token is None


def test_a_file_that_others_can_read_is_refused(home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".config" / "keystead" / "credentials"
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="can be read by others"):
        find_credentials(None, home)


@pytest.mark.parametrize("text", ["token = ", "nonsense = 1", "url = 1", "\xff"])
def test_a_wrong_file_is_told_without_a_piece_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine"
    path.write_text(f'token = "s3cr3t"\n{text}', encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(InvalidInput) as caught:
        find_credentials(None, {"KEYSTEAD_CREDENTIALS": str(path)})
    assert str(path) in caught.value.message
    assert "s3cr3t" not in caught.value.message


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        find_credentials(None, {"KEYSTEAD_CREDENTIALS": str(tmp_path / "none")})
