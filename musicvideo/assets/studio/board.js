// The board: a place of the waveform is clicked, or chosen by the arrow keys.
let wait;
element.addEventListener("input", (event) => {
  if (!event.target.matches(".seek")) return;
  const seconds = Number(event.target.value);
  event.target.setAttribute("aria-valuetext", `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`);
  event.target.closest(".wave").style.setProperty("--begin", seconds / Number(event.target.max));
});
element.addEventListener("change", (event) => {
  if (!event.target.matches(".seek")) return;
  event.stopPropagation();
  clearTimeout(wait);
  wait = setTimeout(() => trigger("select", { begin: Number(event.target.value) }), 400);
});
