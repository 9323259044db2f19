"""Every error grainhash raises on purpose, as one tree.

GrainhashError
├── InputError                  what the caller passed cannot be used
│   ├── PictureError            one picture: its path and the reason
│   │   ├── PictureUnreadable   missing, no permission, an I/O error
│   │   ├── PictureDamaged      truncated, empty, not a picture at all
│   │   └── PictureTooLarge     more pixels or bytes than the limits allow
│   ├── VideoError              a file that is no video, or one of which no frame can be read
│   ├── BoxError                not a box inside the picture
│   ├── CodesError              wrong dtype, width or shape of codes
│   ├── WhereError              a filter that does not parse or names nothing
│   ├── MetadataError           a metadata file that cannot be read
│   ├── LabelsError             labels that cannot be learned from, or do not fit the pictures
│   └── SplitError              queries, training and database that overlap where they must not
├── NotFitted                   a method asked for codes before it was fitted
├── EncoderError                an encoder folder that is missing, foreign or damaged
├── CheckpointError             a training checkpoint that is damaged, or of another configuration
├── IndexFileError              a saved index, or a file of codes, that is missing, foreign or damaged
├── GalleryError                a gallery that cannot do what was asked
│   ├── GalleryNotFound
│   ├── GalleryFormatError      written by another version, or not a gallery
│   ├── PictureChanged          a file that is no longer what was indexed
│   ├── EncoderMismatch         codes of one encoder offered to a gallery of another
│   └── GalleryWriteError       disk full, read-only, locked
└── MissingExtra                an optional part is not installed

A message says what was wrong, with which input, and what to do about it, in one line.
"""

from __future__ import annotations


class GrainhashError(Exception):
    """Base of every error raised on purpose."""


class InputError(GrainhashError, ValueError):
    """Something the caller passed cannot be used."""


class PictureError(InputError):
    """One picture cannot be used. `name` says which, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str]]:
        return type(self), (self.name, self.reason)


class PictureUnreadable(PictureError):
    """The file is missing, forbidden, or its disk failed."""


class PictureDamaged(PictureError):
    """The bytes are truncated, empty, or no picture in a known format."""


class PictureTooLarge(PictureError):
    """Decoding would take more memory than the limits allow."""


class VideoError(InputError):
    """A file that is no video, or one of which no frame can be read."""


class BoxError(InputError):
    """Not a box of some area inside the picture."""


class CodesError(InputError):
    """Codes, ids or offsets of the wrong dtype, width or shape."""


class WhereError(InputError):
    """A metadata filter that does not parse."""


class MetadataError(InputError):
    """A metadata file that cannot be read or matched."""


class LabelsError(InputError):
    """Labels that do not fit their pictures, or that nothing can be learned from."""


class SplitError(InputError):
    """Parts of a data set that overlap where they must not, or that are missing."""


class NotFitted(GrainhashError):
    """A method of hashing was asked for codes before `fit` or `load`."""


class EncoderError(GrainhashError):
    """An encoder folder that is missing, of another format version, or damaged."""


class CheckpointError(GrainhashError):
    """A training checkpoint that is missing, damaged, or of another configuration."""


class IndexFileError(GrainhashError):
    """A saved index or a file of codes that is missing, foreign or damaged, or that cannot be written."""


class GalleryError(GrainhashError):
    """A gallery cannot do what was asked."""


class GalleryNotFound(GalleryError):
    """There is no gallery at that path."""


class GalleryFormatError(GalleryError):
    """The folder is no gallery, or one of another format version."""


class PictureChanged(GalleryError):
    """The file of a picture is no longer what was indexed."""


class EncoderMismatch(GalleryError):
    """Codes of one encoder were offered to a gallery of another."""


class GalleryWriteError(GalleryError):
    """The gallery could not be written: disk full, read-only, or locked."""


class MissingExtra(GrainhashError, ImportError):
    """An optional part is not installed; the message names the exact command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; run: pip install 'grainhash[{extra}]'")
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.what, self.extra)


def first_line(error: Exception) -> str:
    """What a library's error says first, or its kind where it says nothing: enough for a message of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0]
