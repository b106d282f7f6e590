/**
 * The page: the reader's points, the buttons, and what they show of the mining.
 *
 * window.toy is for scripts. A point is { image, x, y, kind }: image 0, 1, ...; x and y from -1 to 1; kind "positive",
 * "negative" or "neither".
 *
 *   toy.load(points, settings)   replaces all points, and settings by their names in rcnn_svm.paper; mining begins anew
 *   toy.step()                   makes the next step, and returns whether there was one
 *   toy.run()                    makes all steps that are left
 *   toy.history()                returns what happened, as tables of MiningHistory without the class
 */

const KINDS = ["positive", "negative", "neither"];
const MAX_POINTS = 200; // of more, the signs cannot be told apart
const PLAY_INTERVAL = 1100; // ms between two steps
const NEAR = 16; // pixels within which a point is under the pointer
const CURSOR_STEP = 0.05;

const find = (id) => document.getElementById(id);
const form = find("editor");
const settingInputs = [...form.querySelectorAll("input[type=number]")];

let points = [];
let images = [];
let steps = [];
let mining = null;
let finished = false;
let timer = null;
let cursor = [0, 0];
let notice = "";
let settings = { ...CONSTANTS };

/** Write a text where it is another than before: a screen reader says again what is written again. */
function say(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

function textElement(name, textContent) {
  return Object.assign(document.createElement(name), { textContent });
}

/** Return what happened to each negative so far, and where it is now, in the order of keys. */
function negativesNow() {
  const last = steps.at(-1);
  const lastTraining = steps.findLast(({ step }) => step !== "scan");
  const records = images
    .flat()
    .filter(({ kind }) => kind === "negative")
    .map((point) => ({ point, came: [], left: [], scanned: false, state: "out" }));
  const of = new Map(records.map((record) => [record.point, record]));
  for (const step of steps) {
    if (step.step === "scan") {
      step.negatives.forEach((point) => (of.get(point).scanned = true));
      step.added.forEach((point) => of.get(point).came.push(step.epoch));
    } else if (step.step === "evict") step.evicted.forEach((point) => of.get(point).left.push(step.update));
  }
  for (const record of records) {
    const { point, left } = record;
    const isSupport = lastTraining?.supports.includes(point);
    if (last?.cache.includes(point)) record.state = isSupport ? "support" : "cached";
    else if (left.length) record.state = "evicted";
    record.changed = Boolean((last?.added ?? last?.evicted)?.includes(point));
  }
  return records;
}

/** Return the score of points under the present detector, or null before the first training. */
function presentScore() {
  const last = steps.at(-1);
  if (!steps.some(({ step }) => step === "train")) return null;
  const features = featureScaling(images, settings.target_norm);
  return (point) => scoreOf(last.detector, features(point));
}

function render() {
  const last = steps.at(-1);
  const records = negativesNow();
  const score = presentScore();
  renderPlane(records, score, last);
  renderKeys(records, score);
  const described = steps.map((step) => describe(step, images, settings));
  find("steps").replaceChildren(...described.map(({ text }) => textElement("li", text)).reverse());
  const active = described.at(-1)?.rules ?? [];
  for (let rule = 1; rule <= 4; rule++) {
    if (active.includes(rule)) find(`rule-${rule}`).setAttribute("aria-current", "step");
    else find(`rule-${rule}`).removeAttribute("aria-current");
  }
  say("status", notice || described.at(-1)?.text || invitation());
  for (const output of document.querySelectorAll("output[data-setting]")) {
    output.textContent = exact(settings[output.dataset.setting]);
  }
  const trainings = steps.filter(({ step }) => step === "train");
  const counts = {
    place: last ? `${last.epoch}, ${last.image}` : "–",
    trainings: trainings.length,
    cache: `${last?.cache.length ?? 0} of ${count(records.length, "negative")}`,
    added: last?.numAdded ?? 0,
    support: trainings.at(-1)?.supports.length ?? "–",
    objective: trainings.length ? number(trainings.at(-1).solution.objective, 4) : "–",
  };
  for (const [name, text] of Object.entries(counts)) say(`count-${name}`, `${text}`);
  say("play", timer ? "Pause" : "Play");
}

/** Return what is said before the first step. */
function invitation() {
  const missing = whatIsMissing();
  return missing || `${count(points.length, "point")} in ${count(images.length, "image")}. Step scans the first image.`;
}

/** Return what keeps these points from being mined, or nothing. */
function whatIsMissing() {
  if (!points.some(({ kind }) => kind === "positive")) return "Add a positive: a detector is trained on objects.";
  if (!points.some(({ kind }) => kind === "negative")) return "Add a negative: there is nothing to mine.";
  return "";
}

function renderPlane(records, score, last) {
  const others = images.flat().filter(({ kind }) => kind !== "negative");
  const supports = steps.findLast(({ step }) => step !== "scan")?.supports ?? [];
  const all = [
    ...others.map((point) => ({ point, state: supports.includes(point) ? "support" : "out", changed: false })),
    ...records,
  ];
  const order = ["out", "evicted", "cached", "support"]; // those with weight are above
  all.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  const signs = all.map(({ point, state, changed }) => {
    const scanned = last?.step === "scan" && point.image === last.image;
    const classes = [point.kind, state, ...(scanned ? ["scanned"] : []), ...(changed ? ["changed"] : [])].join(" ");
    const shown = score ? `, score ${number(score(point))}` : "";
    return { point, classes, title: `${keyName(point)} ${point.kind}${shown}` };
  });
  drawPlane(find("plane"), {
    signs,
    score: score && (([x, y]) => score({ x, y })),
    levels: [
      { level: settings.evict_thresh, name: "easy below", classes: "evict", above: false },
      { level: settings.hard_thresh, name: "hard above", classes: "margin", above: true },
      { level: 0, name: "score 0", classes: "zero", above: true },
      { level: 1, name: "score 1", classes: "margin", above: true },
    ],
    cursor,
  });
}

function renderKeys(records, score) {
  const rows = records.map((record) => {
    const { point, came, left, changed } = record;
    const row = document.createElement("tr");
    if (changed) row.className = "changed";
    const key = textElement("th", keyName(point));
    key.scope = "row";
    const cells = [score ? number(score(point)) : "–", stateName(record), came.join(", "), left.join(", ")];
    row.append(key, ...cells.map((text) => textElement("td", text)));
    return row;
  });
  find("keys").replaceChildren(...rows);
}

/** Begin mining anew, with the points and settings as they are now; `why` is said until the next step. */
function restart(why = "") {
  pause();
  images = imagesOf(points);
  steps = [];
  finished = false;
  notice = why;
  if (form.checkValidity()) {
    settings = { ...CONSTANTS, ...Object.fromEntries(settingInputs.map(({ name, value }) => [name, Number(value)])) };
    mining = mine(images, settings);
  } else {
    const { name, validationMessage } = settingInputs.find(({ validity }) => !validity.valid);
    mining = null;
    notice = `The setting ${name} cannot be used: ${validationMessage}`;
  }
  renderImageChoice();
  render();
}

/** Make the next step, and return whether there was one; without one, say why. */
function step() {
  const hindrance = finished ? "Mining has ended; Reset begins anew." : whatIsMissing();
  if (mining === null || hindrance) {
    notice = hindrance || notice;
    pause();
    return false;
  }
  const { value } = mining.next();
  notice = "";
  steps.push(value);
  finished = value.lastImage === true && !value.due;
  if (finished) pause();
  return true;
}

function pause() {
  clearInterval(timer);
  timer = null;
}

function play() {
  if (timer) pause();
  else if (step() && !finished) {
    timer = setInterval(() => {
      step();
      render();
    }, PLAY_INTERVAL);
  }
  render();
}

/** Offer the images that have points, and a new one. */
function renderImageChoice() {
  const choice = find("image");
  const chosen = Math.min(Math.max(choice.selectedIndex, 0), images.length);
  const names = [...images.map((_, image) => `${image}`), `${images.length}, a new one`];
  choice.replaceChildren(...names.map((name, image) => new Option(name, image, false, image === chosen)));
}

/** Return the point that is nearest to a place, or null where there is none. */
function nearest([x, y]) {
  const distance = (point) => Math.hypot(point.x - x, point.y - y);
  return images.flat().reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null);
}

