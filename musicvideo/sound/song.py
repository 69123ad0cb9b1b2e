"""A song in any format -> the WAV that the pipeline uses."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path

from musicvideo import files, probe
from musicvideo.decoder import decode as decoded
from musicvideo.decoder import require_sound
from musicvideo.errors import MediaError

SAMPLE_RATE = 48_000  # Hz
CHANNELS = 2
SAMPLE_BYTES = 3  # 24 bit
LONGEST_WAV = (1 << 32) - 4096  # bytes of samples: a WAV file states its size in 32 bits


def decode(song: str | os.PathLike, output: str | os.PathLike) -> bool:
    """Decode a song to 48 kHz, 24 bit stereo, unless `output` is whole and was made from this very file.

    `<output>.source.json` beside the output identifies that file, and holds the output's SHA-256.

    Returns:
        Whether the output was written.

    Raises:
        MediaError: missing, empty, cut off, or not one single file with sound in it; too long for a WAV file.
    """
    song, output = files.require_file(song), Path(output)
    status = song.stat()
    identity = [str(song.resolve()), status.st_size, status.st_mtime_ns]
    note = output.with_suffix(".source.json")
    if _is_made(output, note, identity):
        return False
    found = probe.probe(song)
    require_sound(song, found)
    if song.resolve() == output.resolve():
        raise MediaError(f"{song}: is where the decoded song goes; keep your song outside {output.parent}/")
    with files.atomic(output) as partial:
        _write(song, found, partial)
        # The note first: one that matches no output is seen, and one that cannot be written keeps the old output.
        with files.atomic(note) as beside:
            beside.write_text(json.dumps([*identity, files.sha256(partial)]), encoding="ascii")
    return True


def _is_made(output: Path, note: Path, identity: list) -> bool:
    """Whether an output matches its note and was made from a song of this identity."""
    try:
        return note.read_bytes() == json.dumps([*identity, files.sha256(output)]).encode()
    except OSError:  # one of them is missing or not a file
        return False


def _write(song: Path, found: probe.Media, partial: Path) -> None:
    written = 0
    with open(partial, "wb") as stream, wave.open(stream, "wb") as file:
        file.setframerate(SAMPLE_RATE)
        file.setnchannels(CHANNELS)
        file.setsampwidth(SAMPLE_BYTES)
        for piece in decoded(song, found, codec="pcm_s24le", sample_rate=SAMPLE_RATE, channels=CHANNELS, strict=True):
            written += len(piece)
            if written > LONGEST_WAV:
                hours = LONGEST_WAV / (SAMPLE_RATE * CHANNELS * SAMPLE_BYTES * 3600)
                raise MediaError(
                    f"{song}: is longer than the {hours:.1f} hours that a WAV file holds; give a part of it"
                )
            file.writeframesraw(piece)
