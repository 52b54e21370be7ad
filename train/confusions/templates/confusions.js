// The confusion matrix and the clips of its cells as moving pictures, in a box that holds the sections and their data.
// Texts are only ever set as textContent.
const showConfusions = (() => {
  const CLASSES_SHOWN = 60;
  const CARDS_SHOWN = 24;
  const LABELLED = 0.6; // share of a row from which a cell is so dark that its number is white

  function element(tag, className = "", text = "") {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== "") made.textContent = text;
    return made;
  }

  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

  // One page of a list: draws it, and lets its buttons turn it.
  function paged(box, size, draw) {
    const pager = box.querySelector(".pager");
    let items = [], page = 0;
    function show() {
      const pages = Math.max(1, Math.ceil(items.length / size));
      page = Math.max(0, Math.min(page, pages - 1));
      pager.hidden = pages === 1;
      pager.querySelector(".where").textContent = `page ${page + 1} of ${pages}`;
      pager.querySelector(".back").disabled = page === 0;
      pager.querySelector(".next").disabled = page === pages - 1;
      draw(items.slice(page * size, (page + 1) * size), items);
    }
    pager.querySelector(".back").addEventListener("click", () => { page -= 1; show(); });
    pager.querySelector(".next").addEventListener("click", () => { page += 1; show(); });
    return (next) => { items = next; page = 0; show(); };
  }

  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`);

  function film(data, clip) {
    const box = element("div", "film");
    if (clip.film < 0) {
      box.append(element("span", "", "no picture in this page"));
      return box;
    }
    const picture = element("img");
    picture.alt = `moving picture of ${clip.id}`;
    picture.addEventListener("load", () => {
      box.style.aspectRatio = `${picture.naturalWidth / data.frames} / ${picture.naturalHeight}`;
    });
    picture.style.width = `${100 * data.frames}%`;
    picture.style.animationTimingFunction = `steps(${data.frames})`;
    picture.src = data.films[clip.film];
    box.append(picture);
    return box;
  }

  function shares(data, clip) {
    const list = element("ol", "shares");
    clip.shares.forEach(([label, share], place) => {
      const row = element("li", label === clip.true ? "right" : label === clip.predicted ? "wrong" : "");
      const bar = element("i");
      bar.style.width = `${100 * share}%`;
      const rank = place >= 5 ? `${clip.rank}. ` : "";
      const tiny = share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
      row.append(bar, element("span", "name", rank + data.classes[label]), element("span", "share", tiny));
      list.append(row);
    });
    return list;
  }

  function card(data, clip) {
    const isRight = clip.true === clip.predicted;
    const box = element("article", isRight ? "card right" : "card wrong");
    const verdict = isRight ? `${data.classes[clip.true]}, right` : `${data.classes[clip.true]}, taken for ${data.classes[clip.predicted]}`;
    box.append(film(data, clip), element("p", "verdict", verdict), element("p", "clip", clip.id), shares(data, clip));
    box.append(element("code", "command", data.explain[0] + quoted(clip.id) + data.explain[1]));
    return box;
  }

  const dialog = document.querySelector("dialog");
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  let shownData = null;
  const fillDialog = paged(dialog, CARDS_SHOWN, (clips) => {
    dialog.querySelector(".cards").replaceChildren(...clips.map((clip) => card(shownData, clip)));
    dialog.scrollTop = 0;
  });
  dialog.addEventListener("close", () => dialog.querySelector(".cards").replaceChildren());

  function openClips(data, title, total, wanted) {
    const clips = data.clips.filter(wanted);
    shownData = data;
    dialog.querySelector("h2").textContent = `${title}: ${counted(total, "clip")}`;
    dialog.querySelector(".note").textContent =
      clips.length < total ? `${clips.length} of them ${clips.length === 1 ? "is" : "are"} in this page${data.rest && "; "}${data.rest}.` : "";
    fillDialog(clips);
    if (!dialog.open) dialog.showModal();
  }

  // The confusion matrix of some classes; what lies outside them is one more column and row.
  function matrix(box, data) {
    const size = data.classes.length;
    const counts = new Map(data.cells.map(([row, column, count]) => [row * size + column, count]));
    const rows = new Array(size).fill(0), columns = new Array(size).fill(0);
    data.cells.forEach(([row, column, count]) => { rows[row] += count; columns[column] += count; });
    const table = box.querySelector(".matrix");
    const names = data.classes;

    const named = (tag, text, scope, open) => {
      const cell = element(tag);
      cell.scope = scope;
      const button = element("button", "", text);
      button.type = "button";
      button.title = text;
      button.addEventListener("click", open);
      cell.append(button);
      return cell;
    };

    function counter(count, total, isRight, title, open) {
      const cell = element("td");
      if (!count) return cell;
      const share = count / Math.max(1, total);
      cell.style.background = `rgba(${isRight ? "47, 111, 181" : "217, 119, 30"}, ${(0.12 + 0.88 * share).toFixed(3)})`;
      const button = element("button", share > LABELLED ? "dark" : "", String(count));
      button.type = "button";
      button.title = `${title}: ${count} of ${total}`;
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", open);
      cell.append(button);
      return cell;
    }

    const ofRow = (label) => () =>
      openClips(data, `${names[label]}, all that is it`, rows[label], (clip) => clip.true === label);
    const ofColumn = (label) => () =>
      openClips(data, `Taken for ${names[label]}, rightly or not`, columns[label], (clip) => clip.predicted === label);

    function header(labels, isPart) {
      const row = element("tr");
      row.append(element("td", "corner", "true ↓ predicted →"));
      labels.forEach((label) => row.append(named("th", names[label], "col", ofColumn(label))));
      if (isPart) row.append(element("th", "other", "other classes"));
      row.append(element("th", "recall", "recall %"));
      return row;
    }

    function body(row, labels, inside, isPart) {
      const line = element("tr");
      line.append(named("th", names[row], "row", ofRow(row)));
      let rest = rows[row];
      labels.forEach((column) => {
        const count = counts.get(row * size + column) ?? 0;
        rest -= count;
        const title = row === column ? `${names[row]}, right` : `${names[row]} taken for ${names[column]}`;
        line.append(counter(count, rows[row], row === column, title, () =>
          openClips(data, title, count, (clip) => clip.true === row && clip.predicted === column)));
      });
      const title = `${names[row]} taken for other classes`;
      if (isPart) line.append(counter(rest, rows[row], false, title, () =>
        openClips(data, title, rest, (clip) => clip.true === row && !inside.has(clip.predicted))));
      const right = counts.get(row * size + row) ?? 0;
      line.append(element("td", "recall", rows[row] ? (100 * right / rows[row]).toFixed(1) : ""));
      return line;
    }

    function footer(labels, inside) {
      const line = element("tr");
      line.append(element("th", "other", "other classes"));
      labels.forEach((column) => {
        const own = labels.reduce((sum, row) => sum + (counts.get(row * size + column) ?? 0), 0);
        const count = columns[column] - own, title = `other classes taken for ${names[column]}`;
        line.append(counter(count, columns[column], false, title, () =>
          openClips(data, title, count, (clip) => clip.predicted === column && !inside.has(clip.true))));
      });
      line.append(element("td"), element("td"));
      return line;
    }

    return (labels) => {
      const inside = new Set(labels), isPart = labels.length < size;
      table.style.setProperty("--classes", labels.length + (isPart ? 1 : 0));
      table.tHead.replaceChildren(header(labels, isPart));
      table.tBodies[0].replaceChildren(...labels.map((row) => body(row, labels, inside, isPart)));
      if (isPart && labels.length) table.tBodies[0].append(footer(labels, inside));
    };
  }

  function confusion(box, data) {
    const order = box.querySelector(".order"), words = box.querySelector(".words");
    const orders = { name: data.classes.map((_, label) => label), ...data.orders };
    const draw = matrix(box, data);
    const show = paged(box, CLASSES_SHOWN, (labels, all) => {
      box.querySelector(".status").textContent = `${labels.length} of ${counted(data.classes.length, "class").replace("classs", "classes")}`;
      draw(labels);
    });
    const update = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const matches = (label) => !wanted.length || wanted.some((word) => data.classes[label].toLowerCase().includes(word));
      show(orders[order.value].filter(matches));
    };
    if (data.classes.length > CLASSES_SHOWN) order.value = "worst";
    order.addEventListener("change", update);
    words.addEventListener("input", update);
    update();
  }

  return (split) => {
    const raw = JSON.parse(split.querySelector(".data").textContent);
    const clips = raw.clips.map(([id, label, predicted, rank, place, best]) =>
      ({ id, true: label, predicted, rank, film: place, shares: best }));
    const data = { ...raw, clips };
    confusion(split.querySelector(".confusion"), data);
    split.querySelectorAll(".show").forEach((button) => {
      const row = Number(button.dataset.true), column = Number(button.dataset.predicted);
      const count = data.cells.find((cell) => cell[0] === row && cell[1] === column)[2];
      const title = `${data.classes[row]} taken for ${data.classes[column]}`;
      button.addEventListener("click", () =>
        openClips(data, title, count, (clip) => clip.true === row && clip.predicted === column));
    });
    const box = split.querySelector(".mistakes");
    if (!box) return;
    const mistakes = clips.filter((clip) => clip.true !== clip.predicted);
    box.querySelector(".status").textContent = counted(mistakes.length, "clip");
    paged(box, CARDS_SHOWN, (shown) => box.querySelector(".cards").replaceChildren(...shown.map((clip) => card(data, clip))))(mistakes);
  };
})();
