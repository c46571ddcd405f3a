"""Which containers and codecs are read, and which values of their headers are believed.

FFmpeg knows hundreds of formats. Some of them are texts that name other files and addresses, and in most of them nobody
has recorded speech. What is not listed here is refused, and nothing but the bytes at hand is ever opened.
"""

import errno
from typing import Any, NoReturn

import av

from simul_whisper import AudioFormatError
from streaming.settings import MAX_RECORDED_CHANNELS, MAX_RECORDED_RATE, MIN_RECORDED_RATE

# FFmpeg's names. What stands in one line is one kind: plain files, files with video too, files of telephones.
CONTAINERS = frozenset(
    """
    wav w64 aiff caf au nistsphere flac mp3 ogg aac loas ac3 eac3
    mov mp4 m4a 3gp 3g2 mj2 matroska webm mpegts mpeg avi asf flv
    amr amrnb amrwb
    """.split()
)
CODECS = frozenset(
    """
    pcm_alaw pcm_bluray pcm_dvd pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar pcm_s16le
    pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s8 pcm_s8_planar
    pcm_u16be pcm_u16le pcm_u8
    flac alac
    mp1 mp1float mp2 mp2float mp3 mp3float aac aac_latm opus libopus vorbis libvorbis speex libspeex
    ac3 eac3 dca truehd mlp wmav1 wmav2 wmapro wmalossless wmavoice
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha
    amrnb amrwb libopencore_amrnb libopencore_amrwb g722 g726 g726le gsm gsm_ms libgsm libgsm_ms
    """.split()
)
_LISTED = {"format_whitelist": ",".join(sorted(CONTAINERS)), "codec_whitelist": ",".join(sorted(CODECS))}
# No protocol is called so.
_NOTHING = "nothing"


def open_listed(file: Any, **settings: Any) -> av.container.InputContainer:
    """Open a file object as av.open does, if it is listed. Raises av.FFmpegError, for `reason_of`."""
    return _checked(av.open(file, "r", options=_LISTED | {"protocol_whitelist": _NOTHING}, io_open=_refuse, **settings))


def open_listed_url(url: str, options: dict[str, str], timeout: tuple[float, float]) -> av.container.InputContainer:
    """Open what stands there as av.open does, if it is listed. Raises av.FFmpegError, for `reason_of`."""
    return _checked(av.open(url, "r", options=_LISTED | options, timeout=timeout))


def _checked(container: av.container.InputContainer) -> av.container.InputContainer:
    """What FFmpeg was told to refuse is not believed to be refused."""
    if not CONTAINERS.issuperset(container.format.name.split(",")):
        container.close()
        raise av.ArgumentError(errno.EINVAL, "not listed")
    return container


def _refuse(*_: object) -> NoReturn:
    raise PermissionError(errno.EPERM, "it names another file, which is not opened")


def reason_of(error: av.FFmpegError) -> str:
    """Return in words why a container could not be opened."""
    return "this kind of file is not read" if is_unlisted(error) else str(error.strerror)


def is_unlisted(error: av.FFmpegError) -> bool:
    """Whether a container could not be opened because it is not in the lists."""
    return isinstance(error, av.ArgumentError)


def check_form(rate: int, n_channels: int, name: str) -> None:
    """Raise AudioFormatError, which begins with `name`, for a rate in Hz or channels that no recording has."""
    if not MIN_RECORDED_RATE <= rate <= MAX_RECORDED_RATE:
        raise AudioFormatError(
            f"{name}: got a rate of {rate} Hz, expected {MIN_RECORDED_RATE}-{MAX_RECORDED_RATE}; is its header damaged?"
        )
    if not 1 <= n_channels <= MAX_RECORDED_CHANNELS:
        raise AudioFormatError(
            f"{name}: got {n_channels} channels, expected 1-{MAX_RECORDED_CHANNELS}; convert to fewer first"
        )
