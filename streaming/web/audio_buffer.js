/** Audio that was recorded and may have to be sent, or sent again. Positions count bytes since the start. Pure. */
export class AudioBuffer {
  #pieces = [];
  #nextPiece = 0;
  start = 0;
  cursor = 0;
  end = 0;

  write(bytes) {
    if (bytes.length === 0) return;
    this.#pieces.push({ at: this.end, bytes });
    this.end += bytes.length;
  }

  get unsentBytes() {
    return this.end - this.cursor;
  }

  get keptBytes() {
    return this.end - this.start;
  }

  /** Return the next bytes, at most a piece as it was written, and step over them. */
  play() {
    const { at, bytes } = this.#pieces[this.#nextPiece++];
    const rest = bytes.subarray(this.cursor - at);
    this.cursor = at + bytes.length;
    return rest;
  }

  /** Go to a position that is kept. */
  rewind(position) {
    if (position < this.start || position > this.end) throw new RangeError(`${position} is not on the tape`);
    this.cursor = position;
    const piece = this.#pieces.findIndex(({ at, bytes }) => at + bytes.length > position);
    this.#nextPiece = piece < 0 ? this.#pieces.length : piece;
  }

  /** Keep nothing before that, but all that is unsent; whole pieces go at once. */
  forget(before) {
    this.#drop(Math.min(before, this.cursor));
  }

  /** Give up the oldest audio, also if it is unsent, so that at most so much is kept. */
  shorten(mostBytes) {
    this.#drop(this.end - mostBytes);
  }

  #drop(before) {
    let n = 0;
    while (n < this.#pieces.length && this.#pieces[n].at + this.#pieces[n].bytes.length <= before) n += 1;
    if (n === 0) return;
    this.#pieces.splice(0, n);
    this.start = this.#pieces[0]?.at ?? this.end;
    this.#nextPiece = Math.max(0, this.#nextPiece - n);
    this.cursor = Math.max(this.cursor, this.start);
  }
}
