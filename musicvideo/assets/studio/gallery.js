// The gallery: classes are chosen by a click, found by a word, and put in order by dragging or by the arrow keys.
let chosen = [];
const wanted = new Set();
let asking = false;
const $ = (selector) => element.querySelector(selector);
const tile = (id) => element.querySelector(`.tile[data-id="${id}"]`);

// Classes are drawn when their tiles are seen, a few at a time.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries)
    if (isIntersecting) want(Number(target.dataset.id));
    else if (!chosen.includes(Number(target.dataset.id))) wanted.delete(Number(target.dataset.id));
});

async function want(...ids) {
  for (const id of ids) if (tile(id)?.querySelector("i")) wanted.add(id);
  if (asking) return;
  asking = true;
  while (wanted.size) {
    const { generator, together } = $(".gallery").dataset;
    const classes = [...wanted].slice(0, Number(together));
    const drawn = await server.class_pictures({ generator, classes }).catch(() => []);
    if (generator !== $(".gallery").dataset.generator) continue;
    classes.forEach((id, place) => {
      wanted.delete(id);
      if (drawn[place]) picture(id, drawn[place]);
    });
  }
  asking = false;
}

function picture(id, address) {
  const shown = document.createElement("img");
  shown.alt = "";
  shown.src = address;
  element.querySelector(`.chip[data-id="${id}"]`)?.prepend(shown.cloneNode());
  tile(id)?.querySelector("i")?.replaceWith(shown);
}

function begin() {
  chosen = JSON.parse($(".gallery")?.dataset.chosen || "[]");
  seen.disconnect();
  wanted.clear();
  for (const button of element.querySelectorAll(".tile:has(i)")) seen.observe(button);
  draw();
}

function draw(focus) {
  const row = $(".chosen");
  if (!row) return;
  for (const button of element.querySelectorAll(".tile"))
    button.setAttribute("aria-pressed", chosen.includes(Number(button.dataset.id)));
  row.replaceChildren(...chosen.map((id, place) => {
    const chip = document.createElement("li");
    const button = document.createElement("button");
    const name = tile(id)?.dataset.name || String(id);
    button.type = "button";
    button.className = "chip";
    button.draggable = true;
    button.dataset.id = id;
    button.setAttribute("aria-label", `${place + 1}: ${name}. Arrow keys move it, Delete takes it out`);
    const picture = tile(id)?.querySelector("img");
    if (picture) button.append(picture.cloneNode());
    button.append(name);
    chip.append(button);
    return chip;
  }));
  want(...chosen);
  $(".count").textContent = chosen.length
    ? `${chosen.length} chosen, in this order`
    : "Nothing chosen: the seed draws twelve";
  if (focus !== undefined) row.querySelector(`[data-id="${focus}"]`)?.focus();
}

function changed(focus) {
  draw(focus);
  trigger("select", { classes: chosen });
}

function move(id, place) {
  chosen = chosen.filter((other) => other !== id);
  chosen.splice(Math.max(0, Math.min(place, chosen.length)), 0, id);
  changed(id);
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".tile")) {
    const id = Number(button.dataset.id);
    const most = Number($(".gallery").dataset.most);
    if (chosen.includes(id)) chosen = chosen.filter((other) => other !== id);
    else if (chosen.length < most) chosen = [...chosen, id];
    else {
      $(".count").textContent = `At most ${most} at a time: take one out first`;
      return;
    }
    changed();
  } else if (button.matches(".surprise")) {
    const ids = [...element.querySelectorAll(".tile")].map((each) => Number(each.dataset.id));
    chosen = ids.map((id) => [Math.random(), id]).sort((a, b) => a[0] - b[0]).slice(0, Number($(".gallery").dataset.most)).map((pair) => pair[1]);
    changed();
  } else if (button.matches(".nothing")) {
    chosen = [];
    changed();
  }
});
element.addEventListener("input", (event) => {
  if (!event.target.matches(".search")) return;
  const word = event.target.value.trim().toLowerCase();
  for (const button of element.querySelectorAll(".tile"))
    button.hidden = !button.dataset.name.toLowerCase().includes(word);
});
element.addEventListener("keydown", (event) => {
  if (!event.target.matches(".chip")) return;
  const id = Number(event.target.dataset.id), place = chosen.indexOf(id);
  if (event.key === "ArrowLeft") move(id, place - 1);
  else if (event.key === "ArrowRight") move(id, place + 1);
  else if (event.key === "Delete" || event.key === "Backspace") {
    chosen = chosen.filter((other) => other !== id);
    changed(chosen[Math.min(place, chosen.length - 1)]);
  } else return;
  event.preventDefault();
});
element.addEventListener("dragstart", (event) => {
  if (event.target.matches?.(".chip")) event.dataTransfer.setData("text/plain", event.target.dataset.id);
});
element.addEventListener("dragover", (event) => { if (event.target.closest(".chosen")) event.preventDefault(); });
element.addEventListener("drop", (event) => {
  const row = event.target.closest(".chosen"), id = Number(event.dataTransfer.getData("text/plain"));
  if (!row || !chosen.includes(id)) return;
  event.preventDefault();
  const onto = event.target.closest(".chip");
  move(id, onto ? chosen.indexOf(Number(onto.dataset.id)) : chosen.length);
});
watch("value", begin);
begin();
