// Cards of generators: native radio buttons, so that the keyboard works.
element.addEventListener("change", (event) => {
  if (event.target.name === "generator") trigger("select", { name: event.target.value });
});
