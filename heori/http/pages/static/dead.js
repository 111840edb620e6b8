// Shows the groups of dead letters while they are counted: each event is the whole of them.
"use strict";

const groups = document.querySelector("[data-groups]");
if (groups) {
  const stream = new EventSource(groups.dataset.groups);
  stream.addEventListener("groups", (event) => {
    if (String(getSelection()) === "") Idiomorph.morph(groups, JSON.parse(event.data), { morphStyle: "innerHTML" });
  });
  stream.addEventListener("end", () => stream.close());
  stream.onerror = () => stream.close(); // what was counted so far stays, and says how far that is
  addEventListener("pagehide", () => stream.close());
}
