"""Bytes that are not what they seem, for whoever decodes what strangers send."""

import struct
from pathlib import Path

SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 15004 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)


def concat_of(path: Path) -> bytes:
    return f"ffconcat version 1.0\nfile 'file:{path}'\n".encode()


def playlist_of(path: Path) -> bytes:
    return (
        f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile:{path}\n"
        "#EXT-X-ENDLIST\n"
    ).encode()


def wav(
    *,
    rate: int = 16_000,
    n_channels: int = 1,
    bits: int = 16,
    data: bytes = bytes(32_000),
    says_bytes: int | None = None,
    magic: bytes = b"RIFF",
    extra: bytes = b"",
) -> bytes:
    """says_bytes: how much data its header says that there is. extra: chunks before the format."""
    frame_bytes = n_channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, n_channels, rate, rate * frame_bytes & 0xFFFFFFFF, frame_bytes, bits)
    says_bytes = len(data) if says_bytes is None else says_bytes
    body = b"WAVE" + extra + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", says_bytes)
    return magic + struct.pack("<I", min(2**32 - 1, len(body) + says_bytes)) + body + data


def rf64(says_bytes: int) -> bytes:
    ds64 = struct.pack("<QQQI", says_bytes, says_bytes, says_bytes, 0)
    return wav(says_bytes=2**32 - 1, magic=b"RF64", extra=b"ds64" + struct.pack("<I", len(ds64)) + ds64)


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def mp4_that_refers_to(path: Path) -> bytes:
    """A movie whose samples are in another file: PCM, one chunk of a second at that file's start."""
    n, name = 16_000, str(path).encode()
    header = struct.pack(">IIIIII", 0, 0, 0, 16_000, n, 0x00010000) + b"\x01\x00" + bytes(10)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    # An alias record of the Macintosh, with the path in it twice.
    alias = bytes(150) + struct.pack(">hH", 2, len(name)) + name + b"\0" * (len(name) % 2)
    alias += struct.pack(">hH", 18, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">hH", -1, 0)
    entry = bytes(6) + struct.pack(">H", 1) + bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, 16_000 << 16)
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"sowt", entry)),
        box(b"stts", struct.pack(">IIII", 0, 1, n, 1)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, n, 1)),
        box(b"stsz", struct.pack(">III", 0, 2, n)),
        box(b"stco", struct.pack(">III", 0, 1, 44)),
    )
    references = box(b"dref", struct.pack(">II", 0, 1), box(b"alis", struct.pack(">I", 0), alias))
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 16_000, n, 0, 0)),
        box(b"hdlr", bytes(4) + b"mhlrsoun" + bytes(13)),
        box(b"minf", box(b"smhd", bytes(8)), box(b"dinf", references), table),
    )
    track = box(b"tkhd", struct.pack(">IIIIII", 7, 0, 0, 1, 0, n) + bytes(16) + matrix + bytes(8))
    movie = box(b"mvhd", header, matrix, bytes(24), struct.pack(">I", 2))
    return box(b"ftyp", b"qt  ", bytes(4)) + box(b"moov", movie, box(b"trak", track, media)) + box(b"mdat", bytes(64))


def flac_of_silence(n_frames: int, block_samples: int = 65_535, rate: int = 8_000) -> bytes:
    """Each frame of some twelve bytes stands for all those samples."""
    info = struct.pack(">HH", block_samples, block_samples) + bytes(6)
    info += ((rate << 44) | (15 << 36)).to_bytes(8, "big") + bytes(16)
    stream = b"fLaC" + bytes([0x80, 0, 0, 34]) + info
    return stream + b"".join(_silent_frame(number, block_samples) for number in range(n_frames))


def _silent_frame(number: int, block_samples: int) -> bytes:
    # Fixed blocks; 16 bits of length follow; rate and depth as in the header; one channel.
    header = b"\xff\xf8" + bytes([0x70, 0x00]) + _utf8(number) + struct.pack(">H", block_samples - 1)
    frame = header + bytes([_crc(header, 8, 0x07)]) + b"\x00\x00\x00"
    return frame + struct.pack(">H", _crc(frame, 16, 0x8005))


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    crc, top = 0, 1 << (bits - 1)
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & ((1 << bits) - 1)
    return crc


def webm_that_wants_memory(n_bytes: int = 2**28 - 1) -> bytes:
    """Before its first track begins, so much is to be kept for a codec."""
    private = b"\x63\xa2\x01" + n_bytes.to_bytes(7, "big")
    head = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
    endless = b"\x01\xff\xff\xff\xff\xff\xff\xff"
    return (
        head
        + b"\x18\x53\x80\x67"
        + endless
        + b"\x16\x54\xae\x6b"
        + endless
        + b"\xae"
        + endless
        + private
        + bytes(9_000)
    )
