"""Files of the Hugging Face hub, and what goes wrong with it in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import DataError, first_line

HUB_PREFIX = "hf:"


@contextmanager
def hub_errors(source: str, *, revision: str | None, out_of_reach: str) -> Iterator[None]:
    """Give what the hub's client raises in the block as DataError.

    source: the repository, with its prefix. out_of_reach: what to say where there is no connection. That a file is
    not in a repository (EntryNotFoundError) is left to the caller.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise DataError(f"{source} is no repository name; write hf:OWNER/NAME") from error
    except GatedRepoError as error:
        raise DataError(f"{source} is gated; accept its terms on the hub and log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"the hub has no repository {source}, or it is private; check the name") from error
    except RevisionNotFoundError as error:
        raise DataError(f"{source} has no revision {revision!r}; leave it out or check it") from error
    except LocalEntryNotFoundError as error:
        raise DataError(out_of_reach) from error
    except EntryNotFoundError:
        raise
    except (OSError, client_error(HfHubHTTPError)) as error:  # its HTTP errors, lost connections and a full disk
        raise DataError(f"{out_of_reach} ({first_line(error)})") from error


def client_error(http_error: type[Exception]) -> type[Exception]:
    """What the library beneath the hub's client raises: httpx or requests, by its version. http_error: the client's."""
    base = http_error.__bases__[0]
    assert issubclass(base, Exception)
    return base
