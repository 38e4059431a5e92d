"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const cards = Array.from(document.querySelectorAll(".sample"));
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const fields = ["object", "part", "seen", "split", "search"].map(get);
  const [object, part, seen, split, search] = fields;

  const isWanted = (word) =>
    (!object.value || word.dataset.object === object.value) &&
    (!part.value || word.dataset.part === part.value) &&
    (!seen.value || word.dataset.seen === seen.value);

  const update = () => {
    const asked = Boolean(object.value || part.value || seen.value);
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    cards.forEach((card, index) => {
      let found = !asked;
      for (const word of card.querySelectorAll("li")) {
        const wanted = isWanted(word);
        word.classList.toggle("other", asked && !wanted);
        found = found || wanted;
      }
      const visible =
        found &&
        (!split.value || card.dataset.split === split.value) &&
        terms.every((term) => texts[index].includes(term));
      card.hidden = !visible;
      shown += Number(visible);
    });
    get("count").textContent = shown + " of " + cards.length + " samples";
  };

  const fade = () => get("grid").style.setProperty("--opacity", get("opacity").value + "%");

  fields.forEach((field) => field.addEventListener("input", update));
  get("opacity").addEventListener("input", fade);
  get("filters").addEventListener("submit", (event) => event.preventDefault());
  get("filters").addEventListener("reset", () => setTimeout(() => (update(), fade())));
  cards.forEach((card) => {
    const picture = card.querySelector("button");
    picture.addEventListener("click", () =>
      picture.setAttribute("aria-pressed", String(picture.getAttribute("aria-pressed") !== "true")),
    );
  });
  update();
  fade();
})();
