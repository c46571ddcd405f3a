"""Names under which people know one and the same model."""

_FULL_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo"}


def full_name(name: str) -> str:
    """Return the full name of a model that also has a short one, such as turbo; other names as they are."""
    return _FULL_NAMES.get(name, name)
