"""Somebody's song, in any format, -> the WAV that the pipeline works on."""

from __future__ import annotations

import json
import os
from pathlib import Path

from musicvideo import ffmpeg, files, probe, programs
from musicvideo.errors import MediaError


def decode(song: str | os.PathLike, output: str | os.PathLike) -> bool:
    """Decode a song to 48 kHz, 24 bit stereo, unless `output` was made from this very file already.

    Which file that was is kept beside the output, as `<output>.source.json`.

    Returns:
        Whether the output was written.

    Raises:
        MediaError: missing, empty, cut off, or not one single file with sound in it.
    """
    song, output = files.require_file(song), Path(output)
    status = song.stat()
    identity = json.dumps([str(song.resolve()), status.st_size, status.st_mtime_ns])
    note = output.with_suffix(".source.json")
    if output.exists() and note.exists() and note.read_text() == identity:
        return False
    found = probe.probe(song)
    if found.audio_codec is None:
        raise MediaError(f"{song}: has no sound in it")
    if song.resolve() == output.resolve():
        raise MediaError(f"{song}: is where the decoded song goes; keep your song outside {output.parent}/")
    # Many a sound mp3 has tags or junk between its frames; in any other format an error means a broken file.
    strict = [] if found.audio_codec == "mp3" else probe.strictness(found)
    with files.atomic(output) as partial:
        programs.run(
            ["ffmpeg", "-v", "error", *strict, *ffmpeg.SAFE_INPUT, "-i", ffmpeg.source(song), "-map", "0:a:0",
             "-ac", "2", "-ar", "48000", "-c:a", "pcm_s24le", ffmpeg.source(partial)],
            doing=f"decoding {song} (is it whole?)",
        )
        probe.require_whole(song, found, probe.probe(partial).duration)
    note.write_text(identity)
    return True
