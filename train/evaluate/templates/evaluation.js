// The choice of a split; its confusions are drawn when it is first shown.
(() => {
  const splits = [...document.querySelectorAll(".split")];
  const ready = new Set();
  function choose(name) {
    splits.forEach((split) => {
      split.hidden = split.dataset.split !== name;
      if (!split.hidden && !ready.has(split)) { ready.add(split); showConfusions(split); }
    });
    document.querySelectorAll("[data-choose]").forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.choose === name)));
  }
  document.querySelectorAll("[data-choose]").forEach((button) =>
    button.addEventListener("click", () => choose(button.dataset.choose)));
  choose(splits[0].dataset.split);
})();
