"""The page, made with Gradio; nothing else knows of Gradio."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from musicvideo import cli, files
from musicvideo.errors import MediaError
from musicvideo.studio import choices, html, pictures
from musicvideo.studio.choices import Choice
from musicvideo.studio.renders import Films
from musicvideo.vision import generators
from musicvideo.vision.framing import LOOKS
from musicvideo.vision.labels import resolve
from musicvideo.vision.mappings import MAPPINGS
from musicvideo.vision.settings import PITCHES, RULES, Settings

ASSETS = Path(__file__).parents[1] / "assets" / "studio"
LARGEST = 500_000_000  # bytes of a song
KEPT = 24 * 3600  # seconds after which an upload that no session holds is deleted
PORT = 7860
PORTS = 100  # that are tried from there on
WIDEST_SLIDER = 1000  # a range beyond it is a field for a number
SEEDS = 10_000  # that the die throws
HERE = ("127.0.0.1", "localhost", "::1")
USER = "studio"

# Gradio reads these when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_TEMP_DIR"] = str((html.FOLDER / "uploads").resolve())

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

# The browser asks no other host for anything. Gradio's own scripts need the two exceptions.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
# Gradio asks the address, before anything is drawn, whether it is dark.
HEAD = """
<meta name="color-scheme" content="dark">
<meta name="referrer" content="no-referrer">
<script>
  document.documentElement.lang = "en";
  const address = new URL(location);
  address.searchParams.set("__theme", "dark");
  history.replaceState(null, "", address);
