/** The languages that Whisper knows, by its own codes, with names in the reader's language. */

const CODES = (
  "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml " +
  "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am " +
  "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
).split(" ");
// Whisper's code for Javanese is not the one that browsers know.
const TAGS = { jw: "jv" };

export const tagOf = (code) => TAGS[code] ?? code;

/** Return [code, name] sorted by name. */
export function namedLanguages() {
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const named = CODES.map((code) => [code, names.of(tagOf(code))]);
  return named.sort(([, one], [, other]) => one.localeCompare(other));
}
