"""Every error carspotter raises on purpose, in one tree.

    CarspotterError                 something the user can act on; exit code 2 unless stated
    ├── SourceError                 photos, archives or tables that cannot be used; carries all problems
    │   └── ArchiveError            a zip that is refused whole
    ├── RecipeError                 a recipe or a setting is wrong; carries all faults
    ├── BundleError                 a model folder is damaged, hostile, or newer than this version
    ├── BackboneError               weights are missing, altered or out of reach
    ├── TrackingError               the run store cannot be read or written
    ├── SubmissionError             a submission would be incomplete; nothing was written
    ├── TrainingError               training cannot go on (not-a-number loss, no photos left, …); exit code 1
    │   └── TrainingStopped         stopped on purpose before its end: a trial that was pruned
    ├── BatchError                  a batch cannot go on; the parts that are made stay; exit code 1
    ├── MissingExtra                an optional dependency is not installed; names the pip command
    └── PhotoRefused                one photo cannot be decoded; becomes a `Rejected`, never ends a batch

A message says what happened with the value, what was expected, and the cure, in one line. The command line prints it
without a traceback. An exception of any other type is our own fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

EXIT_DONE = 0
EXIT_FAULT = 1
EXIT_UNUSABLE = 2
EXIT_SOME_REFUSED = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader (`| head`) went away
EXIT_TERMINATED = 143  # 128 + SIGTERM


FULL_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "unable to mmap",
    "can't start new thread",
    "failed to map segment from shared object",
)
"""What CUDA, torch's allocator, oneDNN (two), a mapped file, the interpreter and the loader of libraries say of full
memory, in RuntimeErrors and ImportErrors of no type of their own (seen where a process was bounded)."""


def is_full_memory(fault: BaseException) -> bool:
    """Whether an exception of any library says that there is no memory left."""
    told = isinstance(fault, RuntimeError | ImportError) and any(words in str(fault) for words in FULL_MEMORY)
    return told or isinstance(fault, MemoryError)


class Reason(StrEnum):
    """Why a photo has no answer. One enumeration for tables, API replies and reports."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_A_PHOTO = "not_a_photo"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"
    MISSING_EXTRA = "missing_extra"
    TOO_MANY = "too_many"
    CRASHED = "crashed"


NOT_HAD = frozenset(
    {
        Reason.MISSING,
        Reason.TIMEOUT,
        Reason.UNREACHABLE,
        Reason.NOT_ALLOWED,
        Reason.MISSING_EXTRA,
        Reason.CRASHED,
    }
)
"""Reasons that say nothing of a photo's own bytes: at another time or on another machine it may have an answer."""


class CarspotterError(Exception):
    """Something the user can act on; `str(error)` is one clear line or one line per problem."""

    exit_code: int = EXIT_UNUSABLE


class ManyProblems(CarspotterError):
    """An error that reports everything wrong at once, so that one run shows all of it.

    Attributes:
        problems: one sentence each, never empty.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        if not self.problems:
            raise ValueError("an error needs at least one problem")
        super().__init__("\n".join(self.problems))


class SourceError(ManyProblems):
    """Photos, archives or tables that cannot be used."""


class ArchiveError(SourceError):
    """A zip that is refused whole: hostile, damaged or unsupported."""


class RecipeError(ManyProblems):
    """A recipe, or a `--set` on top of it, is wrong."""


class BundleError(CarspotterError):
    """A model folder is damaged, hostile, or of a newer format."""


class BackboneError(CarspotterError):
    """Backbone weights are missing, altered, or their hub cannot be reached."""


class TrackingError(CarspotterError):
    """The run store cannot be read or written."""


class SubmissionError(ManyProblems):
    """A submission would not match its sample; nothing was written."""


class TrainingError(CarspotterError):
    """Training cannot go on."""

    exit_code = EXIT_FAULT


class TrainingStopped(TrainingError):
    """Training was stopped on purpose before its end: pruned, because other trials were better at that epoch."""


class BatchError(CarspotterError):
    """A batch cannot go on: its cluster is lost, or its photos cannot be had. What is made stays."""

    exit_code = EXIT_FAULT


class MissingExtra(CarspotterError):
    """An optional dependency is not installed.

    Attributes:
        what: that cannot be done.
        extra: the name between the brackets of `pip install "carspotter[extra]"`.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f'{what} needs an optional part: pip install "carspotter[{extra}]"')

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        """So that one process can send it to another."""
        return MissingExtra, (self.what, self.extra)


class PhotoRefused(CarspotterError):
    """One photo cannot be decoded safely.

    Attributes:
        reason: the code that goes into tables and API replies.
        sentence: what is wrong with this photo and the cure.
    """

    def __init__(self, reason: Reason, sentence: str) -> None:
        self.reason = reason
        self.sentence = sentence
        super().__init__(f"{reason}: {sentence}")
