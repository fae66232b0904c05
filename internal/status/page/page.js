"use strict";
(() => {
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const icon = document.getElementById("icon");
  const shown = new Map();
  let source = null, paused = false, last = Date.now(), at = live.dataset.at, said = "";

  const say = (text, lost) => {
    if (text === said) return;
    said = text;
    live.textContent = text;
    live.classList.toggle("lost", lost);
    document.body.classList.toggle("old", lost);
  };

  // Whoever selects text in a part, to copy it, keeps it until they are done.
  const selecting = part => {
    const s = getSelection();
    return s && !s.isCollapsed && part.contains(s.anchorNode);
  };

  const show = snapshot => {
    at = snapshot.at;
    document.title = snapshot.title;
    icon.href = snapshot.icon;
    for (const [id, html] of Object.entries(snapshot.parts)) {
      const part = document.getElementById("part-" + id);
      if (!part || shown.get(id) === html || selecting(part)) continue;
      const left = part.scrollLeft;
      part.innerHTML = html;
      part.scrollLeft = left;
      const panel = part.closest(".panel");
      if (panel) panel.hidden = html === "";
      shown.set(id, html);
    }
  };

  const connect = () => {
    source = new EventSource("events");
    source.addEventListener("snapshot", e => {
      last = Date.now();
      show(JSON.parse(e.data));
      say("live", false);
    });
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && !paused) setTimeout(connect, 5000);
    };
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    source.close();
    if (paused) say("paused at " + at, false);
    else connect();
  });
  setInterval(() => {
    if (!paused && Date.now() - last > 3000) say("connection lost: this is " + at, true);
  }, 500);
  connect();
})();
