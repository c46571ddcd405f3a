"""Time a voice over lines of text: `python -m scripts.voice_times joe en < lines.txt`.

Of each line, how long its first phrase takes, and of all, the seconds of computation for each second of sound.
"""

import argparse
import sys
import time

from simul_whisper import SpeechConfig, open_voices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voice", help="as the setting `voice` takes it")
    parser.add_argument("language", help="Whisper's code")
    asked = parser.parse_args()
    voice = open_voices(SpeechConfig(voice=asked.voice)).voice(asked.language)
    lines = [line for line in sys.stdin.read().splitlines() if line]
    # The first run of a graph is slower.
    list(voice.speak("Mama.", asked.language))
    firsts_s, taken_s, n_samples = list[float](), 0.0, 0
    for line in lines:
        started = time.perf_counter()
        for n, phrase in enumerate(voice.speak(line, asked.language)):
            n_samples += len(phrase)
            if not n:
                firsts_s.append(time.perf_counter() - started)
        taken_s += time.perf_counter() - started
    audio_s = n_samples / voice.rate
    print(f"{voice.description}: {len(lines)} lines, {audio_s:.1f} s of sound")
    print(f"real-time factor {taken_s / audio_s:.3f}")
    print(f"first phrase after {sum(firsts_s) / len(firsts_s):.2f} s, at most {max(firsts_s):.2f} s")


if __name__ == "__main__":
    main()
