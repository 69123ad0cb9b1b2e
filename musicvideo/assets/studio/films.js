// The films: asked for every second, and drawn anew only where something changed.
const cards = new Map();
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const ACTIONS = {
  waiting: ["cancel"], running: ["cancel"], cancelled: ["resume", "remove"], failed: ["resume", "remove"], done: ["like", "check", "remove"],
};
const WORDS = { cancel: "Cancel", resume: "Go on", remove: "Delete", like: "Like this one", check: "Check" };

function card(film) {
  const made = make("article", "film");
  made.dataset.id = film.id;
  made.dataset.state = film.state;
  if (film.state === "done") {
    const video = make("video");
    video.controls = true;
    video.preload = "none";
    video.poster = film.last;
    video.src = film.url;
    video.setAttribute("aria-label", film.name);
    made.append(video);
  } else {
    const frame = make("div", "frame");
    const picture = make("img");
    picture.alt = "";
    picture.hidden = true;
    frame.append(picture, make("span", "stage"));
    made.append(frame);
  }
  const about = make("div", "about");
  about.append(make("h3", "", film.name), make("p", "facts", film.facts));
  if (film.state === "running") {
    const bar = make("progress");
    bar.max = 100;
    bar.setAttribute("aria-label", `Progress of ${film.name}`);
    about.append(bar);
  }
  about.append(make("p", "message", film.message));
  const row = make("div", "row");
  if (film.state === "done") {
    const link = make("a", "small", "Download");
    link.href = film.url;
    link.download = film.file;
    row.append(link);
  }
  for (const action of ACTIONS[film.state]) {
    const button = make("button", "small", WORDS[action]);
    button.type = "button";
    button.dataset.action = action;
    button.setAttribute("aria-label", `${WORDS[action]}: ${film.name}`);
    row.append(button);
  }
  const details = make("details");
  details.append(make("summary", "", "The command that makes the same"), make("code", "", film.command));
  about.append(row, details);
  if (film.check) about.append(figures(film));
  made.append(about);
  return made;
}

// What the check measured, with its limits.
function figures(film) {
  const details = make("details", "check"), list = make("dl");
  details.dataset.passes = film.check.passes;
  details.open = true;
  details.append(make("summary", "", film.check.passes ? "Check: within all limits" : "Check: a limit is broken"));
  for (const each of film.check.figures) {
    const value = make("dd", "", each.shown + (each.limit ? ` (${each.limit})` : ""));
    value.dataset.passes = each.passes;
    list.append(make("dt", "", each.name), value);
  }
  const link = make("a", "small", "All of it as a page");
  link.href = film.page;
  link.target = "_blank";
  details.append(list, link);
  return details;
}

function update(film) {
  let shown = cards.get(film.id);
  const drawn = JSON.stringify([film.state, film.message, film.check]);
  if (shown?.dataset.drawn !== drawn) {
    const fresh = card(film);
    fresh.dataset.drawn = drawn;
    shown?.replaceWith(fresh);
    cards.set(film.id, fresh);
    shown = fresh;
  }
  const picture = shown.querySelector(".frame img");
  if (picture && film.frame && picture.dataset.frame !== String(film.frame)) {
    picture.dataset.frame = film.frame;
    picture.src = `${film.last}?${film.frame}`;
    picture.hidden = false;
  }
  const stage = shown.querySelector(".stage");
  if (stage) stage.textContent = film.progress;
  const check = shown.querySelector("[data-action=check]");
  if (check) {
    check.disabled = film.checking;
    check.textContent = film.checking ? "Measuring…" : WORDS.check;
  }
  const bar = shown.querySelector("progress");
  if (bar) bar.value = film.percent;
  return shown;
}

async function look() {
  try {
    const films = await server.films_now(null);
    const list = element.querySelector(".films");
    const names = new Set(films.map((film) => film.id));
    for (const [id, shown] of cards) if (!names.has(id)) { shown.remove(); cards.delete(id); }
    films.forEach((film, place) => {
      const shown = update(film);
      if (list.children[place] !== shown) list.insertBefore(shown, list.children[place] || null);
    });
    element.querySelector(".none").hidden = films.length > 0;
  } catch { /* the studio was closed: it is asked again */ }
}

element.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const id = button.closest(".film").dataset.id;
  if (button.dataset.action === "like") trigger("select", { id });
  else {
    await server.act({ id, action: button.dataset.action });
    look();
  }
});
look();
setInterval(look, 1000);
