/**
 * How a client recovers: the table that this client and the Python one both read. What its rows mean stands there, in
 * streaming/replay/recovery.py.
 */

const table = await fetch(new URL("recovery.json", import.meta.url));
export const RECOVERY = Object.freeze(await table.json());

/** After an error: connect again and resume, go on with a new session, or tell the user. */
export const After = Object.freeze({ AGAIN: "again", RENEW: "renew", STOP: "stop" });

export function after(code) {
  return RECOVERY.codes[code] ?? After.STOP;
}
