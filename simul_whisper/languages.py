"""The languages of Whisper: codes, English names, and which of them is meant by what people write.

A language may be written as its code, of two or three letters, as a locale such as `en-US` or `zh_CN`, or by its name,
in English or, for many, in the language itself.
"""

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import shown

# One language a line, in the order of Whisper's token ids, which its training fixed; Cantonese came with large-v3.
# Code: English name, further names / further codes: those of ISO 639-2 and 639-3, and older ones.
_TABLE = """
en: English / eng
zh: Chinese, Mandarin, 中文, 汉语, 漢語, 普通话, 普通話, 國語 / zho chi cmn
de: German, Deutsch / deu ger
es: Spanish, Castilian, Español, Castellano / spa
ru: Russian, Русский / rus
ko: Korean, 한국어 / kor
fr: French, Français / fra fre
ja: Japanese, 日本語 / jpn
pt: Portuguese, Português / por
tr: Turkish, Türkçe / tur
pl: Polish, Polski / pol
ca: Catalan, Valencian, Català, Valencià / cat
nl: Dutch, Flemish, Nederlands, Vlaams / nld dut vls
ar: Arabic, العربية / ara arb
sv: Swedish, Svenska / swe
it: Italian, Italiano / ita
id: Indonesian, Bahasa Indonesia / ind in
hi: Hindi, हिन्दी / hin
fi: Finnish, Suomi / fin
vi: Vietnamese, Tiếng Việt / vie
he: Hebrew, עברית / heb iw
uk: Ukrainian, Українська / ukr
el: Greek, Ελληνικά / ell gre
ms: Malay, Bahasa Melayu / msa may zsm
cs: Czech, Čeština / ces cze
ro: Romanian, Moldavian, Moldovan, Română / ron rum mo mol
da: Danish, Dansk / dan
hu: Hungarian, Magyar / hun
ta: Tamil, தமிழ் / tam
no: Norwegian, Bokmål, Norsk / nor nb nob
th: Thai, ไทย / tha
ur: Urdu, اردو / urd
hr: Croatian, Hrvatski / hrv
bg: Bulgarian, Български / bul
lt: Lithuanian, Lietuvių / lit
la: Latin / lat
mi: Maori / mri mao
ml: Malayalam, മലയാളം / mal
cy: Welsh, Cymraeg / cym wel
sk: Slovak, Slovenčina / slk slo
te: Telugu, తెలుగు / tel
fa: Persian, Farsi, فارسی / fas per pes prs
lv: Latvian, Latviešu / lav lvs
bn: Bengali, Bangla, বাংলা / ben
sr: Serbian, Српски, Srpski / srp scc
az: Azerbaijani, Azeri / aze azj
sl: Slovenian, Slovene, Slovenščina / slv
kn: Kannada, ಕನ್ನಡ / kan
et: Estonian, Eesti / est ekk
mk: Macedonian, Македонски / mkd mac
br: Breton, Brezhoneg / bre
eu: Basque, Euskara / eus baq
is: Icelandic, Íslenska / isl ice
hy: Armenian, Հայերեն / hye arm
ne: Nepali, नेपाली / nep npi
mn: Mongolian, Монгол / mon khk
bs: Bosnian, Bosanski / bos
kk: Kazakh, Қазақша / kaz
sq: Albanian, Shqip / sqi alb als
sw: Swahili, Kiswahili / swa swh
gl: Galician, Galego / glg
mr: Marathi, मराठी / mar
pa: Punjabi, Panjabi, ਪੰਜਾਬੀ / pan
si: Sinhala, Sinhalese, සිංහල / sin
km: Khmer, ខ្មែរ / khm
sn: Shona / sna
yo: Yoruba, Yorùbá / yor
so: Somali, Soomaali / som
af: Afrikaans / afr
oc: Occitan / oci
ka: Georgian, ქართული / kat geo
be: Belarusian, Беларуская / bel
tg: Tajik, Тоҷикӣ / tgk
sd: Sindhi / snd
gu: Gujarati, ગુજરાતી / guj
am: Amharic, አማርኛ / amh
yi: Yiddish, ייִדיש / yid ji ydd
lo: Lao, ລາວ / lao
uz: Uzbek, Oʻzbekcha / uzb uzn
fo: Faroese, Føroyskt / fao
ht: Haitian Creole, Haitian, Kreyòl / hat
ps: Pashto, Pushto / pus pbt
tk: Turkmen / tuk
nn: Nynorsk, Norwegian Nynorsk / nno
mt: Maltese, Malti / mlt
sa: Sanskrit / san
lb: Luxembourgish, Letzeburgesch, Lëtzebuergesch / ltz
my: Burmese, Myanmar / mya bur
bo: Tibetan / bod tib
tl: Tagalog, Filipino / tgl fil
mg: Malagasy / mlg plt
as: Assamese / asm
tt: Tatar / tat
haw: Hawaiian
ln: Lingala / lin
ha: Hausa / hau
ba: Bashkir / bak
jw: Javanese, Basa Jawa / jav jv
su: Sundanese, Basa Sunda / sun
yue: Cantonese, 粵語, 粤语, 廣東話, 广东话 / zh-yue
"""
_N_NEAREST = 3
_LONGEST_NAME = 80


def _rows() -> Iterator[tuple[str, list[str], list[str]]]:
    """Code, names, and further codes of each language."""
    for line in _TABLE.strip().splitlines():
        code, _, rest = line.partition(": ")
        names, _, codes = rest.partition(" / ")
        yield code, names.split(", "), codes.split()


_NAMES = {code: names[0] for code, names, _ in _rows()}
LANGUAGES = tuple(_NAMES)
"""Whisper's codes, in the order of their tokens."""
LANGUAGES_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def language_names(codes: Iterable[str] = LANGUAGES) -> dict[str, str]:
    """Return Whisper code -> English name: of these codes, or of all that Whisper has."""
    return {code: _NAMES[code] for code in codes}


def language_code(written: str, *, may_be_auto: bool = True) -> str:
    """Return the Whisper code of a language written as people do: German, deutsch, de-DE, ger. `auto` stays `auto`.

    Raises ConfigError, with the nearest languages, for what is none of Whisper's, and for `auto` where it may not be.
    """
    folded = _folded(written)
    if folded == "auto" and may_be_auto:
        return folded
    known = _codes_by_spelling()
    for spelling in (folded, folded.partition("-")[0]):
        if spelling in known:
            return known[spelling]
    nearest = ", ".join(f"{_NAMES[code]} ({code})" for code in _nearest(folded[:_LONGEST_NAME]))
    hint = "; auto detects it" if may_be_auto else ""
    raise ConfigError(f"got language {shown(written)}, which Whisper does not know; the nearest are {nearest}{hint}")


def _folded(written: str) -> str:
    """Without what people leave out or change: case, accents, and how the parts of a locale are joined."""
    plain = unicodedata.normalize("NFKD", written.strip().casefold().replace("_", "-"))
    return "".join(character for character in plain if not unicodedata.combining(character))


@cache
def _codes_by_spelling() -> dict[str, str]:
    """Every spelling, folded -> Whisper's code."""
    return {_folded(spelling): code for code, names, codes in _rows() for spelling in (code, *names, *codes)}


def _nearest(folded: str) -> list[str]:
    """Return the codes of the languages spelt most like this, the nearest first."""

    def likeness(spelling: str) -> float:
        return difflib.SequenceMatcher(None, folded, spelling).ratio()

    by_likeness = sorted(_codes_by_spelling().items(), key=lambda item: -likeness(item[0]))
    return list(dict.fromkeys(code for _, code in by_likeness))[:_N_NEAREST]
