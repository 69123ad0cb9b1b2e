"""How fast and how well songs become notes, by a MIDI file of what was played.

    python -m benchmarks.transcription media/Impassive.wav media/Impassive.mid
    python -m benchmarks.transcription media/Impassive.wav media/Impassive.mid --repeat 1,10,40

Speed is by wall time and by processor time, FFmpeg's included. Notes count as found with the right pitch within 50 ms
of their onset; precision, recall and F1 are mir_eval's. `--repeat` measures the song so many times over.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mido
import mir_eval
import numpy as np
import soundfile

from benchmarks.memory import peak
from musicvideo import ffmpeg
from musicvideo.notes import Notes
from musicvideo.vision import locked_librosa as librosa
from musicvideo.vision.features import SAMPLE_RATE
from musicvideo.vision.transcription import transcribe


def processor_time() -> float:
    """Seconds of this process and of what it has run."""
    return sum(os.times()[:4])


def score(notes: Notes, midi: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of notes against a MIDI file."""
    now, onsets, pitches = 0.0, [], []
    for message in mido.MidiFile(midi):
        now += message.time
        if message.type == "note_on" and message.velocity:
            onsets.append(now)
            pitches.append(message.note)

    def listed(onset, pitch):  # the ends do not count
        return np.stack([onset, np.asarray(onset) + 0.1], axis=1), librosa.midi_to_hz(np.asarray(pitch))

    played, heard = listed(onsets, pitches), listed(notes.onset, notes.pitch)
    return mir_eval.transcription.precision_recall_f1_overlap(*played, *heard, offset_ratio=None)[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure transcription.")
    parser.add_argument("song")
    parser.add_argument("midi", nargs="?", help="what was played")
    parser.add_argument("--repeat", help="how many times over, as 1,10,40")
    arguments = parser.parse_args()
    if arguments.repeat:
        print("| seconds | notes | times real time | of processor time | peak of memory |\n|---|---|---|---|---|")
        for times in arguments.repeat.split(","):
            with tempfile.TemporaryDirectory() as folder:
                song = Path(folder) / "song.wav"
                subprocess.run(
                    ["ffmpeg", "-v", "error", "-stream_loop", str(int(times) - 1), "-i", ffmpeg.source(arguments.song),
                     "-ac", "1", "-ar", "22050", song], check=True,
                )  # fmt: skip
                subprocess.run([sys.executable, "-m", "benchmarks.transcription", song], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:  # compiles what librosa compiles
        short = Path(folder) / "short.wav"
        soundfile.write(short, np.random.default_rng(0).normal(scale=0.1, size=5 * SAMPLE_RATE), SAMPLE_RATE)
        transcribe(short)
    start, busy = time.perf_counter(), processor_time()
    notes = transcribe(arguments.song)
    wall, busy = time.perf_counter() - start, processor_time() - busy
    print(
        f"| {notes.duration:.0f} | {len(notes.onset)} | {notes.duration / wall:.0f} | {notes.duration / busy:.0f} | "
        f"{peak():.0f} MB |"
    )
    if arguments.midi:
        precision, recall, f1 = score(notes, arguments.midi)
        print(f"precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}")


if __name__ == "__main__":
    main()
