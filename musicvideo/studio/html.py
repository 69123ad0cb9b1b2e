"""The page's own pieces of HTML. What comes from a person or a file is escaped here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from musicvideo.errors import MediaError
from musicvideo.studio import around, choices, pictures
from musicvideo.studio.renders import DONE, RUNNING, WAITING, Film, Films
from musicvideo.vision import generators, storyboard
from musicvideo.vision import record as records
from musicvideo.vision.settings import PITCHES
from musicvideo.vision.storyboard import approximately, player_time

FOLDER = Path("media", "studio")  # all that the page serves is below it
ACCEPTED = "audio/*,video/*,.mid,.midi"
PICTURES = FOLDER / "pictures"  # of generators and their classes


def served(path: Path) -> str:
    """Address of a file below `FOLDER`, for scripts as for HTML, where nothing in it needs to be escaped."""
    return f"/gradio_api/file={quote(str(path.resolve()))}"


def welcome() -> str:
    """The screen before a song is given."""
    tiles = "".join(_moving(name) for name in choices.offered() if not pictures.lacks(name))
    return f"""
    <div class="screen welcome"><div class="mosaic" aria-hidden="true">{tiles}</div>
      <label class="drop">
      <input type="file" class="song-file" multiple accept="{ACCEPTED}" aria-label="Choose a song">
      <strong>Drop a song here</strong>
      <span>or choose a file: any audio, or a video for its sound.
      Its notes as a MIDI file may come with it.</span></label></div>"""


def still(picture: Path) -> str:
    """The screen with a picture of the storyboard."""
    image = f'<img src="{served(picture)}" alt="">'
    return f'<div class="screen still" role="img" aria-label="A picture of this film">{image}{image}</div>'


def playing(shown: pictures.Preview, name: str) -> str:
    """The screen with a preview, which plays at once; below it, where its parts are around the head."""
    sounds = " ".join(f'data-{sound}="{served(video)}"' for sound, video in shown.videos.items())
    first = next(iter(shown.videos.values()))
    return f"""<div class="screen"><video controls autoplay loop playsinline src="{served(first)}" {sounds}
      data-begin="{shown.begin:.3f}" aria-label="Preview of {escape(name)}"></video></div>
      {_around(shown.sources) if shown.sources else ""}"""


def _around(sources: Sequence[around.Source]) -> str:
    """A head from above with a dot for each part, which screen.js moves; and the switch between Wet and Dry."""
    tints = ["#" + bytes((255 * tint).astype(np.uint8)).hex() for tint in storyboard.colours(len(sources))]
    dots = "".join(
        f"""<circle class="part" r="9" fill="{tint}" data-rest="{part.rest:.1f}"
          data-azimuth="{json.dumps(part.azimuth.round(1).tolist())}"
          data-distance="{json.dumps(part.distance.round(2).tolist())}"/>"""
        for tint, part in zip(tints, sources)
    )
    names = "".join(
        f'<li><i style="background:{tint}"></i>{escape(part.name)}</li>' for tint, part in zip(tints, sources)
    )
    return f"""<div class="around" data-step="{around.STEP}">
      <svg viewBox="-100 -100 200 200" role="img" aria-label="Where each part is around the head, seen from above">
      <circle class="ring" r="66"/><text y="-82">front</text><text y="97">behind</text>
      <g class="head"><path d="M-8 -25 L0 -38 L8 -25"/><ellipse cx="-26" rx="5" ry="9"/><ellipse cx="26" rx="5" ry="9"/>
      <ellipse rx="25" ry="28"/></g>{dots}</svg>
      <div><fieldset class="listen"><legend>Sound</legend>
      <label><input type="radio" name="listen" value="wet" checked><b>Wet</b> <span>8D, for headphones</span></label>
      <label><input type="radio" name="listen" value="dry"><b>Dry</b> <span>without motion and room</span></label>
      </fieldset><ul class="names">{names}</ul></div></div>"""


def board(name: str, heard: pictures.Heard, found: pictures.Board | None, begin: float) -> str:
    """Facts, waveform and storyboard strip of a song, on one axis of time."""
    tempo = f"<span>about {heard.tempo:.0f} beats a minute</span>" if heard.tempo else ""
    seed = f"<span>seed {found.seed}</span>" if found else ""
    columns = len(heard.outline)
    points = [f"{x},{50 - 46 * high:.1f}" for x, (_, high) in enumerate(heard.outline)]
    points += [f"{x},{50 - 46 * low:.1f}" for x, (low, _) in reversed(list(enumerate(heard.outline)))]
    last = max(heard.duration - pictures.EXCERPT, 0.0)
    strip = (
        "".join(
            f'<img src="{served(path)}" alt="at {player_time((number + 0.5) * heard.duration / pictures.FRAMES)}">'
            for number, path in enumerate(found.pictures)
        )
        if found
        else '<span class="blank"></span>' * pictures.FRAMES
    )
    stream = _stream(found) if found else '<div class="stream blank"></div>'
    return f"""
    <div class="about-song"><h2>{escape(name)}</h2><p class="facts">
      <span>{player_time(heard.duration)}</span>{tempo}{seed}
      <label class="small another"><input type="file" class="song-file" multiple accept="{ACCEPTED}">Another
      song</label>
      </p></div>
    <div class="strip">{strip}</div>
    <div class="wave" data-seconds="{heard.duration:.3f}"
      style="--begin:{begin / max(last, 1e-6):.4f};--part:{min(1, pictures.EXCERPT / heard.duration):.4f}">
      <svg viewBox="0 0 {columns} 100" preserveAspectRatio="none" aria-hidden="true">
      <polygon points="{" ".join(points)}"/></svg>
      <div class="excerpt"></div><div class="now"></div>
      <input class="seek" type="range" min="0" max="{last:.1f}" step="0.5" value="{begin:.1f}"
        aria-label="Where the preview begins" aria-valuetext="{player_time(begin)}"></div>
    {stream}"""


def _stream(found: pictures.Board) -> str:
    """Which class is seen when, one upon the other, and their names."""
    bottom, areas = [0.0] * len(found.shares), []
    for column, tint in enumerate(found.tints):
        top = [low + share for low, share in zip(bottom, found.shares[:, column].tolist())]
        points = [f"{x},{100 - 100 * y:.1f}" for x, y in enumerate(top)]
        points += [f"{x},{100 - 100 * y:.1f}" for x, y in reversed(list(enumerate(bottom)))]
        areas.append(f'<polygon fill="{tint}" points="{" ".join(points)}"/>')
        bottom = top
    names = "".join(
        f'<li><i style="background:{tint}"></i>{escape(name)}</li>' for name, tint in zip(found.names, found.tints)
    )
    return f"""<svg class="stream" viewBox="0 0 {len(found.shares) - 1} 100" preserveAspectRatio="none" role="img"
      aria-label="Which class is seen when">{"".join(areas)}</svg><ul class="names">{names}</ul>"""


def _moving(generator: str) -> str:
    """The moving thumbnail of a generator; nothing where there is no space for it."""
    try:
        return f'<img src="{served(pictures.moving_thumbnail(generator, PICTURES))}" alt="">'
    except (MediaError, OSError):
        return ""


def cards(chosen: str) -> str:
    """A card for each generator, with a moving thumbnail; below them those that cannot draw, with the reason."""
    shown: dict[bool, list[str]] = {True: [], False: []}
    for name in choices.offered():
        reason = pictures.lacks(name)
        if reason and name in generators.NAMES:
            reason = f"needs its weights, which are not here: run make weights RESOLUTION={pictures.side_of(name)}"
        picture = "" if reason else _moving(name)
        shown[not reason].append(f"""<label class="card"><input type="radio" name="generator" value="{name}"
          {"checked" if name == chosen else ""} {"disabled" if reason else ""}>{picture}
          <b>{name}</b><span>{escape(reason or generators.find(name).help)}</span></label>""")
    return f"""<fieldset class="generators"><legend class="hidden">What draws</legend>
      <div class="cards">{"".join(shown[True])}</div>{"".join(shown[False])}</fieldset>"""


def gallery(generator: str, chosen: list[int]) -> str:
    """All classes of a generator and those that are chosen; gallery.js asks for pictures that are not drawn yet."""
    labels = generators.labels(generator)
    tiles = []
    for index, (label, path) in enumerate(zip(labels, pictures.thumbnails(generator, PICTURES))):
        picture = f'<img loading="lazy" src="{served(path)}" alt="">' if path.is_file() else "<i></i>"
        tiles.append(f"""<button type="button" class="tile" data-id="{index}" data-name="{escape(label)}"
          title="{escape(label)}" aria-pressed="false">{picture}<span>{escape(label)}</span></button>""")
    return f"""<div class="gallery" data-generator="{generator}" data-chosen="{json.dumps(chosen)}"
      data-most="{PITCHES}" data-together="{pictures.TOGETHER}">
      <div class="row">
        <input class="search" type="search" placeholder="Search {len(labels)} classes" aria-label="Search classes">
        <button type="button" class="small surprise">Surprise me</button>
        <button type="button" class="small nothing">Clear</button></div>
      <p class="count" role="status"></p><ol class="chosen" aria-label="Chosen classes, in order"></ol>
      <div class="tiles">{"".join(tiles)}</div></div>"""


def estimates(generator: str, shape: str, chosen: str, duration: float | None) -> str:
    """How long a render takes at each size."""
    if not duration:
        return '<p class="times">Give a song to see how long a render takes.</p>'
    sizes = [choices.film_size(shape, quality) for quality in choices.QUALITIES]
    spent = pictures.times(generator, sizes, duration)
    items = "".join(
        f"<li {'aria-current=true' if quality == chosen else ''}><b>{quality}</b><span>{width} × {height}</span>"
        f"<em>{approximately(seconds)}</em></li>"
        for quality, (width, height), seconds in zip(choices.QUALITIES, sizes, spent)
    )
    return f'<ul class="times" aria-label="How long a render takes on this machine">{items}</ul>'


FILMS = """<div class="films" aria-live="polite"></div><p class="none">Films that you render
appear here. They are made one after the other, whether this page is open or not.</p>"""


def described(film: Film, films: Films) -> dict[str, Any]:
    """A film as films.js shows it."""
    choice = film.choice
    width, height = choices.film_size(choice["shape"], choice["quality"])
    drawing = choice["drawing"]
    progress = {WAITING: "waits for its turn"}.get(film.state, "")
    if film.state == RUNNING:
        progress = f"{film.stage or 'preparing'}  {film.percent} %" + (f", {film.left} left" if film.left else "")
    facts = [drawing["generator"], drawing["mapping"], f"{width} × {height}"]
    place = films.file(film, film.file)
    if film.state == DONE and place.is_file():
        facts.append(f"{place.stat().st_size / 1e6:.1f} MB")
    return {
        "id": film.id, "name": film.choice["words"] or film.name, "state": film.state, "message": film.message,
        "percent": film.percent, "progress": progress or film.state, "facts": " · ".join(facts),
        "command": film.command, "url": served(place), "file": film.file,
        "last": served(films.file(film, "last.jpg")), "frame": film.frame, "checking": film.checking,
        "check": _figures(films.file(film, "check.json")), "page": served(films.file(film, "check.png")),
    }  # fmt: skip


def _figures(note: Path) -> dict[str, Any] | None:
    """The figures of a film that was checked, as films.js shows them; None before that."""
    try:
        found = records.read(note)
        return {"passes": found["passes"], "figures": [
            {key: each[key] for key in ("name", "shown", "limit", "passes")}
            for each in found["checks"] if each["limit"]
        ]}  # fmt: skip
    except (MediaError, ValueError, KeyError, TypeError):
        return None
