// The screen: takes a song that is dropped or chosen, and plays previews.
const largest = Number(props.largest);
const problem = (text) => { document.querySelector("#problem").textContent = text; };

// A song, its notes as a MIDI file, or both.
async function take(files) {
  const notes = files.find((file) => /\.midi?$/i.test(file.name)), song = files.find((file) => file !== notes);
  problem("");
  const given = { song: null, notes: null };
  document.body.classList.add("busy");
  try {
    for (const [kind, file] of [["song", song], ["notes", notes]]) {
      if (!file) continue;
      if (file.size > largest) throw new Error(`${file.name}: is larger than ${Math.round(largest / 1e6)} MB, give a smaller file`);
      try {
        given[kind] = { path: (await upload(file)).path, name: file.name };
      } catch (error) {
        throw new Error(`${file.name}: could not be read (${error.message || error})`);
      }
    }
    if (given.song || given.notes) trigger("upload", given);
  } catch (error) {
    problem(error.message);
  } finally {
    document.body.classList.remove("busy");
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches("input.song-file")) take([...event.target.files]);
});
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, (event) => {
    if (name === "dragleave" && event.relatedTarget) return;
    document.body.classList.remove("dragging");
    if (name === "drop" && event.dataTransfer.files.length) {
      event.preventDefault();
      take([...event.dataTransfer.files]);
    }
  });
// What browsers do to a voice makes a sustained tone fade: a recording is taken as it is.
const devices = navigator.mediaDevices;  // absent where the page comes from another machine without TLS
const ask = devices?.getUserMedia.bind(devices);
if (ask)
  devices.getUserMedia = ({ audio, ...others }) => ask({
    ...others, audio: audio && { ...audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
// What is heard: Wet or Dry. Both are videos of the same picture.
let sound = "wet";
const video = () => element.querySelector("video");

function listen() {
  const shown = video(), address = shown?.dataset[sound];
  if (!address || shown.getAttribute("src") === address) return;
  const at = shown.currentTime, plays = !shown.paused || at === 0;
  shown.src = address;
  shown.currentTime = at;
  if (plays) shown.play();
}

// Where each part is around the head at the moment that is heard, with a loop of its own while it plays.
function place() {
  const around = element.querySelector(".around"), shown = video();
  if (!around || !shown) return;
  const at = shown.currentTime / Number(around.dataset.step);
  for (const part of around.querySelectorAll(".part")) {
    part.places ??= [JSON.parse(part.dataset.azimuth), JSON.parse(part.dataset.distance)];
    const [degrees, metres] = sound === "dry" ? [Number(part.dataset.rest), 1] : part.places.map((values) => {
      const index = Math.min(Math.floor(at), values.length - 2);
      return values[index] + (values[index + 1] - values[index]) * Math.min(at - index, 1);
    });
    const reach = 66 * Math.min(Math.max(metres, 0.5), 1.15), angle = degrees * Math.PI / 180;
    part.setAttribute("cx", (reach * Math.sin(angle)).toFixed(1));
    part.setAttribute("cy", (-reach * Math.cos(angle)).toFixed(1));
  }
  if (!shown.paused && shown.isConnected) requestAnimationFrame(place);
}

element.addEventListener("change", (event) => {
  if (event.target.name !== "listen") return;
  sound = event.target.value;
  listen();
  place();
});
for (const name of ["play", "seeked"]) element.addEventListener(name, place, true);

function shown() {
  const chosen = element.querySelector(`input[name=listen][value=${sound}]`);
  if (chosen) chosen.checked = true;
  listen();
  place();
}
watch("value", shown);

// Where the preview plays, shown on the waveform.
element.addEventListener("timeupdate", (event) => {
  const wave = document.querySelector(".wave");
  if (wave) wave.style.setProperty("--now", (Number(event.target.dataset.begin) + event.target.currentTime) / Number(wave.dataset.seconds));
}, true);
