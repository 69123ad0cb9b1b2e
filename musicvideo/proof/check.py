"""Check a film, ours or any other: measure picture, sound, and both together, and compare with limits.

A limit is broken by what harms or disturbs whoever watches: flashes, a sound that is clearly early or late, clipped
sound, frames at uneven times, and a picture or a sound that is missing for long while the other goes on. What depends
on taste or purpose is stated without a limit: loudness, motion, symmetry, what streams and chapters there are.

The picture and the default sound are measured in full; of other sounds, loudness and sync. The picture is decoded once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import floor, log10
from typing import Any

import numpy as np

from musicvideo import decoder, probe
from musicvideo.errors import MediaError
from musicvideo.sound.mastering import integrated, loudness_curves
from musicvideo.vision import record
from musicvideo.vision.flashes import MOST as MOST_FLASHES
from musicvideo.vision.flashes import too_many
from musicvideo.vision.sync import BLACK, Sync, sync
from musicvideo.vision.watching import Watched, watch

LATEST = 0.045  # seconds that sound or picture may be late, or one frame; what viewers notice by ITU-R BT.1359
CLEAR = 0.25  # correlation from which a lag is taken seriously,
CLEARER = 0.1  # if it is so much higher than at any lag within the limit
LOUDEST = 0.0  # dBTP that a true peak may reach
FULL_SCALE = 1 - 2**-15  # of a sample, from which it may be clipped: the largest value of 16 bit
CLIPPED = 3  # samples of full scale in a row that count as clipped
UNEVEN = 0.0015  # seconds by which the time between two frames may differ; Matroska rounds times to 0.001 s
ODD_FRAMES = (
    1  # of 1000 that may be at uneven times, or one of a shorter film, as where a film was cut without encoding
)
LONGEST_GAP = (
    10.0  # seconds for which picture or sound may be missing, or half of a film that is shorter than twice that
)
SILENT = -60.0  # dBFS, root mean square of a frame's sound, below which it is silent,
SHORTEST_SILENCE = 1.0  # if for so many seconds
MOST_LISTED = 50  # sounds of a stranger's film that are measured; streams or chapters that its document lists
MOST_NAMED = 3  # stretches that a figure names


@dataclass(frozen=True)
class Check:
    """One measure of a film.

    Attributes:
        name: what was measured.
        value: the figure; None where there is none.
        shown: the figure in words.
        limit: in words; "" where there is none.
        passes: whether it is within the limit; None where there is none.
    """

    name: str
    value: float | str | None
    shown: str
    limit: str = ""
    passes: bool | None = None


@dataclass(frozen=True)
class Listen:
    """One sound of a film. Figures are None for a silent or very short sound.

    Attributes:
        title, codec: of the stream.
        loudness: integrated, in LUFS.
        range: of loudness, in LU.
        true_peak: in dBTP.
        late: seconds that the sound is late by; negative where it is early.
        correlation: of frame differences and onsets at that lag.
        clear: whether the lag is outside of the limit, and clear enough to be believed.
    """

    title: str
    codec: str
    loudness: float | None
    range: float | None
    true_peak: float | None
    late: float
    correlation: float
    clear: bool


@dataclass(frozen=True)
class Findings:
    """All that `check` found. Masks are (N,), of the film's frames.

    Attributes:
        film: its path.
        checks: in the order of the page.
        listens: every sound, in the order of the file.
        main: index of the default one.
        streams, chapters: of the file.
        seconds, width, height: of the film.
        watched, sync: of the picture, and of the default sound.
        curves: `loudness_curves` of the default sound.
        begin: seconds at which that sound begins.
        black, silent: where the picture is black, the sound silent.
    """

    film: str
    checks: Sequence[Check]
    listens: Sequence[Listen]
    main: int
    streams: Sequence[probe.Stream]
    chapters: Sequence[probe.Chapter]
    seconds: float
    width: int
    height: int
    watched: Watched
    sync: Sync
    curves: dict[str, np.ndarray]
    begin: float
    black: np.ndarray
    silent: np.ndarray

    @property
    def broken(self) -> list[Check]:
        """The checks whose limit is broken."""
        return [each for each in self.checks if each.passes is False]

    def document(self) -> dict[str, Any]:
        """The findings as a JSON object, without curves."""
        return {
            "film": self.film,
            "passes": not self.broken,
            "seconds": round(self.seconds, 3),
            "width": self.width,
            "height": self.height,
            "fps": str(self.watched.fps),
            "checks": [asdict(each) for each in self.checks],
            "listens": [asdict(each) for each in self.listens],
            "streams": [asdict(each) for each in self.streams[:MOST_LISTED]],
            "chapters": [asdict(each) for each in self.chapters[:MOST_LISTED]],
        }


def check(film: str | os.PathLike, *, progress: Callable[[float, float], None] | None = None) -> Findings:
    """Measure a film; memory grows by some bytes a frame.

    Args:
        film: any film with picture and sound.
        progress: called with the seconds of the picture that are done, and with the total.

    Raises:
        MediaError: no picture, no sound, damaged, too long; see `watch` and `decoder.decode`.
    """
    found = probe.probe(film)
    if found.frame_rate:  # else `watch` says what is missing
        decoder.require_sound(film, found)
    streams, chapters = probe.contents(film)
    watched = watch(film, progress=progress and (lambda done: progress(done, max(done, found.duration))))
    sounds = [stream for stream in streams if stream.kind == "audio"][:MOST_LISTED]
    main = next((number for number, stream in enumerate(sounds) if stream.default), 0)
    together, curves = sync(film, watched=watched, stream=main), loudness_curves(film, stream=main)
    listens = []
    for number, stream in enumerate(sounds):
        if number == main:
            listens.append(_listen(stream, together, curves))
        else:
            other = sync(film, watched=watched, stream=number)
            listens.append(_listen(stream, other, loudness_curves(film, stream=number)))
    silent = _lasting(together.loudness < SILENT, watched.fps, SHORTEST_SILENCE)
    black = watched.brightness < BLACK
    return Findings(
        film=str(film),
        checks=[
            *_flash_checks(watched),
            _sync_check(listens[main], watched.fps),
            _peak_check(listens[main]),
            _clip_check(film, main),
            _rate_check(film, watched.fps),
            *_gap_checks(watched, silent, black),
            *_statements(film, watched, together, listens[main], silent, black),
        ],
        listens=listens,
        main=main,
        streams=streams,
        chapters=chapters,
        seconds=len(watched.times) / float(watched.fps),
        width=found.width or 0,
        height=found.height or 0,
        watched=watched,
        sync=together,
        curves=curves,
        begin=probe.probe(film, sound=main).audio_start,
        black=black,
        silent=silent,
    )


def tolerance(fps: Fraction) -> float:
    """Seconds that picture or sound may be late."""
    return max(LATEST, float(1 / fps))


def tolerated_lag(fps: Fraction) -> int:
    """Whole frames that picture or sound may be late."""
    return floor(tolerance(fps) * float(fps) + 1e-6)


def longest_gap(seconds: float) -> float:
    """Seconds for which the picture or the sound of a film of this length may be missing."""
    return min(LONGEST_GAP, seconds / 2)


def stretches(mask: np.ndarray, fps: Fraction) -> list[tuple[float, float]]:
    """(begin, end) in seconds of each run of frames in a mask."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(begin / float(fps), end / float(fps)) for begin, end in edges.reshape(-1, 2).tolist()]


