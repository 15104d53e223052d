from pathlib import Path

import pytest

from rebind.errors import SettingsError
from rebind.settings import Settings, load


def test_defaults_work_with_no_file_at_all() -> None:
    settings, sources = load(environ={})
    assert settings.port == 8585
    assert set(sources.values()) == {"default"}


def test_a_flag_beats_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('port = 1\nhost = "a"\nmax_sessions = 3\n')
    environ = {"REBIND_SETTINGS": str(file), "REBIND_PORT": "2", "REBIND_HOST": "b"}
    settings, sources = load({"port": 3, "host": None}, environ)
    assert (settings.port, settings.host, settings.max_sessions) == (3, "b", 3)
    assert sources["port"] == "the command line"
    assert sources["host"] == "the environment"
    assert sources["max_sessions"] == str(file)


def test_units() -> None:
    settings, _ = load(
        environ={"REBIND_SESSION_MEMORY": "512M", "REBIND_IDLE_TIMEOUT": "10m", "REBIND_SESSION_DISK": "1.5GB"}
    )
    assert settings.session_memory == 512 * 2**20
    assert settings.idle_timeout == 600
    assert settings.session_disk == int(1.5 * 2**30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REBIND_PORT", "many"),
        ("REBIND_PORT", "-1"),
        ("REBIND_SESSION_CPUS", "nan"),
        ("REBIND_ALLOW_PRIVATE_ADDRESSES", "perhaps"),
        ("REBIND_SESSION_MEMORY", "2 apples"),
        ("REBIND_IDLE_TIMEOUT", "10w"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="from the environment"):
        load(environ={name: value})


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ={"REBIND_MAX_SESSION": "1"})
    assert "Did you mean REBIND_MAX_SESSIONS?" in caught.value.remedy


def test_every_setting_has_help() -> None:
    from dataclasses import fields

    assert all(f.metadata["help"].endswith(".") for f in fields(Settings))


def test_the_page_of_settings_is_up_to_date() -> None:
    from rebind.cli.document_settings import document

    page = Path(__file__).parent.parent / "docs" / "run" / "settings.md"
    assert page.read_text() == document(), "python -m rebind.cli.document_settings > docs/run/settings.md"
