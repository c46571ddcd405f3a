/** Samples as the server takes them. Pure. */

/** float: in [-1, 1]; returns 16-bit integers, louder ones clipped. */
export function toInt16(float) {
  return Int16Array.from(float, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768))));
}

/** channels: Float32Array each, of one length. */
export function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
}

/** Loudest sample, from 0 to 1. */
export function peak(int16) {
  return int16.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32768;
}
