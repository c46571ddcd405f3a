"""Whether a stream of bytes is an audio container or raw samples, from how it begins, where nobody says. Pure."""

HEAD_BYTES = 8
# What containers begin with, but for MP4, MP3 and AAC.
_MARKS = (b"\x1aE\xdf\xa3", b"OggS", b"RIFF", b"RF64", b"fLaC", b"ID3", b"FORM", b"caff", b".snd")


def is_container(head: bytes) -> bool:
    """Whether a stream that begins so is a container, or else raw samples. head: at least HEAD_BYTES of it."""
    if head.startswith(_MARKS) or head[4:8] == b"ftyp":
        return True
    if len(head) < 4 or head[0] != 0xFF:
        return False
    is_mp3 = head[1] in b"\xfb\xfa\xf3\xf2\xe3\xe2" and 0x10 <= head[2] < 0xF0 and head[2] & 0x0C != 0x0C
    is_aac = head[1] in b"\xf1\xf9\xf0\xf8" and (head[2] >> 2) & 0x0F < 13
    return is_mp3 or is_aac