/** Add a point at a place, as the form says, or remove the one that is nearest. */
function edit(place, kind = form.elements.kind.value) {
  const [x, y] = place.map((value) => Math.round(value * 1000) / 1000);
  if (kind === "remove") {
    const found = nearest(place);
    const pixels = find("plane").clientWidth / 2;
    if (!found || Math.hypot(found.x - x, found.y - y) * pixels > NEAR) return;
    const at = ({ image, x, y, kind }) => [image, x, y, kind].join();
    points = points.toSpliced(points.findIndex((point) => at(point) === at(found)), 1);
    restart(`Removed ${keyName(found)}, ${found.kind}. Mining begins anew; rows are numbered anew.`);
  } else if (points.length >= MAX_POINTS) {
    notice = `The plane is full: ${MAX_POINTS} points.`;
    render();
  } else {
    const image = Number(find("image").value);
    points = [...points, { image, x, y, kind }];
    restart(`Added to image ${image} at ${number(x)}, ${number(y)}: ${kind}. Mining begins anew.`);
  }
}

function loadPreset() {
  const preset = PRESETS[find("preset").value];
  find("preset-note").textContent = preset.note;
  points = preset.points;
  restart();
}

find("step").addEventListener("click", () => {
  pause();
  step();
  render();
});
find("play").addEventListener("click", play);
find("reset").addEventListener("click", () => restart());
find("preset").addEventListener("change", loadPreset);
form.addEventListener("submit", (event) => event.preventDefault());
for (const input of settingInputs) {
  input.addEventListener("change", () => restart("Mining begins anew with this setting."));
}

