"use strict";
const slider = document.getElementById("slider");
const place = document.getElementById("place");
const play = document.getElementById("play");
const stacks = Array.from(document.querySelectorAll(".stack"), (stack) => Array.from(stack.children));
const count = Number(slider.max) + 1;
let timer = 0;

function show(index) {
  for (const pictures of stacks) {
    pictures.forEach((picture, number) => { picture.hidden = number !== index; });
  }
  place.textContent = `frame ${stacks[0][index].dataset.frame} of the video, ${index + 1} of ${count} shown`;
}

function stop() {
  clearInterval(timer);
  timer = 0;
  play.textContent = "play";
  play.setAttribute("aria-pressed", "false");
}

slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
play.addEventListener("click", () => {
  if (timer) { stop(); return; }
  play.textContent = "stop";
  play.setAttribute("aria-pressed", "true");
  timer = setInterval(() => {
    slider.value = String((Number(slider.value) + 1) % count);
    show(Number(slider.value));
  }, 250);
});
show(Number(slider.value));
