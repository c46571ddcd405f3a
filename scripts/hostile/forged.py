"""Containers that say what is not so. Pure."""

import struct

_PCM, _BITS = 1, 16
_UNTIL_THE_END = 0xFFFFFFFF
_FLAC_SAMPLES, _FLAC_CHANNELS, _FLAC_RATE = 65_535, 8, 16_000

GARBAGE_HEADS = (
    b"OggS\x00\x02",
    b"fLaC\x00\x00\x00\x22",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"\x1a\x45\xdf\xa3",
    b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00",
    b"\x00\x00\x00\x20ftypiso5",
)


def wav(rate: int, n_channels: int, data: bytes) -> bytes:
    """Return 16-bit samples under a head that says so much of them."""
    return _chunk(b"RIFF", _UNTIL_THE_END, b"WAVE" + _format(rate, n_channels) + _chunk(b"data", _UNTIL_THE_END, data))


def wav_of_64_bits(n_bytes: int, data: bytes) -> bytes:
    """Return an RF64, 16 kHz mono, that says that it has so many bytes."""
    sizes = struct.pack("<QQQI", n_bytes, n_bytes, n_bytes // 2, 0)
    body = _chunk(b"ds64", len(sizes), sizes) + _format(16_000, 1) + _chunk(b"data", _UNTIL_THE_END, data)
    return _chunk(b"RF64", _UNTIL_THE_END, b"WAVE" + body)


def _format(rate: int, n_channels: int) -> bytes:
    block = n_channels * _BITS // 8
    fields = struct.pack("<HHIIHH", _PCM, n_channels, rate, rate * block & _UNTIL_THE_END, block, _BITS)
    return _chunk(b"fmt ", len(fields), fields)


def _chunk(name: bytes, n_bytes: int, data: bytes) -> bytes:
    return name + n_bytes.to_bytes(4, "little") + data


def flac_bomb(n_frames: int) -> bytes:
    """Return digital silence, four seconds of eight channels in each frame of some 40 bytes."""
    return _flac_head() + b"".join(_flac_frame(number) for number in range(n_frames))


def _flac_head() -> bytes:
    packed = (_FLAC_RATE << 44) | ((_FLAC_CHANNELS - 1) << 41) | ((_BITS - 1) << 36)
    info = struct.pack(">HH", _FLAC_SAMPLES, _FLAC_SAMPLES) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info


def _flac_frame(number: int) -> bytes:
    # 16 bits of block size follow, 16 kHz; eight channels, 16 bits each.
    head = bytes([0xFF, 0xF8, 0x75, 0x78]) + chr(number).encode() + (_FLAC_SAMPLES - 1).to_bytes(2, "big")
    head += bytes([_crc(head, 0x07, 8)])
    body = head + bytes(3) * _FLAC_CHANNELS
    return body + _crc(body, 0x8005, 16).to_bytes(2, "big")


def _crc(data: bytes, polynomial: int, n_bits: int) -> int:
    top, most, crc = 1 << (n_bits - 1), (1 << n_bits) - 1, 0
    for byte in data:
        crc ^= byte << (n_bits - 8)
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial if crc & top else crc << 1) & most
    return crc
