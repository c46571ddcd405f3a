/** What the server's model can do, or its models. */

const AGAIN_MS = 1000;

/**
 * Ask until the model is ready. onWait hears a code: not_ready or unreachable.
 *
 * Returns its name, languages, tasks, and the language and task of sessions that ask for none; and into what the server
 * translates, unless it is an older one; where there are several models, what each can do. Throws an error whose code is
 * `unauthorized`.
 */
export async function askForModel(url, onWait) {
  for (;;) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return answer.json();
    if (answer?.status === 401) throw Object.assign(new Error(""), { code: "unauthorized" });
    onWait(answer?.status === 503 ? "not_ready" : "unreachable");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}
