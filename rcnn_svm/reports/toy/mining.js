/**
 * Hard negative mining of one class in a plane, line by line as mining/reference.py does it, with the four rules of
 * mining/rules.py. A point is a region: it has an image, a row, a kind and two features, x and y. Its key is
 * (image, row). What the original holds in single precision, Math.fround rounds.
 */

const { fround } = Math;

/** Return the four rules, as MiningRules has them. The kind of a point says on which side of neg_overlap it is. */
function miningRules(settings) {
  return {
    negative: (kind) => kind === "negative",
    hard: (score, firstImage) => firstImage || score > fround(settings.hard_thresh),
    mustRetrain: (numAdded, firstImage, lastImage) => firstImage || numAdded > settings.retrain_limit || lastImage,
    easy: (score) => score < fround(settings.evict_thresh),
  };
}

/** Return the points of every image, in the order of rows: positives first, then the others, as they came. */
function imagesOf(points) {
  const images = Array.from({ length: 1 + Math.max(-1, ...points.map((point) => point.image)) }, () => []);
  for (const positive of [true, false]) {
    for (const point of points.filter(({ kind }) => (kind === "positive") === positive)) {
      const ofImage = images[point.image];
      ofImage.push({ ...point, row: ofImage.length });
    }
  }
  return images;
}

/** Return the function that scales features to the mean L2 norm that one C serves. Points at the origin stay there. */
function featureScaling(images, targetNorm) {
  const norms = images.flat().map(({ x, y }) => Math.hypot(x, y));
  const mean = norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
  const scale = mean > 0 ? fround(fround(targetNorm) / fround(mean)) : 1;
  return ({ x, y }) => [fround(fround(x) * scale), fround(fround(y) * scale)];
}

/** Return the score of features under a detector. */
function scoreOf({ w, b }, [x, y]) {
  return fround(fround(fround(x * w[0]) + fround(y * w[1])) + b);
}

/**
 * Mine, and yield after every scan of an image, every training and every eviction what happened:
 *
 * step, epoch, image, detector, cache and numAdded always; of a scan, negatives, hard (those that are), added and known
 * (those that entered the cache, and those that were in it) and due (whether a training follows); of a training and an
 * eviction, update (its number), positives, trained (the negatives trained on), numTrainedOn (how many of them came
 * since the training before), solution (of trainSvm) and supports (the support vectors); of an eviction, evicted. A step
 * that has lastImage, and no training is due, is the last.
 */
function* mine(images, settings) {
  const rules = miningRules(settings);
  const features = featureScaling(images, settings.target_norm);
  const positives = images.flat().filter(({ kind }) => kind === "positive");
  let detector = { w: [0, 0], b: 0 };
  let cache = [];
  let numAdded = 0; // since the last training
  let update = 0;
  const score = (point) => scoreOf(detector, features(point));

  for (let epoch = 0; epoch < settings.max_epochs; epoch++) {
    for (const [image, points] of images.entries()) {
      const firstImage = epoch === 0 && image === 0;
      const lastImage = epoch === settings.max_epochs - 1 && image === images.length - 1;
      const negatives = points.filter(({ kind }) => rules.negative(kind));
      const hard = negatives.filter((point) => rules.hard(score(point), firstImage));
      const known = hard.filter((point) => cache.includes(point));
      const added = hard.filter((point) => !cache.includes(point)); // no key twice
      cache = [...cache, ...added];
      numAdded += added.length;
      const due = rules.mustRetrain(numAdded, firstImage, lastImage) && cache.length > 0;
      const scanned = { epoch, image, negatives, hard, added, known, due, firstImage, lastImage };
      yield { step: "scan", ...scanned, detector, cache, numAdded };
      if (!due) continue;

      const trained = cache;
      const examples = [...positives, ...trained];
      const costs = examples.map(
        ({ kind }) => settings.svm_C * (kind === "positive" ? settings.pos_loss_weight : 1),
      );
      const labels = examples.map(({ kind }) => (kind === "positive" ? 1 : -1));
      const solution = trainSvm(examples.map(features), labels, costs, settings.bias_mult);
      detector = { w: solution.w.map(fround), b: fround(solution.b) };
      const supports = examples.filter((_, i) => solution.alpha[i] > 0);
      const training = { epoch, image, update, positives, trained, numTrainedOn: numAdded, solution, supports };
      yield { step: "train", ...training, detector, cache, numAdded };

      const evicted = trained.filter((point) => rules.easy(score(point)));
      cache = trained.filter((point) => !evicted.includes(point));
      numAdded = 0;
      update += 1;
      yield { step: "evict", ...training, evicted, lastImage, detector, cache, numAdded };
    }
  }
}

/** Return what happened in some steps as tables of MiningHistory (mining/engine/history.py), without the class. */
function historyOf(steps) {
  const of = (kind) => steps.filter(({ step }) => step === kind);
  const evictions = of("evict");
  return {
    added: of("scan").flatMap(({ epoch, added }) => added.map(({ image, row }) => [epoch, image, row])),
    scan: of("scan").map(({ epoch, image, hard, added }) => [epoch, image, hard.length, added.length]),
    evicted: evictions.flatMap(({ update, evicted }) => evicted.map(({ image, row }) => [update, image, row])),
    updates: evictions.map(({ epoch, image, positives, trained, cache, numTrainedOn }) => [
      ...[epoch, image, positives.length, trained.length, cache.length, numTrainedOn],
    ]),
    update_loss: evictions.map(({ solution: { losses, objective } }) => [
      ...[losses.positives, losses.negatives, losses.regulariser, objective],
    ]),
    update_gap: evictions.map(({ solution }) => solution.gap),
    detectors: evictions.map(({ detector }) => [...detector.w, detector.b]),
  };
}
