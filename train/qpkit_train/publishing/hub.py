"""A model that is named by its place on huggingface.co: hf:OWNER/NAME."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qpkit.errors import ConfigError, FormatError
from qpkit.extras import extra
from qpkit.files import RUN_NAME

PREFIX: Final = "hf:"

_FILES: Final = (RUN_NAME, "model.safetensors", "config.json", "README.md")


def local_model(named: Path) -> Path:
    """Give the local folder of a model.

    Args:
        named: A path, which is given back; or hf:OWNER/NAME, which is looked for in huggingface's cache and fetched;
            or hf:FOLDER, a local folder of that kind.

    Raises:
        ConfigError: It can be neither found nor fetched; the message says what else to do.
        FormatError: It was not made by qpkit.
        MissingExtraError: huggingface_hub is not installed.
    """
    text = named.as_posix()
    if not text.startswith(PREFIX) or named.exists():
        return named
    name = text.removeprefix(PREFIX)
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    if not (folder / RUN_NAME).is_file():
        raise FormatError(f"{text}: no {RUN_NAME} in it; qpkit predicts with what export-model --for huggingface made")
    return folder


def _fetched(name: str) -> Path:
    if name.count("/") != 1 or not all(name.split("/")):
        raise ConfigError(f"{PREFIX}{name}: has to be {PREFIX}OWNER/NAME, or {PREFIX}FOLDER of a folder that is there")
    with extra("train"):
        import huggingface_hub as hub

        from qpkit_train.models.published import unreachable
    reason = unreachable()
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(_FILES), local_files_only=reason is not None))
    except Exception as err:  # the hub's, httpx's and OS errors: all mean the same to the user
        said = reason or f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else 'no reason given'}"
        raise ConfigError(
            f"{PREFIX}{name} cannot be fetched ({said[:90]}); download it elsewhere and give the folder: "
            "qpkit predict FOLDER ..."
        ) from err
