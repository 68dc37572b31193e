"""Database errors, told in the classes of the `eventsourcing` library, which its applications catch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from eventsourcing import persistence
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from adapters.lake.errors import LakeError
from adapters.log.append import ConflictError

#: The narrowest class that fits comes first.
_CLASSES: Final[tuple[tuple[type[psycopg.Error], type[persistence.PersistenceError]], ...]] = (
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
    (psycopg.DatabaseError, persistence.DatabaseError),
    (psycopg.Error, persistence.PersistenceError),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raises what the database refuses as a subclass of the library's `PersistenceError`.

    The cause is the driver's error and not SQLAlchemy's, whose text repeats the statement's values.
    """
    try:
        yield
    except ConflictError as error:
        raise persistence.IntegrityError(str(error)) from error
    except psycopg.Error as error:
        raise _translate(error) from error
    except DBAPIError as error:
        assert isinstance(error.orig, psycopg.Error)
        raise _translate(error.orig) from error.orig
    except (LakeError, SQLAlchemyError) as error:
        raise persistence.OperationalError(str(error)) from error


def _translate(error: psycopg.Error) -> persistence.PersistenceError:
    for theirs, ours in _CLASSES:
        if isinstance(error, theirs):
            return ours(str(error))
    raise AssertionError(f"{type(error)} is not among psycopg's classes")