def clock(seconds: float) -> str:
    """Minutes and seconds, 1:05, or hours as well."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _listen(stream: probe.Stream, together: Sync, curves: dict[str, np.ndarray]) -> Listen:
    loudness = integrated(curves)
    within = min(tolerated_lag(together.fps), together.furthest)
    tolerated = max(together.correlation(lag) for lag in range(-within, within + 1))
    best = together.correlation(together.lag)
    heard = loudness is not None
    return Listen(
        title=stream.title,
        codec=stream.codec,
        loudness=loudness,
        range=float(curves["LRA"][-1]) if heard else None,
        true_peak=20 * log10(max(curves["true_peak"][-1], 1e-6)) if heard else None,
        late=float(0 - together.lag / together.fps),
        correlation=best,
        clear=best >= CLEAR and best - tolerated >= CLEARER,
    )


def _flash_checks(watched: Watched) -> list[Check]:
    def one(name: str, flashes: np.ndarray) -> Check:
        most = int(flashes.max())
        places = too_many(flashes.tolist(), watched.fps)
        at = f", at {_spans(places)}" if places else f", at {clock(watched.times[flashes.argmax()])}" if most else ""
        return Check(name, most, f"{most} a second{at}", f"at most {MOST_FLASHES} a second", not places)

    return [one("General flashes", watched.general), one("Red flashes", watched.red)]


def _sync_check(listen: Listen, fps: Fraction) -> Check:
    within = tolerance(fps)
    if listen.correlation < CLEAR:
        shown = f"not clear, r {listen.correlation:.2f}"
    elif abs(listen.late) < 1e-6:
        shown = f"together, r {listen.correlation:.2f}"
    else:
        which = "late" if listen.late > 0 else "early"
        shown = f"sound {abs(listen.late):.2f} s {which}, r {listen.correlation:.2f}"
    return Check("Sync", round(listen.late, 4), shown, f"within {within:.3f} s, where clear", not listen.clear)


def _peak_check(listen: Listen) -> Check:
    peak = listen.true_peak
    shown = "silent" if peak is None else f"{peak:.1f} dBTP"
    return Check("True peak", peak, shown, f"at most {LOUDEST:.0f} dBTP", peak is None or peak <= LOUDEST)


def _clip_check(film: str | os.PathLike, stream: int) -> Check:
    found = probe.probe(film, sound=stream)
    _, channels = decoder.require_sound(film, found)
    runs, before = 0, np.zeros((CLIPPED, channels), bool)
    for piece in decoder.decode(film, found, codec="pcm_f32le", stream=stream):
        full = np.concatenate([before, np.abs(np.frombuffer(piece, "<f4").reshape(-1, channels)) >= FULL_SCALE])
        begins = ~full[:-CLIPPED]
        for later in range(1, CLIPPED + 1):
            begins = begins & full[later : len(full) - CLIPPED + later]
        runs += int(np.count_nonzero(begins))
        before = full[-CLIPPED:]
    return Check("Clipped sound", runs, "none" if not runs else f"{runs} places", "none", not runs)


def _rate_check(film: str | os.PathLike, fps: Fraction) -> Check:
    begins, _ = probe.picture_times(film)
    between = np.diff(np.sort(np.asarray(begins)))
    uneven = int(np.count_nonzero(np.abs(between - np.median(between)) > UNEVEN)) if len(between) else 0
    times = f"{uneven} frame{'s' if uneven > 1 else ''} at uneven times" if uneven else "constant"
    limit = f"constant, but for {ODD_FRAMES} frame in 1000"
    shown = f"{float(fps):.5g} a second, {times}"
    return Check("Frame rate", round(float(fps), 4), shown, limit, uneven <= max(1, ODD_FRAMES * len(begins) / 1000))


def _gap_checks(watched: Watched, silent: np.ndarray, black: np.ndarray) -> list[Check]:
    """The longest stretches in which picture or sound is missing, while the other is there for most of the time."""
    fps, still = watched.fps, watched.still & ~black
    most = longest_gap(len(black) / float(fps))
    after = np.maximum.accumulate(~silent) if not silent.all() else np.ones(len(silent), bool)  # the first sound

    def one(name: str, missing: np.ndarray, other: np.ndarray) -> Check:
        gaps = [
            (begin, end)
            for begin, end in stretches(missing, fps)
            if other[round(begin * fps) : round(end * fps)].mean() > 0.5
        ]
        begin, end = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))
        broken = [gap for gap in gaps if gap[1] - gap[0] > most]
        at = f", at {_spans(broken)}" if broken else ""
        shown = f"{end - begin:.1f} s at most{at}"
        return Check(name, round(end - begin, 3), shown, f"at most {most:.1f} s", not broken)

    return [
        one("Black while it sounds", black, ~silent),
        one("Still while it sounds", still, ~silent),
        one("Silent while it moves", silent & after, ~black & ~watched.still),
    ]


def _statements(
    film: str | os.PathLike, watched: Watched, together: Sync, main: Listen, silent: np.ndarray, black: np.ndarray
) -> list[Check]:
    """What has no limit."""
    onsets, badness = together.onsets, watched.badness
    seen = float(together.seen[onsets].mean()) if len(onsets) else None
    rests = float(together.differences[together.rests].mean()) if together.rests.any() else None
    settings = None
    with suppress(MediaError):
        settings = record.checksum(record.read(film))
    differences = watched.differences
    highest = float(np.percentile(differences, 99))
    intervenes = int((badness > 1).sum())
    worst = float(badness.max(initial=0))
    asymmetry = float(watched.asymmetry.mean())
    loud = "silent" if main.loudness is None else f"{main.loudness:.1f} LUFS, range {main.range:.1f} LU"
    totals = {
        name: float(mask.sum() / watched.fps) for name, mask in (("black", black), ("still", watched.still & ~black))
    } | {"silent": float(silent.sum() / watched.fps)}
    return [
        Check("Loudness", main.loudness, loud),
        Check(
            "Difference of frames", highest, f"{differences.mean():.2f} in the mean, 99 % below {highest:.1f} of 255"
        ),
        Check("Onsets seen", seen, "no onsets" if seen is None else f"{seen:.0%} of {len(onsets)}"),
        Check("Motion in rests", rests, "no rests" if rests is None else f"{rests:.2f} of 255"),
        Check("Photosensitivity", worst, f"{worst:.2f} at most, {intervenes} frames above 1 (FFmpeg)"),
        Check("Asymmetry", asymmetry, f"{asymmetry:.2f} of 255, left from right"),
        *(Check(f"Seconds {name}", seconds, f"{seconds:.1f} s") for name, seconds in totals.items()),
        Check("Settings", settings, f"SHA-256 {settings}" if settings else "none in the film"),
    ]


def _lasting(mask: np.ndarray, fps: Fraction, seconds: float) -> np.ndarray:
    """The runs of a mask that last so long."""
    lasting = np.zeros(len(mask), bool)
    for begin, end in stretches(mask, fps):
        if end - begin >= seconds:
            lasting[round(begin * fps) : round(end * fps)] = True
    return lasting


def _spans(places: Sequence[tuple[float, float]]) -> str:
    named = ", ".join(f"{clock(begin)} to {clock(end)}" for begin, end in places[:MOST_NAMED])
    return named + (f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else "")
