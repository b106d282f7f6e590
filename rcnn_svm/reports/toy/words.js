/** What the mining did, in sentences. */

const LONGEST_LIST = 8; // keys that a sentence names

const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
const exact = (value) => String(value).replace("-", "−");
const keyName = ({ image, row }) => `(${image},\u00a0${row})`;
const count = (many, noun) => `${many} ${noun}${many === 1 ? "" : "s"}`;
const verb = (many, word) => (many === 1 ? `${word}s` : word);

function keyList(keys) {
  const named = keys.slice(0, LONGEST_LIST).map(keyName).join(", ");
  return keys.length > LONGEST_LIST ? `${named} and ${keys.length - LONGEST_LIST} more` : named;
}

/** Return in words how close to the optimum a solution is proven to be. */
function provenTo(gap) {
  const digits = Math.min(Math.floor(-Math.log10(Math.max(gap, 1e-12))), 12);
  return `which the duality gap proves to ${digits} digits`;
}

/** Return the rules that a step applies, by their numbers on the page, and what it did in a sentence or two. */
function describe(step, images, settings) {
  const limit = settings.retrain_limit;
  if (step.step === "train") {
    const { update, positives, trained, solution, supports } = step;
    const ofNegatives = supports.filter(({ kind }) => kind !== "positive").length;
    return {
      rules: [2],
      text:
        `Training ${update}, on ${count(positives.length, "positive")} and ${count(trained.length, "negative")} of ` +
        `the cache. ${count(supports.length, "support vector")}, ${ofNegatives} of them negatives; objective ` +
        `${number(solution.objective, 4)}, ${provenTo(solution.gap)}.`,
    };
  }
  if (step.step === "evict") {
    const { update, trained, evicted, lastImage } = step;
    const left = evicted.length
      ? `${evicted.length} of ${count(trained.length, "negative")} ${verb(evicted.length, "score")} below ` +
        `${exact(settings.evict_thresh)} and ${verb(evicted.length, "leave")}: ${keyList(evicted)}.`
      : `None of ${count(trained.length, "negative")} scores below ${exact(settings.evict_thresh)}; all stay.`;
    const end = lastImage ? ` Mining ends: that was the last image of the last pass.` : "";
    return { rules: [3], text: `After training ${update}: ${left}${end}` };
  }
  const { epoch, image, negatives, hard, added, known, due, firstImage, lastImage, numAdded, cache } = step;
  const threshold = exact(settings.hard_thresh);
  const parts = [`Pass ${epoch}, image ${image}.`];
  if (!images[image].length) parts.push("It has no points.");
  else if (!negatives.length) parts.push("It has no negatives.");
  else if (firstImage) {
    const all = `all ${count(hard.length, "negative")} ${verb(hard.length, "enter")}`;
    parts.push(`There is no detector yet, so ${all} the cache.`);
  } else if (!hard.length) parts.push(`None of ${count(negatives.length, "negative")} scores above ${threshold}.`);
  else {
    parts.push(
      `${hard.length} of ${count(negatives.length, "negative")} ${verb(hard.length, "score")} above ${threshold}.`,
    );
    if (known.length) parts.push(`In the cache already: ${keyList(known)}.`);
    parts.push(added.length ? `Added: ${keyList(added)}.` : "None is new.");
  }
  if (due) {
    const why = firstImage
      ? "as this was the first image"
      : numAdded > limit
        ? `as ${numAdded} were added since the last, more than ${limit}`
        : "as this was the last image of the last pass";
    parts.push(`Training is next, ${why}.`);
  } else if (!cache.length) parts.push("The cache is empty, so there is nothing to train on.");
  else parts.push(`No training: ${numAdded} added since the last, not more than ${limit}.`);
  if (lastImage && !due) parts.push("Mining ends: that was the last image of the last pass.");
  return { rules: known.length ? [1, 4] : [1], text: parts.join(" ") };
}

/** Return in words where a negative is. */
function stateName({ state, scanned }) {
  const names = { cached: "in the cache", support: "support vector", evicted: "evicted" };
  return names[state] ?? (scanned ? "never hard" : "not scanned yet");
}