find("plane").addEventListener("click", (event) => {
  const { left, top, width, height } = find("plane").firstElementChild.getBoundingClientRect();
  edit([((event.clientX - left) / width) * 2 - 1, 1 - ((event.clientY - top) / height) * 2]);
});
find("plane").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  if (event.key in moves) {
    cursor = cursor.map((value, axis) => Math.min(Math.max(value + CURSOR_STEP * moves[event.key][axis], -1), 1));
    render();
    const near = nearest(cursor);
    const [x, y] = cursor;
    const beside = near ? `; nearest is ${keyName(near)}, ${near.kind}` : "";
    say("cursor", `${number(x)}, ${number(y)}${beside}`);
  } else if (event.key === "Enter" || event.key === " ") edit(cursor);
  else if (event.key === "Delete") edit(cursor, "remove");
  else return;
  event.preventDefault();
});
new ResizeObserver(render).observe(find("plane"));

for (const svg of document.querySelectorAll("svg[data-sign]")) {
  svg.setAttribute("viewBox", "-15 -15 30 30");
  svg.setAttribute("aria-hidden", "true");
  svg.append(signElement(svg.dataset.sign, "0"));
}
loadPreset();

window.toy = {
  load(given, changed = {}) {
    for (const { image, x, y, kind } of given) {
      const isPlace = [x, y].every((value) => Number.isFinite(value) && Math.abs(value) <= 1);
      if (!Number.isInteger(image) || image < 0 || !isPlace || !KINDS.includes(kind)) {
        throw new TypeError(
          `a point is { image: 0, 1, ..., x and y: -1 to 1, kind: ${KINDS.join(", ")} }, not ` +
            JSON.stringify({ image, x, y, kind }),
        );
      }
    }
    for (const [name, value] of Object.entries(changed)) form.elements[name].value = value;
    points = given;
    restart();
  },
  step() {
    const made = step();
    render();
    return made;
  },
  run() {
    while (!finished && step());
    render();
  },
  history: () => historyOf(steps),
};
