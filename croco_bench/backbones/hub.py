"""Checkpoints on the Hugging Face hub: a file of a repository, or the usual one, with what belongs to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from croco_bench.backbones.networks.hub_errors import hub_errors
from croco_bench.backbones.parts import DESCRIPTIONS, USUAL, looks_like_weights, names_in
from croco_bench.errors import CheckpointError
from croco_bench.progress import log


@dataclass(frozen=True)
class HubName:
    """OWNER/REPO, a file in it or None for the usual one, a revision or None for the main one."""

    repo: str
    file: str | None
    revision: str | None


def parse_hub_name(text: str) -> HubName:
    """Splits OWNER/REPO[/FILE][@REVISION].

    Raises:
        CheckpointError: it has another form.
    """
    body, _, revision = text.partition("@")
    parts = body.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise CheckpointError(
            f"hf://{text} should be hf://OWNER/REPO or hf://OWNER/REPO/FILE, with @REVISION behind it if you like"
        )
    return HubName(f"{parts[0]}/{parts[1]}", parts[2] if len(parts) == 3 else None, revision or None)


def fetch(name: HubName) -> Path:
    """The file, on this machine; an index with its parts; either with the files that describe the network beside it.

    Raises:
        CheckpointError: the hub can't be reached, or has no such file.
    """
    where = f"hf://{name.repo}" + (f"/{name.file}" if name.file else "")
    with hub_errors(f"{where} can't be fetched"):
        file = name.file or _usual(name)
        path = _verified(_download(name, file))
        parts = names_in(path) if file.endswith(".index.json") else []
        for part in parts:
            _verified(_download(name, _beside(file, part)))
        for described in DESCRIPTIONS:
            with suppress(OSError, ValueError, RuntimeError):  # no such file
                _download(name, _beside(file, described))
        return path


def _download(name: HubName, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name.repo, file, revision=name.revision))


def _verified(path: Path) -> Path:
    """The path of a fetched file, after its content was compared with the hub's SHA-256, the name of large files in the cache.

    Raises:
        CheckpointError: the file has changed, or arrived damaged.
    """
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        with blob.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != blob.name:
            raise CheckpointError(
                f"{path} has SHA-256 {found[:12]}…, but the hub published {blob.name[:12]}…",
                f"delete {blob} and try again",
            )
        log(f"{path.name} has SHA-256 {found}, as the hub says")
    return path


def _usual(name: HubName) -> str:
    """The weights of a repository whose file wasn't named; without a connection, those that were fetched earlier."""
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        files = HfApi().list_repo_files(name.repo, revision=name.revision)
    except errors.RepositoryNotFoundError:
        raise
    except Exception:  # no connection: what is raised depends on the client's HTTP library
        cached = [
            file for file in USUAL if isinstance(try_to_load_from_cache(name.repo, file, revision=name.revision), str)
        ]
        if not cached:
            raise
        return cached[0]
    return _choose(files, name.repo)


def _choose(files: Iterable[str], repo: str) -> str:
    known = sorted(files)
    usual = next((file for file in USUAL if file in known), None)
    weights = [file for file in known if looks_like_weights(Path(file))]
    if usual is None and len(weights) != 1:
        some = f"has several, such as {', '.join(weights[:4])}" if weights else "has no weights that this project reads"
        raise CheckpointError(f"hf://{repo} {some}", "name one: hf://OWNER/REPO/FILE")
    return usual or weights[0]


def _beside(file: str, other: str) -> str:
    """The path of another file in the folder of a file."""
    folder, slash, _ = file.rpartition("/")
    return f"{folder}{slash}{other}"