</script>
"""


class Policy:
    """Middleware: the browser is told which hosts this page may ask, namely none but its own."""

    def __init__(self, app: Callable):
        self._app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, with_policy)


# -- The page ----------------------------------------------------------------------------------------------------


def explained(name: str) -> str:
    """The help text of a setting, with its default."""
    return f"{RULES[name].help} (default {getattr(Settings, name):g})"


def slider(name: str) -> gr.Component:
    """A slider of a parameter, with its range and help text; a field where the range is too wide for a slider."""
    rule, value, label = RULES[name], getattr(Settings, name), name.replace("_", " ")
    if rule.highest > WIDEST_SLIDER:
        return gr.Number(value=value, minimum=rule.lowest, maximum=rule.highest, label=label, info=explained(name))
    step = 1 if rule.highest > 1 else 0.01
    return gr.Slider(rule.lowest, rule.highest, value=value, step=step, label=label, info=explained(name))


def own(path: str) -> Path:
    """A file that was uploaded here; what the browser says is not believed.

    Raises:
        MediaError: any other file.
    """
    place = Path(path).resolve()
    if not place.is_relative_to((html.FOLDER / "uploads").resolve()):
        raise MediaError("this file was not given on this page")
    return place


def forget(song: dict | None) -> None:
    """Delete the song of a session that has ended; a film of the queue has it under a name of its own."""
    if song and "score" not in song:
        own(song["path"]).unlink(missing_ok=True)


def said(error: Exception, song: dict | None = None, midi: str | None = None) -> str:
    """An error in a line, with the names that a person knows the song and its notes by."""
    text = str(error)
    if midi:
        text = text.replace(midi, Path(midi).name)
    if song:
        text = text.replace(song["path"], song["name"])
    return escape(cli.one_line(text))


def page(films: Films) -> gr.Blocks:
    """The page and all that happens on it."""
    first = choices.FIRST
    with gr.Blocks(title="Impassive studio", analytics_enabled=False, delete_cache=(KEPT // 4, KEPT)) as blocks:
        song, classes, begin = gr.State(None, delete_callback=forget), gr.State([]), gr.State(0.0)
        drawn = gr.State(None)  # what the strip shows
        gr.HTML("<header><h1>Impassive <span>studio</span></h1><p>music to music video, on this machine</p></header>")
        with gr.Row(elem_id="studio", equal_height=False):
            with gr.Column(scale=7, min_width=340, elem_id="stage"):
                screen = gr.HTML(html.welcome(), elem_id="screen", js_on_load=_script("screen"), largest=LARGEST)
                problem = gr.HTML(
                    "",
                    elem_id="problem-box",
                    html_template='<p id="problem" role="alert">${value}</p>',
                    js_on_load=None,
                )
                with gr.Row(elem_id="actions"):
                    show = gr.Button(f"Preview {pictures.EXCERPT:.0f} s", interactive=False, elem_id="preview")
                    go = gr.Button("Render the film", variant="primary", interactive=False, elem_id="render")
                strip = gr.HTML("", elem_id="board", js_on_load=_script("board"))
                times = gr.HTML(html.estimates(first, "landscape", "full HD", None), elem_id="times", js_on_load=None)
            with gr.Column(scale=4, min_width=320, elem_id="panel"):
                with gr.Accordion("Picture", open=True):
                    cards_of = gr.HTML("", elem_id="cards", js_on_load=_script("cards"))
                    generator = gr.State(first)
                    tiles = gr.HTML(
                        html.gallery(first, []), elem_id="gallery", js_on_load=_script("gallery"),
                        server_functions=[class_pictures],
                    )  # fmt: skip
                with gr.Accordion("Motion", open=False):
                    presets = gr.Radio([*choices.PRESETS], value="classic", label="Preset", elem_id="preset")
                    mapping = gr.Radio(
                        [(f"{name}: {each.help}", name) for name, each in MAPPINGS.items()], value="classic",
                        label="Mapping", info="how the song moves the picture", elem_id="mapping",
                    )  # fmt: skip
                    sliders = [slider(name) for name in choices.SLIDERS]
                    switches = [
                        gr.Checkbox(bool(getattr(Settings, name)), label=name.replace("_", " "), info=explained(name))
                        for name in choices.SWITCHES
                    ]
                    with gr.Row(elem_id="seed-row"):
                        seed = gr.Textbox(label="Seed", info=RULES["seed"].help, elem_id="seed", scale=4)
                        die = gr.Button("Throw a die", elem_id="die", scale=1, min_width=130)
                    seed_problem = gr.HTML(
                        "", html_template='<p class="field-problem" role="alert">${value}</p>', js_on_load=None
                    )
                    with gr.Row():
                        saved = gr.DownloadButton("Save as a preset", size="sm")
                        opened = gr.UploadButton("Open a preset", file_types=[".json"], size="sm")
                with gr.Accordion("Film", open=False):
                    words = gr.Textbox(
                        label="Title card", info="words at the beginning; empty for none", elem_id="words"
                    )
                    shape = gr.Radio([*choices.SHAPES], value="landscape", label="Shape", elem_id="shape")
                    quality = gr.Radio([*choices.QUALITIES], value="full HD", label="Size", elem_id="quality")
                    look = gr.Radio([*LOOKS], value="none", label="Look", elem_id="look")
                    pulse = gr.Slider(0, 1, value=0, step=0.05, label="Pulse", info="a jump on each beat")
                with gr.Accordion("Another source", open=False):
                    scores = sorted(
                        path.stem for path in Path("scores").glob("*.mscz") if not path.stem.endswith("-8d")
                    )
                    score = gr.Dropdown(["", *scores], value="", label="A score of scores/", elem_id="score")
                    recorded = gr.Audio(
                        sources=["microphone"], type="filepath", label="Record", elem_id="record", buttons=["download"]
                    )
                    midi = gr.File(label="The notes of the song, a MIDI file", file_types=[".mid", ".midi"], height=130)
        gr.HTML('<h2 id="films-head">Films</h2>')
        made = gr.HTML(
            html.FILMS, elem_id="films", js_on_load=_script("films"),
            server_functions=[_films_now(films), _act(films)],
        )  # fmt: skip

        drawing_fields = [generator, classes, mapping, seed, *sliders, *switches]
        film_fields = [shape, quality, look, pulse, words]

        motion = [presets, mapping, *sliders, *switches]
        taken = [song, begin, drawn, strip, problem, show, go, words, midi]

        def drawing_of(generator: str, classes: list[int], mapping: str, seed: str, *parameters: Any) -> dict[str, Any]:
            names = (*choices.SLIDERS, *choices.SWITCHES)
            numbers = {name: RULES[name].kind(value) for name, value in zip(names, parameters) if value is not None}
            return choices.checked({
                "generator": generator, "classes": choices.names_of(generator, classes), "mapping": mapping,
                "seed": choices.read_seed(seed or ""), **numbers,
            })  # fmt: skip

        def notes_of(song: dict, drawing: dict, midi: str | None) -> str | None:
            if not MAPPINGS[drawing["mapping"]].needs_notes:
                return None
            return midi or song.get("midi") or str(pictures.notes(song["path"], html.FOLDER / "notes"))

        def take(event: gr.EventData) -> tuple:
            given = {"path": "", "name": ""}
            try:
                notes = str(own(event.notes["path"])) if event.notes else None
                if not event.song:
                    return (*[gr.skip()] * (len(taken) - 1), notes)
                given["name"] = str(event.song["name"])
                given["path"] = str(own(event.song["path"]))
                return _taken(given, notes)
            except (MediaError, OSError) as error:
                return _not_taken(said(error, given))

        def take_recording(path: str | None) -> tuple:
            if not path:
                return _not_taken("")
            given = {"path": path, "name": "Recording"}
            try:
                return _taken(given)
            except (MediaError, OSError) as error:
                return _not_taken(said(error, given))

        def take_score(name: str) -> Iterator[tuple]:
            if name not in scores:
                return
            yield _not_taken(f"MuseScore plays {escape(name)}…")
            try:
                _play(name)
                sound, notes = (str(Path("media", f"{name}{suffix}").resolve()) for suffix in (".wav", ".mid"))
                yield _taken({"path": sound, "name": name, "score": name, "midi": notes})
            except (MediaError, OSError) as error:
                yield _not_taken(said(error))

        def _taken(given: dict, notes: str | None = None) -> tuple:
            """Values of `taken`."""
            heard = pictures.listen(given["path"])
            name = Path(given["name"]).stem
            ready = gr.update(interactive=True)
            return given, 0.0, None, html.board(name, heard, None, 0.0), "", ready, ready, name, notes

        def _not_taken(words: str) -> tuple:
            return tuple(words if field is problem else gr.skip() for field in taken)

        def know(song: dict | None, midi: str | None) -> list[Any]:
            """Let the notes move the picture where they are known."""
            if not midi and not (song or {}).get("midi"):
                return [gr.skip()] * len(motion)
            return ["score", *_fields(choices.preset("score"))]

        def follow(song: dict | None, begin: float, midi: str | None, drawn: list | None, *values: Any) -> tuple:
            """The strip of what is chosen; the screen shows its middle."""
            asked = [song, midi, *values]
            if asked == drawn:  # as after a file that was refused, whose message stays
                return (gr.skip(),) * 5
            said_of_seed = _seed_said(values[3])
            if not song or said_of_seed:
                return gr.skip(), gr.skip(), gr.skip(), said_of_seed, None
            try:
                heard, drawing = pictures.listen(song["path"]), drawing_of(*values)
                found = pictures.board(song["path"], drawing, notes_of(song, drawing, midi), html.FOLDER / "boards")
            except (MediaError, OSError, ValueError) as error:
                return gr.skip(), gr.skip(), said(error, song, midi), "", None
            middle = found.pictures[pictures.FRAMES // 2]
            return html.still(middle), html.board(Path(song["name"]).stem, heard, found, begin), "", "", asked

        def preview(song: dict | None, begin: float, midi: str | None, shape, look, pulse, *values: Any) -> tuple:
            try:
                if not song:
                    raise MediaError("give a song first")
                drawing = drawing_of(*values)
                shown = pictures.preview(
                    song["path"], drawing, notes_of(song, drawing, midi), begin, html.FOLDER / "previews",
                    size=choices.film_size(shape, "sketch"), look=look, pulse=float(pulse),
                    score=song.get("score", ""),
                )  # fmt: skip
            except (MediaError, OSError, ValueError) as error:
                return gr.skip(), said(error, song, midi)
            return html.playing(shown, song["name"]), ""

        def enqueue(song: dict | None, midi: str | None, shape, quality, look, pulse, words, *values: Any) -> str:
            try:
                if not song:
                    raise MediaError("give a song first")
                # make draws a decoded copy of the song, which would have another seed of its own.
                drawing = {"seed": pictures.seed_of(song["path"]), **drawing_of(*values)}
                choice = Choice(drawing, shape, quality, look, float(pulse), (words or "").strip())
                given = midi or song.get("midi")
                films.add(
                    choice, name=Path(song["name"]).stem, song=Path(song["path"]), midi=Path(given) if given else None,
                    score=song.get("score", ""),
                )  # fmt: skip
            except (MediaError, OSError, ValueError) as error:
                return said(error, song)
            return ""

        def time_needed(song: dict | None, generator: str, shape: str, quality: str) -> str:
            try:
                return html.estimates(
                    generator, shape, quality, pictures.listen(song["path"]).duration if song else None
                )
            except (MediaError, OSError, ValueError) as error:
                return f'<p class="times">{said(error, song)}</p>'

        def another_generator(event: gr.EventData) -> tuple:
            try:
                name = _that_draws(str(event.name))
                return name, [], html.gallery(name, []), ""
            except (MediaError, OSError, ValueError) as error:
                return gr.skip(), gr.skip(), gr.skip(), said(error)

        def other_classes(generator: str, event: gr.EventData) -> list[int]:
            return _known(event.classes, generator)[:PITCHES]

        def place(event: gr.EventData) -> float:
            return float(event.begin)

        def set_preset(name: str) -> list[Any]:
            return _fields(choices.preset(name))

        def _fields(values: dict[str, Any]) -> list[Any]:
            return [values["mapping"], *(values[name] for name in choices.SLIDERS),
                    *(bool(values[name]) for name in choices.SWITCHES)]  # fmt: skip

        def save(*values: Any) -> str:
            path = html.FOLDER / "uploads" / "preset.json"
            choices.save_preset(path, drawing_of(*values))
            return str(path)

        def restore(path: Path) -> list[Any]:
            """All that a preset, or an earlier film, was drawn by."""
            found = {**choices.preset("classic"), "generator": first, **choices.read_preset(path)}
            ids = resolve(found.get("classes", ()), generators.labels(_that_draws(found["generator"])))
            return [found["generator"], ids, html.cards(found["generator"]), html.gallery(found["generator"], ids),
                    str(found.get("seed", "")), *_fields(found), ""]  # fmt: skip

        def restored(path: Path) -> list[Any]:
            try:
                return restore(path)
            except (MediaError, OSError, ValueError) as error:
                count = 6 + len(sliders) + len(switches)
                return [*[gr.skip()] * count, said(error)]

        def open_preset(path: str) -> list[Any]:
            return restored(Path(path))

        def like(event: gr.EventData) -> list[Any]:
            film = films.get(str(event.id))
            choice = film.choice
            return [*restored(films.file(film, "preset.json")),
                    *(choice[name] for name in ("shape", "quality", "look", "pulse", "words"))]  # fmt: skip

        followed = dict(
            fn=follow, inputs=[song, begin, midi, drawn, *drawing_fields],
            outputs=[screen, strip, problem, seed_problem, drawn],
            show_progress="hidden", trigger_mode="always_last", concurrency_id="screen",
        )  # fmt: skip
        needed = dict(fn=time_needed, inputs=[song, generator, shape, quality], outputs=[times], show_progress="hidden",
                      trigger_mode="always_last")  # fmt: skip
        # While an event is handled, Gradio's other modes drop a new one, or send the older one's data again.
        each = dict(show_progress="hidden", trigger_mode="multiple")
        for event, function, inputs in (
            (screen.upload, take, None), (recorded.change, take_recording, recorded), (score.input, take_score, score),
        ):  # fmt: skip
            known = event(function, inputs, taken, **each).success(know, [song, midi], motion, show_progress="hidden")
            known.then(**followed)  # both at once
            known.then(**needed)
        blocks.load(lambda: html.cards(first), None, cards_of, show_progress="hidden")
        cards_of.select(another_generator, None, [generator, classes, tiles, problem], **each).then(**followed).then(
            **needed
        )
        tiles.select(other_classes, [generator], [classes], **each).then(**followed)
        for field in (*sliders,):
            (field.release if isinstance(field, gr.Slider) else field.submit)(**followed)
        for field in (*switches, mapping):
            field.input(**followed)
        seed.change(**followed)
        midi.upload(know, [song, midi], motion, **each).then(**followed)
        midi.clear(**followed)
        for field in (shape, quality):
            field.change(**needed)
        die.click(lambda: str(random.randrange(SEEDS)), None, seed, show_progress="hidden")
        presets.input(set_preset, presets, motion[1:], **each).then(**followed)
        every = [generator, classes, cards_of, tiles, seed, mapping, *sliders, *switches, problem]
        saved.click(save, drawing_fields, saved, show_progress="hidden")
        opened.upload(open_preset, opened, every, **each).then(**followed)
        made.select(like, None, [*every, *film_fields], **each).then(**followed).then(**needed)
        previewed = dict(fn=preview, inputs=[song, begin, midi, shape, look, pulse, *drawing_fields],
                         outputs=[screen, problem],
                         show_progress="minimal", show_progress_on=screen,
                         trigger_mode="always_last", concurrency_id="screen")  # fmt: skip
        show.click(**previewed)
        strip.select(place, None, begin, **each).then(**previewed)
        go.click(enqueue, [song, midi, *film_fields, *drawing_fields], problem, show_progress="hidden")
    return blocks


def _seed_said(text: str | None) -> str:
    try:
        choices.read_seed(text or "")
    except ValueError as error:
        return escape(f"seed: {error}")
    return ""


def _script(name: str) -> str:
    return (ASSETS / f"{name}.js").read_text(encoding="utf-8")


def _play(name: str) -> None:
    """Let the pipeline export a score, and the one that goes around the head."""
    from musicvideo.sound.score import export

    for score in filter(Path.is_file, (Path("scores", f"{name}{layer}.mscz") for layer in ("", "-8d"))):
        made = [Path("media", f"{score.stem}{suffix}") for suffix in (".wav", ".mid")]
        if not all(path.exists() and path.stat().st_mtime > score.stat().st_mtime for path in made):
            export(score)


def _that_draws(generator: str) -> str:
    """The name of a generator; MediaError or ValueError if it cannot be chosen, or cannot draw here."""
    if reason := pictures.lacks(choices.require_offered(generator)):
        raise MediaError(reason)
    return generator


def class_pictures(asked: dict[str, Any]) -> list[str]:
    """Addresses of pictures of some classes, none where they cannot be drawn any more."""
    try:
        name = choices.require_offered(str(asked["generator"]))
        classes = _known(asked["classes"], name)[: pictures.TOGETHER]
        return [html.served(path) for path in pictures.draw_thumbnails(name, classes, html.PICTURES)]
    except (MediaError, OSError, ValueError, KeyError, TypeError):
        return []


def _known(asked: Iterable[Any], generator: str) -> list[int]:
    """The ids of classes among what a browser sent."""
    known = range(len(generators.labels(generator)))
    return [index for index in asked if type(index) is int and index in known]


def _films_now(films: Films) -> Callable[[Any], list[dict[str, Any]]]:
    def films_now(_: Any) -> list[dict[str, Any]]:
        return [html.described(film, films) for film in films.all()]

    return films_now


def _act(films: Films) -> Callable[[dict[str, str]], None]:
    actions = {"cancel": films.cancel, "resume": films.resume, "remove": films.remove,
               "check": films.check}  # fmt: skip

    def act(asked: dict[str, str]) -> None:
        if asked["action"] in actions:
            actions[asked["action"]](asked["id"])

    return act


# -- The server --------------------------------------------------------------------------------------------------


def serve(host: str, port: int, password: str | None) -> None:
    """Serve the page until this process is stopped.

    Args:
        host: address to listen at.
        port: the first that is tried.
        password: that is asked for; None for nobody's, on this machine only.

    Raises:
        MediaError: another studio works here, no port is free, or a password is missing.
    """
    if host not in HERE and not password:
        raise MediaError(f"--host {host}: others can reach that, so a password is needed")
    if not Path("Makefile").is_file():
        raise MediaError("the studio renders with make: run it in the project's folder")
    with files.lock(html.FOLDER / "lock", "another studio is open in this folder: use that one, or stop it first"):
        for folder in ("uploads", "boards", "previews"):  # of sessions that have ended
            shutil.rmtree(html.FOLDER / folder, ignore_errors=True)
            (html.FOLDER / folder).mkdir(parents=True)
        films = Films(html.FOLDER / "films")
        app, address = None, ""
        pictures.times(
            choices.FIRST, [choices.film_size("landscape", "sketch")], 1.0
        )  # measured before a song is there
        blocks = page(films)
        free = _free(host, port)
        if free != port:
            cli.say(f"port {port} is taken: {free} is used", note=True)
        middleware = [Middleware(Policy)]
        if host in HERE:  # a page elsewhere cannot reach this one under another name
            middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(HERE)))
        try:
            app, address, _ = blocks.launch(
                server_name=host, server_port=free, auth=(USER, password) if password else None, share=False,
                quiet=True, prevent_thread_lock=True, show_error=True, max_file_size=LARGEST,
                allowed_paths=[str(html.FOLDER.resolve())], footer_links=[], ssr_mode=False, pwa=False,
                mcp_server=False, enable_monitoring=False, theme=theme(), css_paths=ASSETS / "page.css", head=HEAD,
                favicon_path=str(ASSETS / "icon.svg"), app_kwargs={"middleware": middleware},
            )  # fmt: skip
            films.start()
            cli.say(f"the studio is open: {address}  (Ctrl-C closes it; an unfinished film goes on the next time)")
            while True:
                time.sleep(3600)
        finally:
            films.stop()
            if app:
                blocks.close(verbose=False)


def _free(host: str, port: int) -> int:
    """The first free port.

    Raises:
        MediaError: none is.
    """
    import socket

    for number in range(port, port + PORTS):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, number))
            except OSError:
                continue
            return number
    raise MediaError(f"--port {port}: neither it nor the {PORTS - 1} after it are free")


def theme() -> gr.themes.Base:
    """Dark, with fonts that are on the machine."""
    plain = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(
        primary_hue="amber", neutral_hue="zinc", font=plain, font_mono=["ui-monospace", "monospace"],
        radius_size="lg",
    )  # fmt: skip
