"use strict";
(() => {
  const FLICKER_MS = 900;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  // Outlines on and off, to see what lies under them.
  const toggle = document.getElementById("outlines");
  const setOutlines = (shown) => {
    document.body.classList.toggle("plain", !shown);
    toggle.setAttribute("aria-pressed", String(shown));
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => setOutlines(document.body.classList.contains("plain")));
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      setOutlines(document.body.classList.contains("plain"));
    }
  });

  // Two frames in one place, shown in turn while they are in view.
  for (const flicker of document.querySelectorAll(".flicker")) {
    const frames = [...flicker.querySelectorAll(".frame")];
    if (frames.length < 2) continue;
    const buttons = [...flicker.querySelectorAll("[data-frame]")];
    const play = flicker.querySelector("[data-play]");
    let timer = null;
    let wanted = !still.matches;
    let visible = false;

    const show = (name) => {
      flicker.dataset.shown = name;
      for (const frame of frames) frame.classList.toggle("off", frame.dataset.name !== name);
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.frame === name));
    };
    const next = () => show(frames.find((frame) => frame.dataset.name !== flicker.dataset.shown).dataset.name);
    const update = () => {
      window.clearInterval(timer);
      timer = wanted && visible ? window.setInterval(next, FLICKER_MS) : null;
      play.setAttribute("aria-pressed", String(wanted));
      play.textContent = wanted ? "Pause" : "Flicker";
    };
    const want = (on) => { wanted = on; update(); };

    flicker.classList.add("stacked");
    flicker.querySelector(".controls").hidden = false;
    for (const button of buttons) {
      button.addEventListener("click", () => { want(false); show(button.dataset.frame); });
    }
    play.addEventListener("click", () => want(!wanted));
    still.addEventListener("change", () => want(!still.matches));
    // A picture that is being aimed at must not change under the pointer or the focus.
    flicker.querySelector(".frames").addEventListener("focusin", () => want(false));
    new IntersectionObserver((entries) => { visible = entries[0].isIntersecting; update(); }).observe(flicker);
    show(flicker.dataset.shown);
    update();
  }

  // One picture enlarged; the arrows go through its row.
  const viewer = document.getElementById("viewer");
  const stage = viewer.querySelector(".stage");
  let row = [];
  let at = 0;
  const open = (index) => {
    at = (index + row.length) % row.length;
    stage.replaceChildren(row[at].querySelector("svg").cloneNode(true));
    if (!viewer.open) viewer.showModal();
  };
  for (const panel of document.querySelectorAll(".panel")) {
    panel.addEventListener("click", () => {
      row = [...panel.parentElement.children];
      open(row.indexOf(panel));
    });
  }
  for (const button of viewer.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => open(at + Number(button.dataset.step)));
  }
  viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") open(at - 1);
    if (event.key === "ArrowRight") open(at + 1);
  });

  // Folded text is printed too.
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
