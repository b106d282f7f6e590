"use strict";
// The film's player, its filters, the sorting of lists, and the crops, which several sections share.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const MOST = 12; // regions of a list that are shown before "show all"
  const STEP_MS = 1200;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = text ?? "";
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "\u2212");
  const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

  // A region: [image, row, IoU, class of the nearest object or -1].
  const imageOf = (region) => data.images[data.regions[region][0]];
  const nearest = (region) => {
    const [, , overlap, cls] = data.regions[region];
    return cls < 0 ? "touches no object" : `IoU ${number(overlap)} with ${data.classes[cls]}`;
  };
  const showCrop = (image, region) => {
    const crop = data.crops[region];
    image.hidden = !crop;
    if (crop) image.src = `data:image/jpeg;base64,${crop}`;
  };
  for (const image of document.querySelectorAll("img[data-crop]")) {
    image.loading = "lazy";
    image.decoding = "async";
    showCrop(image, Number(image.dataset.crop));
  }

  // --- sorting ---
  const sortList = (list, key) => {
    const value = (item) => item.dataset[key];
    const compare = key === "image" ? (a, b) => value(a).localeCompare(value(b)) : (a, b) => value(b) - value(a);
    list.append(...[...list.children].sort(compare));
  };
  byId("hardest-controls").hidden = false;
  byId("hardest-sort").addEventListener("change", (event) => {
    for (const list of document.querySelectorAll("#hardest .sortable")) sortList(list, event.target.value);
  });

  byId("hardest-why").addEventListener("change", ({ target }) => {
    const shows = ({ dataset }) =>
      target.value === "" || target.value === dataset.kind || (target.value === "suspect" && "suspect" in dataset);
    for (const item of document.querySelectorAll("#hardest .sortable > li")) item.hidden = !shows(item);
  });

  const numeric = (text) => Number.parseFloat(text.replace(",", ""));
  for (const heading of document.querySelectorAll(".sorts thead th")) {
    heading.firstChild.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") !== "descending";
      for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const column = heading.cellIndex;
      const text = (row) => row.cells[column].textContent;
      const rows = [...heading.closest("table").tBodies[0].rows].sort((a, b) => {
        const [x, y] = [numeric(text(a)), numeric(text(b))];
        if (Number.isNaN(x) && Number.isNaN(y)) return text(b).localeCompare(text(a));
        return (Number.isNaN(y) ? -Infinity : y) - (Number.isNaN(x) ? -Infinity : x);
      });
      heading.closest("table").tBodies[0].append(...(descending ? rows : rows.reverse()));
    });
  }

  // --- kinds of errors ---
  if (byId("cases-kind")) {
    byId("cases-controls").hidden = false;
    byId("cases-kind").addEventListener("change", ({ target }) => {
      for (const item of document.querySelectorAll(".cases > li")) {
        item.hidden = target.value !== "" && item.dataset.kind !== target.value;
      }
    });
  }

  // --- one region's story ---
  const story = (region, film) => {
    byId("life-title").textContent = `Image ${imageOf(region)}, row ${data.regions[region][1]}`;
    showCrop(byId("life-crop"), region);
    byId("life-says").textContent = nearest(region);
    const events = byId("life-events");
    events.replaceChildren();
    if (film && film.ends[region]) {
      const [times, end] = film.ends[region];
      byId("life-says").textContent += `; came in ${times === 1 ? "once" : `${times} times`} for ${film.name}`;
      film.frames.forEach((frame, place) => {
        const tell = (name, say) => {
          const row = frame[name].find(([other]) => other === region);
          if (!row) return;
          const item = make("li");
          const go = make("button", `Training ${frame.update + 1}`, { type: "button" });
          go.addEventListener("click", () => {
            byId("life").close();
            show(data.films.indexOf(film), place);
            byId("film").scrollIntoView();
          });
          item.append(go, ` ${say(row[1], row[2])}`);
          events.append(item);
        };
        const before = (score) => (score === null ? "not scored before" : number(score));
        tell("came", (a, b) => `came in: ${before(a)}, after the training ${number(b)}`);
        tell("left", (a, b) => `left: ${before(a)}, after the training ${number(b)}`);
      });
      const ends = end === null ? "It left." : end === true ? "It is in the set, beyond the margin." :
        `It is a support vector at the end, with a score of ${number(end)}.`;
      events.append(make("li", ends));
    }
    byId("life").showModal();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-region]");
    if (!button) return;
    const film = data.films[button.closest("[data-film]")?.dataset.film];
    story(Number(button.dataset.region), film);
  });

  // --- the film ---
  if (!data.films.length) return;
  const slider = byId("film-frame");
  let playing = null;
  let film = data.films[0];
  let place = 0;

  const filter = () => {
    const image = byId("filter-image").value.trim();
    const score = byId("filter-score").value === "" ? -Infinity : Number(byId("filter-score").value);
    const support = byId("filter-support").checked;
    return {
      active: image !== "" || score > -Infinity || support,
      accepts: ([region, before, after], name) =>
        imageOf(region).includes(image) &&
        (name === "top" || before === null ? after : before) >= score &&
        (!support || typeof film.ends[region][1] === "number"),
    };
  };
  const lists = ["came", "left", "top"];
  const matches = (frame, { accepts }) => lists.some((name) => frame[name].some((row) => accepts(row, name)));

  const card = (name, [region, before, after]) => {
    const item = make("li");
    const scores = before === null ? number(after) : name === "top" ? number(after) : `${number(before)} \u2192 ${number(after)}`;
    const button = make("button", "", { type: "button", class: "region", "data-region": region });
    const image = make("img", "", { alt: "" });
    showCrop(image, region);
    const caption = make("span");
    caption.append(make("b", scores), make("br"), nearest(region), make("br"), `image ${imageOf(region)}`);
    const [times] = film.ends[region];
    if (times > 1) caption.append(make("br"), `came in ${times} times`);
    button.append(image, caption);
    item.append(button);
    return item;
  };

  const fill = (name, frame, total, chosen) => {
    const list = byId(name);
    const rows = frame[name].filter((row) => chosen.accepts(row, name));
    const words = { came: "Came in", left: "Left", top: "Highest scores after the training" };
    const of = total === null ? "" : `: ${total.toLocaleString("en")}${total > rows.length ? `, of which ${rows.length} are shown` : ""}`;
    byId(`${name}-title`).textContent = words[name] + of;
    const cards = rows.map((row) => card(name, row));
    list.replaceChildren(...cards.slice(0, MOST));
    if (cards.length > MOST) {
      const item = make("li", "", { class: "more" });
      const more = make("button", `Show all ${cards.length}`, { type: "button" });
      more.addEventListener("click", () => {
        list.replaceChildren(...cards);
        cards[MOST].firstChild.focus();
      });
      item.append(more);
      list.append(item);
    }
    if (!cards.length) list.append(make("li", chosen.active ? "none that the filter shows" : "none", { class: "none" }));
  };

  const histogram = (frame) => {
    const { edges, marks } = data;
    const used = edges.slice(0, -1).map((_, bin) =>
      data.films.length && film.frames.some((other) => other.positives[bin] + other.negatives[bin] > 0));
    const first = Math.min(used.indexOf(true), ...marks.map(({ at }) => edges.findLastIndex((edge) => edge <= at + 1e-9)));
    const last = Math.max(used.lastIndexOf(true), ...marks.map(({ at }) => edges.findLastIndex((edge) => edge <= at + 1e-9)));
    const x = (value) => (100 * (value - edges[first])) / (edges[last + 1] - edges[first]);
    const plot = make("div", "", { class: "plot" });
    const names = make("div", "", { class: "names" });
    const peak = {};
    for (const [kind, side] of [["negatives", "up"], ["positives", "down"]]) {
      const bars = make("div", "", { class: `bars ${side}` });
      peak[kind] = Math.max(1, ...frame[kind]);
      for (let bin = first; bin <= last; bin++) {
        const bar = make("i", "", { class: kind });
        bar.style.height = `${(100 * frame[kind][bin]) / peak[kind]}%`;
        bars.append(bar);
      }
      plot.append(bars);
    }
    for (const { at, name } of marks) {
      const mark = make("i", "", { class: "mark" });
      const label = make("span", name.replace("-", "\u2212"));
      mark.style.left = `${x(at)}%`;
      if (x(at) > 50) label.style.marginRight = `${100 - x(at)}%`;
      else label.style.marginLeft = `${x(at)}%`;
      label.className = x(at) > 50 ? "on-left" : "";
      plot.append(mark);
      names.append(label);
    }
    const axis = make("div", "", { class: "axis" });
    for (let value = Math.ceil(edges[first]); value <= edges[last + 1]; value++) {
      const tick = make("span", number(value, 0));
      tick.style.left = `${x(value)}%`;
      axis.append(tick);
    }
    const box = byId("histogram");
    box.replaceChildren(names, plot, axis,
      make("p", `Above: negatives, highest bar ${peak.negatives.toLocaleString("en")}. Below: positives, highest bar ${peak.positives.toLocaleString("en")}.`));
    const beyond = (kind, from) => frame[kind].reduce((sum, n, bin) => sum + (edges[bin] >= from - 1e-9 ? n : 0), 0);
    box.setAttribute("aria-label",
      `Histogram of scores: ${beyond("negatives", -1)} of ${frame.trainedOn} negatives above \u22121, ` +
      `${beyond("negatives", 0)} above 0; ${beyond("positives", 1)} positives above 1.`);
  };

  const draw = () => {
    const frame = film.frames[place];
    const chosen = filter();
    slider.value = place;
    slider.setAttribute("aria-valuetext", `training ${frame.update + 1} of ${film.updates}`);
    const [, , , objective] = frame.objective;
    byId("film-says").textContent =
      `Training ${frame.update + 1} of ${film.updates}, after image ${frame.image + 1} of ${data.numImages} (${frame.id})` +
      `${data.passes > 1 ? ` in pass ${frame.epoch + 1}` : ""}: ${count(frame.numCame, "negative")} came in, trained on ` +
      `${frame.trainedOn.toLocaleString("en")}, ${frame.numLeft.toLocaleString("en")} left, ${frame.stayed.toLocaleString("en")} stay. Objective ${objective}.`;
    fill("came", frame, frame.numCame, chosen);
    fill("left", frame, frame.numLeft, chosen);
    fill("top", frame, null, chosen);
    histogram(frame);
    for (const figure of document.querySelectorAll(".of-class")) {
      figure.hidden = data.films[figure.dataset.class] !== film;
      const share = film.updates > 1 ? frame.update / (film.updates - 1) : 0;
      figure.querySelector(".cursor").style.left = `${100 * (data.axis[0] + (data.axis[1] - data.axis[0]) * share)}%`;
    }
    const ticks = film.frames.map((other, nth) => {
      const tick = make("i", "", { class: chosen.active && matches(other, chosen) ? "match" : "" });
      tick.style.left = `${(100 * nth) / Math.max(film.frames.length - 1, 1)}%`;
      return tick;
    });
    byId("film-ticks").replaceChildren(...ticks);
    const steps = film.frames.filter((other) => matches(other, chosen)).length;
    byId("filter-says").textContent = chosen.active ? `${steps} of ${count(film.frames.length, "training")} have some` : "";
    byId("film-back").disabled = next(-1) === null;
    byId("film-next").disabled = next(1) === null;
  };

  // The next training in a direction that the filter shows something of; null where there is none.
  const next = (direction) => {
    const chosen = filter();
    for (let other = place + direction; film.frames[other]; other += direction) {
      if (!chosen.active || matches(film.frames[other], chosen)) return other;
    }
    return null;
  };
  const step = (direction) => {
    place = next(direction) ?? place;
    draw();
  };
  const pause = () => {
    clearInterval(playing);
    playing = null;
    byId("film-play").textContent = "Play";
    byId("film-play").setAttribute("aria-pressed", "false");
    byId("film-says").setAttribute("aria-live", "polite");
  };
  const play = () => {
    if (next(1) === null) place = 0;
    byId("film-play").textContent = "Pause";
    byId("film-play").setAttribute("aria-pressed", "true");
    byId("film-says").setAttribute("aria-live", "off"); // a reader of the screen would fall behind
    draw();
    playing = setInterval(() => {
      step(1);
      if (next(1) === null) pause();
    }, STEP_MS);
  };
  const show = (cls, frame = 0) => {
    film = data.films[cls];
    place = frame;
    byId("film-class").value = cls;
    byId("player").dataset.film = cls;
    slider.max = film.frames.length - 1;
    const ids = new Set(Object.keys(film.ends).map((region) => imageOf(Number(region))));
    byId("filter-images").replaceChildren(...[...ids].sort().map((id) => make("option", "", { value: id })));
    draw();
  };

  byId("film-class").addEventListener("change", (event) => { pause(); show(Number(event.target.value)); });
  slider.addEventListener("input", () => { pause(); place = Number(slider.value); draw(); });
  byId("film-back").addEventListener("click", () => { pause(); step(-1); });
  byId("film-next").addEventListener("click", () => { pause(); step(1); });
  byId("film-play").addEventListener("click", () => (playing === null ? play() : pause()));
  for (const id of ["filter-image", "filter-score", "filter-support"]) byId(id).addEventListener("input", draw);
  byId("filter-clear").addEventListener("click", () => {
    byId("filter-image").value = byId("filter-score").value = "";
    byId("filter-support").checked = false;
    draw();
  });
  byId("player").addEventListener("keydown", (event) => {
    if (event.target.closest("input, select") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    pause();
    step(event.key === "ArrowLeft" ? -1 : 1);
  });
  byId("player").hidden = false;
  show(0);
})();
