// The screen: takes a song that is dropped or chosen, and plays previews.
const largest = Number(props.largest);
const problem = (text) => { document.querySelector("#problem").textContent = text; };

async function take(file) {
  if (!file) return;
  problem("");
  if (file.size > largest) {
    problem(`${file.name}: is larger than ${Math.round(largest / 1e6)} MB, give a smaller file`);
    return;
  }
  document.body.classList.add("busy");
  try {
    const { path } = await upload(file);
    trigger("upload", { path, name: file.name });
  } catch (error) {
    problem(`${file.name}: could not be read (${error.message || error})`);
  } finally {
    document.body.classList.remove("busy");
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches("input.song-file")) take(event.target.files[0]);
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
      take(event.dataTransfer.files[0]);
    }
  });
// Where the preview plays, shown on the waveform.
element.addEventListener("timeupdate", (event) => {
  const wave = document.querySelector(".wave");
  if (wave) wave.style.setProperty("--now", (Number(event.target.dataset.begin) + event.target.currentTime) / Number(wave.dataset.seconds));
}, true);
