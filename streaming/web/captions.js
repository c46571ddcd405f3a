/**
 * The captions on the screen. Committed words never move but for scrolling, a line at a time; the draft stands behind
 * them in space that is kept free for it, so that nothing moves when it changes.
 */

const NEAR_END_LINES = 2;
// Numbers with what belongs to them, and spelled names: browsers would break them at spaces and hyphens.
const WHOLE = /(\p{Sc}?\p{Nd}(?:[\p{Nd}.,:'’/–-]{0,20}\p{Nd})?(?: \p{Nd}{3}(?!\p{Nd})){0,3}(?: ?[%‰°\p{Sc}])?|\p{L}(?:-\p{L}){1,9}(?![\p{L}\p{N}]))/u;

export class Captions {
  #frame;
  #text;
  #isFollowing = true;
  #isTouched = false;
  #top = 0;
  #toLatest;
  #direction;
  #draft = span("draft");
  #seam = span("seam");

  /**
   * frame: what scrolls; text: what is written to; toLatest: the button that goes back to the last words; direction: of
   * the writing, auto where it is not known.
   */
  constructor(frame, text, toLatest, direction = "auto") {
    this.#direction = direction;
    this.#frame = frame;
    this.#text = text;
    this.#toLatest = toLatest;
    this.#draft.setAttribute("aria-hidden", "true");
    for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      frame.addEventListener(kind, () => (this.#isTouched = true), { passive: true });
    }
    frame.addEventListener("scroll", () => this.#noteScroll());
    toLatest.addEventListener("click", () => this.showLatest());
    new ResizeObserver(() => this.#scroll("instant")).observe(frame);
  }

  /** lang: of the text, as browsers know it; empty for that of the page's captions. */
  commit(text, beginsParagraph, lang = "") {
    if (beginsParagraph || !this.#text.lastElementChild) this.#addParagraph();
    const committed = span("committed");
    if (lang) committed.lang = lang;
    const isFirst = this.#text.lastElementChild.firstChild === this.#seam;
    committed.append(...unbroken(isFirst ? text.trimStart() : text));
    this.#seam.before(committed);
    this.#write("");
    this.#scroll("smooth");
  }

  draft(text, beginsParagraph) {
    if (text && (beginsParagraph || !this.#text.lastElementChild)) this.#addParagraph();
    this.#write(text);
  }

  /** Say something about the text, between its paragraphs; what follows begins another. */
  note(text) {
    const note = document.createElement("p");
    note.className = "note";
    note.lang = "en";
    note.dir = "ltr";
    note.textContent = text;
    this.#text.append(note);
    this.#scroll("smooth");
  }

  clear() {
    this.#text.replaceChildren();
    this.#write("");
    this.showLatest();
  }

  showLatest() {
    this.#follow(true);
    this.#scroll("instant");
  }

  /** The space before the draft belongs to neither. */
  #write(draft) {
    const bare = draft.trimStart();
    this.#seam.textContent = draft.slice(0, draft.length - bare.length);
    this.#draft.textContent = bare;
  }

  #addParagraph() {
    const last = this.#text.lastElementChild;
    // A paragraph that only ever held a draft is used.
    if (last?.firstChild === this.#seam) return;
    const paragraph = document.createElement("p");
    paragraph.dir = this.#direction;
    paragraph.append(this.#seam, this.#draft);
    this.#text.append(paragraph);
  }

  #noteScroll() {
    const top = this.#frame.scrollTop;
    const isBackwards = top < this.#top;
    this.#top = top;
    this.#frame.dataset.isScrolled = String(top > 0);
    if (!this.#isTouched) return;
    if (this.#isAtEnd()) this.#follow(true);
    else if (isBackwards) this.#follow(false);
  }

  #follow(isFollowing) {
    this.#isFollowing = isFollowing;
    if (isFollowing) this.#isTouched = false;
    this.#toLatest.hidden = isFollowing;
  }

  #scroll(behavior) {
    if (this.#isFollowing) this.#frame.scrollTo({ top: this.#latestTop(), behavior: isCalm() ? "instant" : behavior });
  }

  #isAtEnd() {
    return this.#frame.scrollTop > this.#latestTop() - NEAR_END_LINES * this.#lineHeight();
  }

  /** Where to scroll so that the last committed line stands right above the space for the draft. */
  #latestTop() {
    if (!this.#seam.isConnected) return 0;
    const reserve = Number.parseFloat(getComputedStyle(this.#text).paddingBottom);
    const frame = this.#frame.getBoundingClientRect();
    const seamBottom = this.#seam.getBoundingClientRect().bottom - frame.top + this.#frame.scrollTop;
    return Math.max(0, seamBottom + reserve - this.#frame.clientHeight);
  }

  #lineHeight() {
    return Number.parseFloat(getComputedStyle(this.#text).lineHeight);
  }
}

function span(className) {
  const element = document.createElement("span");
  element.className = className;
  return element;
}

/** The text in pieces, of which a line holds each number as a whole. */
function unbroken(text) {
  return text.split(WHOLE).map((piece, n) => {
    if (n % 2 === 0) return piece;
    const whole = span("whole");
    whole.textContent = piece;
    return whole;
  });
}

const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
