/**
 * The plane as SVG: points, the line where a detector scores 0, its margins, and where negatives leave.
 *
 * Coordinates of points are -1 to 1, x to the right and y up. The picture is as many units wide as the page gives it
 * pixels, so that signs and letters keep their size on a telephone.
 */

function svgElement(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return the sign of a point around (0, 0): a square for a positive, a diamond for neither, else a disc. */
function signElement(classes, text, title) {
  const kind = classes.split(" ")[0];
  const body = {
    positive: () => svgElement("rect", { class: "body", x: -8, y: -8, width: 16, height: 16, rx: 2 }),
    neither: () => svgElement("path", { class: "body", d: "M0 -10L10 0L0 10L-10 0Z" }),
    negative: () => svgElement("circle", { class: "body", r: 8.5 }),
  }[kind]();
  return svgElement(
    "g",
    { class: `sign ${classes}` },
    ...(title ? [svgElement("title", {}, title)] : []),
    svgElement("circle", { class: "halo", r: 14 }),
    svgElement("circle", { class: "ring", r: 11.5 }),
    body,
    svgElement("text", { y: 0.5 }, text),
    svgElement("path", { class: "strike", d: "M7 -12l6 6m0 -6l-6 6" }),
  );
}

/** Return of every side of the plane its first corner, where a score is above a level, and where it crosses it. */
function sidesAbove(score, level) {
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
  return corners.map((corner, i) => {
    const next = corners[(i + 1) % 4];
    const [here, there] = [score(corner) - level, score(next) - level];
    const crossing = [0, 1].map((axis) => corner[axis] + (here / (here - there)) * (next[axis] - corner[axis]));
    return { corners: here > 0 ? [corner] : [], crossings: here > 0 !== there > 0 ? [crossing] : [] };
  });
}

/** Return the corners of the part of the plane where a score, linear in x and y, is above a level. */
function areaAbove(score, level) {
  return sidesAbove(score, level).flatMap(({ corners, crossings }) => [...corners, ...crossings]);
}

/** Return the two ends, in the plane, of the line where a score has a level; none where it passes the plane by. */
function lineAt(score, level) {
  return sidesAbove(score, level).flatMap(({ crossings }) => crossings);
}

/** Return whether a score rises from a line to what is above it on the page; to the left, where it is upright. */
function rises(score, [x1, y1], [x2, y2]) {
  const right = x1 <= x2 ? 1 : -1;
  const up = [-(y2 - y1) * right, (x2 - x1) * right];
  return score([x1 + up[0], y1 + up[1]]) > score([x1, y1]);
}

/** Return a name along a line, near its left end, above or below it. */
function nameOfLine(name, from, to, above) {
  const [[x1, y1], [x2, y2]] = from[0] <= to[0] ? [from, to] : [to, from];
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const transform = `translate(${x1} ${y1}) rotate(${(angle * 180) / Math.PI})`;
  const y = above ? -5 : 14;
  const inside = (4 - x1 + y * Math.sin(angle)) / Math.cos(angle); // where its corner is right of the border
  const x = Math.min(Math.max(16, inside), Math.hypot(x2 - x1, y2 - y1) / 2);
  return svgElement("text", { class: "level-name", x, y, transform }, name);
}

/**
 * Draw the plane.
 *
 * container: the element that holds it. signs: [{ point, classes, title }] in the order of drawing. score: of a place
 * [x, y], or null before the first training. levels: [{ level, name, classes, above }] of the lines; a name is on the
 * side of its line where scores are above, or below. cursor: [x, y].
 */
function drawPlane(container, { signs, score, levels, cursor }) {
  const size = container.clientWidth;
  const place = ([x, y]) => [((x + 1) / 2) * size, ((1 - y) / 2) * size];
  const svg = svgElement("svg", { viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" });
  const line = (classes, from, to) => {
    const [[x1, y1], [x2, y2]] = [place(from), place(to)];
    svg.append(svgElement("line", { class: classes, x1, y1, x2, y2 }));
  };

  if (score) {
    const points = areaAbove(score, 0).map((corner) => place(corner).join(" ")).join(" ");
    svg.append(svgElement("polygon", { class: "positive-side", points }));
  }
  line("axis", [-1, 0], [1, 0]);
  line("axis", [0, -1], [0, 1]);
  for (const { level, name, classes, above } of score ? levels : []) {
    const ends = lineAt(score, level);
    if (!ends.length) continue;
    line(`level ${classes}`, ...ends);
    svg.append(nameOfLine(name, ...ends.map(place), above === rises(score, ...ends)));
  }
  for (const { point, classes, title } of signs) {
    const sign = signElement(classes, point.image, title);
    sign.setAttribute("transform", `translate(${place([point.x, point.y]).join(" ")})`);
    svg.append(sign);
  }
  const [x, y] = place(cursor);
  svg.append(svgElement("path", { class: "cross", d: `M${x - 9} ${y}h18M${x} ${y - 9}v18` }));
  container.replaceChildren(svg);
}
