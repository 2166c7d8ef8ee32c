"""What the Hugging Face hub says when it gives no file, as one sentence; its own messages are paragraphs and tracebacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from croco_bench.errors import BenchError, CheckpointError
from croco_bench.progress import log


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Raises whatever the hub's client raises as "`what`: the reason", and has its warnings replaced by one line.

    Raises:
        CheckpointError: the hub gave no file.
    """
    logger = logging.getLogger("huggingface_hub")
    handlers, propagate = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [_OneLine()], False
    try:
        yield
    except (BenchError, TypeError):
        raise
    except Exception as error:  # what its HTTP library raises depends on the version
        raise CheckpointError(f"{what}: {hub_reason(error)}") from error
    finally:
        logger.handlers, logger.propagate = handlers, propagate


class _OneLine(logging.Handler):
    """Says once that something is tried again."""

    said = False

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if not self.said and "retry" in record.getMessage().lower():
            self.said = True
            log("the Hugging Face hub doesn't answer; trying again for half a minute")


def hub_reason(error: BaseException) -> str:
    """Why the hub gave no file, in a few words."""
    from huggingface_hub import errors

    link: BaseException | None = error
    while link:
        if isinstance(link, errors.LocalEntryNotFoundError | ConnectionError) or "Connect" in type(link).__name__:
            return "it isn't on this machine, and the Hugging Face hub can't be reached; connect once, or give a file"
        if isinstance(link, errors.RepositoryNotFoundError):
            return "the Hugging Face hub has no such repository, or it is private (log in with huggingface-cli)"
        if isinstance(link, errors.EntryNotFoundError | errors.RevisionNotFoundError):
            return "the repository has no such file or revision"
        link = link.__cause__ or link.__context__
    return str(error).partition("\n")[0][:200] or type(error).__name__
