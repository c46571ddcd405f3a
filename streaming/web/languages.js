/** Languages by Whisper's codes, as people call them. Pure. */

// Whisper's code for Javanese is not the one that browsers know.
const TAGS = { jw: "jv" };

export const tagOf = (code) => TAGS[code] ?? code;

const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ps", "sd", "ur", "yi"]);

/** How a language is written: ltr or rtl. */
export const directionOf = (code) => (RIGHT_TO_LEFT.has(code) ? "rtl" : "ltr");

/**
 * Return [code, name] sorted by name. languages: as the server tells them, by code and English name; locales: those of
 * the reader, in whose language the names are, where the browser knows them.
 */
export function named(languages, locales) {
  const names = new Intl.DisplayNames(locales, { type: "language", fallback: "none" });
  const pairs = languages.map(({ code, name }) => [code, names.of(tagOf(code)) ?? name]);
  return pairs.sort(([, one], [, other]) => one.localeCompare(other, locales));
}
