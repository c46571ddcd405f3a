"""Which of a recording's audio tracks is heard: the one asked for, by number or language, else the default one.

It knows what a container says of its tracks and nothing of how they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper import AudioFormatError

# ISO 639: the two letters that Whisper uses and the three, of one or two kinds, that containers do.
_THREE_LETTERS = dict(
    each.split(":")
    for each in (
        "af:afr am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben bo:bod/tib br:bre bs:bos ca:cat cs:ces/cze "
        "cy:cym/wel da:dan de:deu/ger el:ell/gre en:eng es:spa et:est eu:eus/baq fa:fas/per fi:fin fo:fao fr:fra/fre "
        "gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye/arm id:ind is:isl/ice it:ita iw:heb ja:jpn "
        "jv:jav jw:jav ka:kat/geo kk:kaz km:khm kn:kan ko:kor la:lat lb:ltz ln:lin lo:lao lt:lit lv:lav mg:mlg "
        "mi:mri/mao mk:mkd/mac ml:mal mn:mon mr:mar ms:msa/may mt:mlt my:mya/bur nb:nob ne:nep nl:nld/dut nn:nno "
        "no:nor oc:oci pa:pan pl:pol ps:pus pt:por ro:ron/rum ru:rus sa:san sd:snd si:sin sk:slk/slo sl:slv sn:sna "
        "so:som sq:sqi/alb sr:srp su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl tr:tur tt:tat "
        "uk:ukr ur:urd uz:uzb vi:vie yi:yid yo:yor zh:zho/chi"
    ).split()
)


@dataclass(frozen=True)
class Track:
    """An audio track. number: counted from 1; language: as the container writes it, empty when it does not say."""

    number: int
    language: str = ""
    title: str = ""
    is_default: bool = False

    def __str__(self) -> str:
        notes = [self.language, self.title and repr(self.title), "default" if self.is_default else ""]
        noted = ", ".join(note for note in notes if note)
        return f"{self.number} ({noted})" if noted else f"{self.number}"


def choose_track(tracks: Sequence[Track], wanted: str, name: str) -> Track:
    """Return the track with that number or language, the first of several; for "" the default one, else the first.

    Raises AudioFormatError, which begins with `name` and lists the tracks.
    """
    if not tracks:
        raise AudioFormatError(f"{name}: got no audio track that can be decoded")
    if not wanted:
        return next((track for track in tracks if track.is_default), tracks[0])
    if wanted.isdecimal():
        found = [track for track in tracks if track.number == int(wanted)]
    else:
        codes = _codes(wanted)
        found = [track for track in tracks if track.language and codes & _codes(track.language)]
    if not found:
        raise AudioFormatError(f"{name}: got no audio track {wanted!r}; it has {listed(tracks)}")
    return next((track for track in found if track.is_default), found[0])


def listed(tracks: Sequence[Track]) -> str:
    return ", ".join(str(track) for track in tracks)


def _codes(language: str) -> set[str]:
    """Return the language's codes of two and three letters; a region, as in en-US, does not matter."""
    code = language.replace("_", "-").split("-")[0].casefold()
    codes = {code, *_THREE_LETTERS.get(code, code).split("/")}
    return codes | {
        other for three in _THREE_LETTERS.values() if codes & set(three.split("/")) for other in three.split("/")
    }
