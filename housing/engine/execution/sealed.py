"""Text that tasks keep for later ones, with a hash of itself and of what it counts for."""

from __future__ import annotations

import json
from hashlib import blake2b


def seal(text: str, *counts_for: object) -> str:
    """The text behind a line with its hash.

    Args:
        text: What is to be kept.
        counts_for: Where any of these is another one, the text counts no longer; as JSON knows it.
    """
    return f"{_hash(text, counts_for)}\n{text}"


def unseal(sealed: str, *counts_for: object) -> str | None:
    """The text, or None where it counts for something else, or a bit of it has changed.

    Args:
        sealed: What `seal` returned, as it was found.
        counts_for: See there.
    """
    key, _, text = sealed.partition("\n")
    return text if key == _hash(text, counts_for) else None


def _hash(text: str, counts_for: tuple[object, ...]) -> str:
    return blake2b(json.dumps([text, counts_for]).encode(), digest_size=16).hexdigest()
