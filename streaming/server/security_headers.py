"""What every answer tells browsers: what the page may do, and that other pages may neither show nor read it."""

# As the page says itself, which may also be served by something else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NOBODY = ("camera", "display-capture", "geolocation", "payment", "usb", "serial", "midi")

SECURITY_HEADERS = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # The token may stand in the page's address.
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", ", ".join(["microphone=(self)", *(f"{feature}=()" for feature in _NOBODY)])),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
