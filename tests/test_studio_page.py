"""The studio's page in a real browser: Debian's Chromium, driven by Playwright, with no other host to ask."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from test_pipeline import checkout
from test_studio import own_generator

from conftest import HANGS, command, eventually, make_media, read_frames, small_disk
from musicvideo import probe
from musicvideo.sound.mastering import measure
from musicvideo.vision import record

pytest.importorskip("gradio", reason="Gradio is not installed: make test-studio installs it")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-studio")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not CHROMIUM:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)

WAIT = 1000 * HANGS  # milliseconds
TONE = 990  # Hz
SIZES = {"wide": (1280, 800), "phone": (390, 844)}


def studio(folder: Path, *arguments: str, password: str = "") -> tuple[subprocess.Popen, str]:
    """Open a studio; its process and its address. A password is asked for, without a terminal at the standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", "musicvideo", "studio", *arguments],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    process.stdin.write(f"{password}\n")
    process.stdin.flush()
    said = []
    while True:
        line = process.stdout.readline()
        said.append(line)
        assert line, said
        if match := re.search(r"the studio is open: (\S+)", line):
            process.said = "".join(said)
            return process, match[1]


def close(process: subprocess.Popen) -> None:
    process.terminate()
    process.communicate(timeout=HANGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = checkout(tmp_path_factory.mktemp("page") / "checkout")
    loud = "0.4*sin(2*PI*330*t)*exp(-4*mod(t\\,0.5))+0.2*sin(2*PI*110*t)"
    make_media(place / "Song & <b>.mp3", "-f", "lavfi", "-i", f"aevalsrc={loud}:d=12")
    track = mido.MidiTrack()
    for number in range(20):
        track.append(mido.Message("note_on", note=60 + number % 12, velocity=80, time=0))
        track.append(mido.Message("note_off", note=60 + number % 12, time=480))
    mido.MidiFile(tracks=[track]).save(place / "notes.mid")
    (place / "text.mp3").write_text("no song at all")
    (place / "empty.mp3").touch()
    return place


@pytest.fixture(scope="module")
def address(folder):
    process, address = studio(folder)
    yield address
    close(process)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose microphone hears a steady tone."""
    tone = make_media(tmp_path_factory.mktemp("heard") / "tone.wav", "-f", "lavfi", "-i", f"sine={TONE}:d=20")
    arguments = [
        "--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={tone}",
    ]  # fmt: skip
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address, request):
    """A page of one size, of which every request's host and every error is looked at in the end."""
    width, height = SIZES[getattr(request, "param", "wide")]
    opened = browser.new_page(viewport={"width": width, "height": height}, permissions=["microphone"])
    opened.set_default_timeout(WAIT)
    hosts, errors = set(), []
    host = address.split("/")[2]

    def asked(sent) -> None:
        if sent.url.partition(":")[0] not in ("data", "blob"):
            hosts.add(sent.url.split("/")[2])

    opened.on("request", asked)
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector(".screen.welcome")
    opened.wait_for_selector(".card")
    yield opened
    assert hosts == {host}
    assert not errors
    opened.close()


@contextmanager
def another_studio(place: Path, folder: Path, *arguments: str, password: str = "") -> Iterator[tuple]:
    """As `studio`, in another checkout, which need not draw the pictures of generators again; closed at the end."""
    shutil.copytree(folder / "media/studio/pictures", place / "media/studio/pictures")
    process, address = studio(place, *arguments, password=password)
    try:
        yield process, address
    finally:
        close(process)


def give(page, song: Path) -> None:
    page.set_input_files("input.song-file", song)
    page.wait_for_selector(".strip img")


def open_section(page, name: str) -> None:
    page.click(f"#panel button:has-text('{name}')")


def _powers(video: Path) -> np.ndarray:
    """Power of the right over the left ear, every half second."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", video, "-f", "f32le", "-ac", "2", "-ar", "48000", "-"],
        capture_output=True,
        check=True,
    ).stdout
    sound = np.frombuffer(raw, "<f4").reshape(-1, 2)
    left, right = (sound[: 20 * 24000].reshape(-1, 24000, 2).astype(float) ** 2).mean(axis=1).T
    return right / left


def strip(page) -> list[str]:
    return page.eval_on_selector_all(".strip img", "images => images.map(image => image.src)")


def test_a_song_is_seen_and_heard_and_the_strip_follows_what_is_chosen(page, folder, tmp_path):
    give(page, folder / "Song & <b>.mp3")
    assert page.inner_text(".about-song h2") == "Song & <b>"
    assert "0:12" in page.inner_text(".facts") and "beats a minute" in page.inner_text(".facts")
    first = strip(page)
    assert len(first) == 9
    page.wait_for_selector("ul.times")
    assert page.locator("ul.times li").count() == 4

    page.click(".tile[data-name='moss']")
    page.click(".tile[data-name='lichen']")
    page.wait_for_function("first => document.querySelector('.strip img')?.src != first", arg=first[0])
    page.wait_for_function("document.querySelectorAll('.names li').length == 2")
    second = strip(page)
    page.focus(".chip >> nth=1")
    page.keyboard.press("ArrowLeft")  # the second one goes first, and the focus goes with it
    assert page.evaluate("document.activeElement.textContent") == "lichen"
    assert page.locator(".chosen .chip").all_inner_texts() == ["lichen", "moss"]
    page.wait_for_function("second => document.querySelector('.strip img')?.src != second", arg=second[0])

    page.click("#preview")
    page.wait_for_selector(".screen video")
    page.wait_for_function("document.querySelector('.screen video').currentTime > 0.5")
    video = page.locator(".screen video").get_attribute("src")
    page.evaluate("document.querySelector('.screen video').pause()")
    (tmp_path / "preview.mp4").write_bytes(page.request.get(page.url.split("/?")[0] + video).body())
    found = probe.probe(tmp_path / "preview.mp4")
    assert abs(found.duration - 10) < 0.2 and (found.width, found.height) == (640, 360)
    assert measure(tmp_path / "preview.mp4").integrated > -40
    frames = read_frames(tmp_path / "preview.mp4")
    assert frames.mean() > 5 and np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5

    # The part circles the head with the sound, and stands in front in the Dry mix, which is another sound.
    page.evaluate("document.querySelector('.screen video').currentTime = 0")
    page.wait_for_function("document.querySelector('.part').getAttribute('cx') < 5")
    page.evaluate("document.querySelector('.screen video').currentTime = 5")
    page.wait_for_function(
        "document.querySelector('.part').getAttribute('cx') > 60"
    )  # a quarter of its 20 s, clockwise
    assert abs(float(page.locator(".part").get_attribute("cy"))) < 5
    page.check(".listen input[value=dry]")
    page.wait_for_function("document.querySelector('.part').getAttribute('cx') == 0")
    page.wait_for_function("document.querySelector('.screen video').currentTime >= 5")
    dry = page.locator(".screen video").get_attribute("src")
    assert dry != video
    (tmp_path / "dry.mp4").write_bytes(page.request.get(page.url.split("/?")[0] + dry).body())
    assert abs(measure(tmp_path / "dry.mp4").integrated - measure(tmp_path / "preview.mp4").integrated) < 0.5
    ears, middle = (np.ptp(10 * np.log10(_powers(tmp_path / f"{name}.mp4"))) for name in ("preview", "dry"))
    assert ears > 3 and middle < 0.5  # dB, right over left, from one half of a second to another


def test_what_is_no_song_is_said_in_the_pipelines_words_and_nothing_is_lost(page, folder):
    give(page, folder / "Song & <b>.mp3")
    before = strip(page)
    for name, words in (("text.mp3", "not an audio or video file"), ("empty.mp3", "is empty")):
        page.set_input_files("input.song-file >> nth=0", folder / name)
        page.wait_for_function("words => document.querySelector('#problem').textContent.includes(words)", arg=words)
        said = page.inner_text("#problem")
        assert said.startswith(name) and "\n" not in said
    page.wait_for_timeout(3000)  # what follows on it does not wipe it away
    assert page.inner_text("#problem") == said
    assert strip(page) == before


def test_a_seed_that_is_no_number_is_said_beside_the_field(page, folder):
    give(page, folder / "Song & <b>.mp3")
    before = strip(page)
    open_section(page, "Motion")
    page.fill("#seed input, #seed textarea", "seven")
    page.wait_for_selector(".field-problem:has-text('seed:')")
    assert strip(page) == before
    page.fill("#seed input, #seed textarea", "7")
    page.wait_for_function("before => document.querySelector('.strip img').src != before", arg=before[0])
    assert page.inner_text(".field-problem") == ""


def test_classes_are_found_drawn_by_chance_and_taken_out(page):
    page.fill(".search", "moss")
    assert page.locator(".tile:visible").all_inner_texts() == ["moss"]
    page.fill(".search", "")
    page.click(".surprise")
    assert page.locator(".chip").count() == 12
    page.click(".nothing")
    assert page.locator(".chip").count() == 0 and "the seed" in page.inner_text(".count")


def test_another_generator_has_another_gallery_whose_pictures_are_drawn_when_they_are_seen(page):
    page.check("input[name=generator][value=pocket]")
    page.wait_for_selector(".tile[data-name='hourglass']", state="attached")
    assert page.locator(".tile").count() == 96
    page.locator(".tile >> nth=-1").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.tile:last-child img')?.naturalWidth == 96")
    assert page.locator(".tile:not(:has(img))").count() > 0
    page.click(".surprise")
    page.wait_for_function("document.querySelectorAll('.chip img').length == 12")


def test_a_film_is_rendered_cancelled_gone_on_with_after_a_reload_and_downloaded(page, folder):
    give(page, folder / "Song & <b>.mp3")
    open_section(page, "Film")
    page.check("#quality input[value=sketch]")
    page.click("#render")
    page.wait_for_selector(".film[data-state=running] .stage:has-text('drawing')")
    page.reload()  # the tab is closed meanwhile, and it goes on
    page.wait_for_selector(".film[data-state=running]")
    page.click(".film [data-action=cancel]")
    page.wait_for_selector(".film[data-state=cancelled]")
    page.click(".film [data-action=resume]")
    page.wait_for_selector(".film[data-state=done]")
    with page.expect_download() as download:
        page.click(".film a[download]")
    film = next(folder.glob("*.mp4"))
    assert Path(download.value.path()).read_bytes() == film.read_bytes()
    assert download.value.suggested_filename == film.name
    page.evaluate("document.querySelector('.film video').play()")
    page.wait_for_function("document.querySelector('.film video').currentTime > 0.5")
    assert "make gan audio" in page.locator(".film code").text_content()
    open_section(page, "Film")
    page.click("#quality label:has-text('4K')")
    page.click(".film [data-action=like]")
    page.wait_for_selector("#quality input[value=sketch]:checked", state="attached")


def test_a_film_is_checked_and_its_figures_are_on_its_card(page, folder):
    """After the test before, which made one."""
    page.click(".film[data-state=done] [data-action=check]")
    page.wait_for_selector(".film .check dd")
    assert "True peak" in page.inner_text(".film .check") and "dBTP" in page.inner_text(".film .check")
    figures = next(folder.glob("media/studio/films/*/check.json"))
    assert figures.with_suffix(".png").is_file()
    page.reload()
    page.wait_for_selector(".film .check dd")


def test_notes_that_come_with_a_song_move_the_picture(page, folder):
    """Those of another song do not stay, and a file of no notes is said."""
    page.set_input_files("input.song-file", [folder / "Song & <b>.mp3", folder / "notes.mid"])
    page.wait_for_selector(".strip img")
    open_section(page, "Motion")
    page.wait_for_selector("#preset input[value=score]:checked", state="attached")
    assert page.is_checked("#mapping input[value=score]")
    (folder / "bad.mid").write_text("no notes")
    page.set_input_files("input.song-file >> nth=0", [folder / "Song & <b>.mp3", folder / "bad.mid"])
    page.wait_for_function("document.querySelector('#problem').textContent.includes('bad.mid')")
    page.set_input_files("input.song-file >> nth=0", folder / "Song & <b>.mp3")
    page.check("#preset input[value=calm]")
    page.wait_for_selector("#mapping input[value=classic]:checked", state="attached")
    page.wait_for_selector(".strip img")
    assert page.text_content("#problem") == ""


def test_a_list_of_classes_that_is_emptied_leaves_the_choice_to_the_seed(page, folder):
    give(page, folder / "Song & <b>.mp3")
    drawn = page.locator(".names li").all_inner_texts()
    page.click(".tile[data-name='moss']")
    page.wait_for_function("document.querySelectorAll('.names li').length == 1")
    page.focus(".chip")
    page.keyboard.press("Delete")
    page.wait_for_function("count => document.querySelectorAll('.names li').length == count", arg=len(drawn))
    assert page.locator(".names li").all_inner_texts() == drawn
    assert page.locator(".chip").count() == 0 and page.text_content("#problem") == ""


def test_two_tabs_render_at_once_into_films_of_their_own(page, browser, folder):
    other = browser.new_page()
    other.set_default_timeout(WAIT)
    other.goto(page.url)
    before = page.locator(".film").count()
    for tab in (page, other):
        give(tab, folder / "Song & <b>.mp3")
        open_section(tab, "Film")
        tab.check("#quality input[value=sketch]")
    for tab in (page, other):
        tab.click("#render")
    page.wait_for_function("count => document.querySelectorAll('.film').length == count", arg=before + 2)
    other.close()  # in mid-render
    commands = page.locator(".film code").all_text_contents()[:2]
    titles = {re.search(r"TITLE=(\S+)", command)[1] for command in commands}
    assert len(titles) == 2
    page.wait_for_function(
        "() => [...document.querySelectorAll('.film')].slice(0, 2).every(film => film.dataset.state == 'done')"
    )
    assert all((folder / f"{title}.mp4").is_file() for title in titles)


def test_a_click_counts_while_the_one_before_is_on_its_way(page, folder):
    give(page, folder / "Song & <b>.mp3")
    page.wait_for_selector("ul.times")
    asked, held = "**/queue/join*", []
    page.route(asked, lambda route: held.append(route) if len(held) < 2 else route.continue_())
    for name, count in (("moss", 1), ("lichen", 2)):
        page.click(f".tile[data-name='{name}']")
        eventually(lambda: page.wait_for_timeout(50) or len(held) == count)  # Playwright works while it waits
    for route in held:
        with page.expect_response(asked):
            route.continue_()
    page.wait_for_function("document.querySelectorAll('.names li').length == 2")
    assert set(page.locator(".names li").all_inner_texts()) == {"moss", "lichen"}


def test_a_generator_of_ones_own_is_seen_and_makes_a_film(page, folder):
    """It is there after a reload; one that was changed by hand says so, and one that vanished meanwhile."""
    short = make_media(folder / "short.wav", "-f", "lavfi", "-i", "sine=330:d=2")
    for name in ("mine", "changed", "gone"):
        own_generator(folder, name, "<b>red</b> fox", 'it\'s "big"')
    (folder / "media/changed.generator/labels.json").write_text("[]")
    page.reload()
    page.wait_for_function("document.querySelector('.card:has([value=mine]) img')?.naturalWidth == 160")
    card = page.locator(".card:has([value=changed])")
    assert card.locator("input").is_disabled() and "labels.json" in card.inner_text()
    shutil.rmtree(folder / "media/gone.generator")
    page.check("input[name=generator][value=gone]")
    page.wait_for_selector("#problem:has-text('does not offer')")

    page.check("input[name=generator][value=mine]")
    page.click(".tile[data-name='<b>red</b> fox']")
    page.click(".tile >> nth=1")
    page.wait_for_function("document.querySelectorAll('.chip img').length == 2")
    give(page, short)
    page.wait_for_function("document.querySelectorAll('.names li').length == 2")
    assert "<b>red</b> fox" in page.locator(".names li").all_inner_texts()
    page.click("#preview")
    page.wait_for_function("document.querySelector('.screen video')?.currentTime > 0.5")
    open_section(page, "Film")
    page.check("#quality input[value=sketch]")
    page.click("#render")
    film = page.locator(".film >> nth=0")
    page.wait_for_selector(".film >> nth=0 >> .facts:has-text('mine')")
    page.wait_for_function("document.querySelector('.film').dataset.state == 'done'")
    made = folder / re.search(r"TITLE=(\S+)", film.locator("code").text_content())[1]
    kept = record.read(made.with_suffix(".mp4"))
    assert (kept["generator"], kept["resolution"]) == ("mine", 256)
    assert kept["class_names"] == ["<b>red</b> fox", 'it\'s "big"']


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_page(page, folder):
    from axe_playwright_python.sync_playwright import Axe

    give(page, folder / "Song & <b>.mp3")
    for name in ("Motion", "Film", "Another source"):
        open_section(page, name)
    page.wait_for_selector("#score")
    found = Axe().run(page).response["violations"]
    serious = {
        each["id"]: [node["html"][:200] for node in each["nodes"]][:3]
        for each in found if each["impact"] in ("serious", "critical")
    }  # fmt: skip
    assert not serious
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_recorded_becomes_the_song(page):
    """A steady tone arrives as one: browsers would filter it as they do voices."""
    open_section(page, "Another source")
    page.click("#record button.record-button")
    page.wait_for_timeout(3000)
    page.click("#record button.stop-button")
    page.wait_for_selector(".strip img")
    assert page.inner_text(".about-song h2") == "Recording"
    with page.expect_download() as download:
        page.click("#record a[download]")
    sound, rate = soundfile.read(download.value.path(), always_2d=True)
    powers = [(part**2).mean() for part in np.array_split(sound[:, 0], 4)]
    assert len(sound) > rate and min(powers) > 0.5 * max(powers) > 0
    loudest = np.abs(np.fft.rfft(sound[:, 0])).argmax() * rate / len(sound)
    assert loudest == pytest.approx(TONE, abs=5)


# -- The server ------------------------------------------------------------------------------------------------


def test_only_files_of_the_studio_are_served(page, address, folder):
    for path in (folder / "Makefile", "/etc/passwd", folder / "media/studio/../../Makefile"):
        assert page.request.get(f"{address}gradio_api/file={path}").status in (403, 404), path
    assert page.request.get(address, headers={"Host": "evil.example"}).status == 400
    assert "default-src 'self'" in page.request.get(address).headers["content-security-policy"]


def test_a_second_studio_of_one_folder_is_refused(address, folder):
    result = command("-m", "musicvideo", "studio", cwd=folder)
    assert result.returncode == 1 and "another studio is open" in result.stderr


def test_the_next_free_port_is_taken_and_said(tmp_path, folder, address):
    taken = int(address.split(":")[2].strip("/"))
    with another_studio(checkout(tmp_path / "other"), folder, "--port", str(taken)) as (process, other):
        assert int(other.split(":")[2].strip("/")) > taken and f"port {taken} is taken" in process.said


def test_an_open_studio_asks_for_a_password(tmp_path, folder):
    result = command("-m", "musicvideo", "studio", "--host", "0.0.0.0", cwd=folder, env={**os.environ})
    assert result.returncode == 1 and "password" in result.stderr


def test_a_file_that_is_too_large_is_refused_on_the_page_and_by_the_server(page, address, folder, tmp_path):
    from musicvideo.studio.page import LARGEST

    song = tmp_path / "long.wav"
    with open(song, "wb") as file:
        file.truncate(LARGEST + 1_000_000)
    page.set_input_files("input.song-file", song)
    page.wait_for_function("document.querySelector('#problem').textContent.startsWith('long.wav: is larger than')")
    # What does not come from the page is cut off as well.
    sent = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-F", f"files=@{song}", f"{address}gradio_api/upload"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert sent.stdout == "413"
    left = [path for path in (folder / "media/studio/uploads").rglob("*") if path.is_file()]
    assert all(path.stat().st_size < LARGEST for path in left)


def test_a_studio_for_others_opens_with_the_password_only(browser, tmp_path, folder):
    place = checkout(tmp_path / "other")
    with another_studio(place, folder, "--host", "0.0.0.0", password="open sesame") as (_, address):
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(address.replace("0.0.0.0", "127.0.0.1"))
        for password in ("wrong", "open sesame"):
            page.fill("input >> nth=0", "studio")
            page.fill("input[type=password]", password)
            page.click("button:has-text('Login')")
            if password == "wrong":
                page.wait_for_selector("text=Incorrect")
                assert page.locator(".screen").count() == 0
        page.wait_for_selector(".screen.welcome")
        page.close()


# -- What goes wrong ---------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_on_the_films_card_and_it_goes_on_when_there_is_space(browser, tmp_path, folder):
    media = checkout(tmp_path / "other") / "media"
    with small_disk(media, 64 << 20), another_studio(tmp_path / "other", folder) as (_, address):
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(address)
        give(page, folder / "Song & <b>.mp3")
        open_section(page, "Film")
        page.check("#quality input[value=sketch]")
        filler = media / "filler"
        with open(filler, "wb") as file:  # what is left is too small for the decoded song
            file.write(bytes(shutil.disk_usage(media).free - (2 << 20)))
        page.click("#render")
        page.wait_for_selector(".film[data-state=failed]")
        assert re.fullmatch(r"media/\S+: no space left in media \(free some .*\)", page.inner_text(".film .message"))
        filler.unlink()
        page.click(".film [data-action=resume]")
        page.wait_for_selector(".film[data-state=running] .stage:has-text('drawing')")
        page.click(".film [data-action=cancel]")
        page.wait_for_selector(".film[data-state=cancelled]")
        page.close()


def test_it_listens_on_this_machine_only(address):
    port = int(address.split(":")[2].strip("/"))
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError:
        own = "127.0.0.1"
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect((own, port))
