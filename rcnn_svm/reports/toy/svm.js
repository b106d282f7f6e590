/**
 * Train the linear SVM of svm/problem.py on points of a plane, by dual coordinate descent (Hsieh et al., ICML 2008).
 *
 * With x~ = [x, biasMult] and w~ = [w, b / biasMult]: minimise 0.5 |w~|^2 + sum_i c_i max(0, 1 - y_i w~.x~_i). Its dual
 * has one variable a_i of every example, 0 <= a_i <= c_i, and w~ = sum_i a_i y_i x~_i. A round visits all examples,
 * then many times those whose variable is at no bound, which are few in a plane and slow to settle. The solver stops
 * when the duality gap proves that the solution is the optimum but for rounding, so that no key depends on it.
 *
 * rows: points, [x, y] each. labels: 1 or -1 each. costs: c_i.
 * Returns w, b, the dual variables alpha, the losses of positives, negatives and regulariser, the objective, which is
 * their sum, and the relative gap.
 */
function trainSvm(rows, labels, costs, biasMult) {
  const tolerance = 1e-12;
  const maxRounds = 20000;
  const examples = rows.map(([x, y]) => [x, y, biasMult]);
  const norms = examples.map((example) => dot(example, example));
  const alpha = rows.map(() => 0);
  const weights = [0, 0, 0];

  function descend(i) {
    const example = examples[i];
    const gradient = labels[i] * dot(weights, example) - 1;
    const moved = Math.min(Math.max(alpha[i] - gradient / norms[i], 0), costs[i]);
    const change = (moved - alpha[i]) * labels[i];
    alpha[i] = moved;
    weights[0] += change * example[0];
    weights[1] += change * example[1];
    weights[2] += change * example[2];
  }

  for (let round = 0; ; round++) {
    const losses = { positives: 0, negatives: 0, regulariser: dot(weights, weights) / 2 };
    examples.forEach((example, i) => {
      const loss = costs[i] * Math.max(0, 1 - labels[i] * dot(weights, example));
      losses[labels[i] > 0 ? "positives" : "negatives"] += loss;
    });
    const objective = losses.positives + losses.negatives + losses.regulariser;
    const dual = alpha.reduce((sum, a) => sum + a, 0) - losses.regulariser;
    const gap = (objective - dual) / objective;
    if (gap <= tolerance || round === maxRounds) {
      return { w: [weights[0], weights[1]], b: weights[2] * biasMult, alpha, losses, objective, gap };
    }
    examples.forEach((_, i) => descend(i));
    const free = alpha.flatMap((a, i) => (a > 0 && a < costs[i] ? [i] : []));
    for (let pass = 0; pass < 100; pass++) free.forEach(descend);
  }
}

function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
