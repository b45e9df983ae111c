/* The explorers of the kit, as they run in a browser: on the page of a run, in JupyterLab, on Kaggle.
   An output of explorers.py holds a <div class="explorer"> with data, and this script. What the data
   say is only ever shown as text, as a picture or as sound. */
(() => {
  const BLUE = "#0072B2", ORANGE = "#D55E00", GREY = "#57606a";

  // ---- small tools ----

  function make(name, about = {}, ...inside) {
    const svg = ["svg", "circle", "line", "text"].includes(name);
    const one = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(about)) {
      if (key === "style") one.style.cssText = value;
      else if (svg || key.startsWith("aria-")) one.setAttribute(key, value);
      else one[key] = value;
    }
    one.append(...inside);
    return one;
  }

  const labelled = (text, control) =>
    make("label", { style: "display: inline-block; margin: 0 1.5em .5em 0" }, make("b", {}, text + " "), control);

  function menu(texts, chosen, act) {
    const options = texts.map((text, i) => make("option", { value: i, textContent: text }));
    const select = make("select", { style: "font: inherit; max-width: 100%", onchange: () => act(Number(select.value)) }, ...options);
    select.value = chosen;
    return select;
  }

  const picture = (data, alt, height) =>
    make("img", { src: "data:image/png;base64," + data, alt, style: `width: 100%; height: ${height}; display: block` });

  function table(heads, rows, style = "") {
    const cells = (row, name) => make("tr", {}, ...row.map((cell, i) =>
      make(i ? name : "th", { style: i ? "text-align: right" : "text-align: left" }, cell)));
    return make("table", { style }, make("thead", {}, cells(heads, "th")), make("tbody", {}, ...rows.map(row => cells(row, "td"))));
  }

  const ratio = (part, whole) => whole ? `${part}/${whole} = ${(part / whole).toFixed(2)}` : `${part}/${whole}, undefined`;

  // ---- two clips, side by side ----

  function clips(place, data) {
    let kind = 0;
    const sides = data.begin.map((begin, number) => {
      let at = begin;
      const shown = make("div");
      const draw = () => {
        const clip = data.clips[at];
        const unit = data.kinds[kind].startsWith("beat") ? "beats" : "time";
        const up = data.kinds[kind].includes("chroma") ? "pitch class up, C to B" : "frequency up";
        shown.replaceChildren(
          picture(clip.pictures[kind], `${data.kinds[kind]} of ${clip.title}`, "11em"),
          make("small", {}, `${up}, ${unit} across. Sound: ${clip.note}.`));
        if (clip.sound)
          shown.append(make("audio", { controls: true, src: "data:audio/mpeg;base64," + clip.sound, style: "width: 100%" }));
      };
      const titles = data.clips.map(clip => clip.title + (clip.sound ? ", with sound" : ""));
      const choice = menu(titles, at, i => { at = i; draw(); });
      draw();
      return { draw, box: make("div", { style: "flex: 1 1 20em; min-width: 0" }, labelled(["first", "second"][number] + " clip", choice), shown) };
    });
    const kinds = menu(data.kinds, kind, i => { kind = i; sides.forEach(side => side.draw()); });
    place.append(labelled("picture", kinds), make("div", { style: "display: flex; flex-wrap: wrap; gap: 1.5em" }, ...sides.map(side => side.box)));
  }

  // ---- the threshold ----

  function threshold(place, data) {
    let number = data.begin;
    const slider = make("input", { type: "range", min: 0, max: 100, value: 50, style: "width: 14em; vertical-align: middle", oninput: draw });
    const said = make("output"), told = make("div", { "aria-live": "polite" });
    const strip = make("svg", { viewBox: "0 0 460 210", role: "img", style: "flex: 3 1 20em; min-width: 0; max-width: 34em" });
    const curve = make("svg", { viewBox: "0 0 260 210", role: "img", style: "flex: 2 1 13em; min-width: 0; max-width: 20em" });

    const word = (words, x, y, more = {}) => make("text", { x, y, "font-size": 13, fill: GREY, ...more }, words);
    const stroke = (x1, y1, x2, y2, more = {}) => make("line", { x1, y1, x2, y2, stroke: GREY, ...more });

    // At a threshold in hundredths: which clips are called, and the four counts.
    function count(at) {
      const counts = { TP: 0, FN: 0, FP: 0, TN: 0 };
      data.scores.forEach((row, i) => {
        const called = row[number] >= 100 * at;
        counts[data.true[i] === number ? (called ? "TP" : "FN") : (called ? "FP" : "TN")] += 1;
      });
      return counts;
    }

    function draw() {
      const at = Number(slider.value), name = data.classes[number], { TP, FN, FP, TN } = count(at);
      said.textContent = ` ${(at / 100).toFixed(2)}`;

      const x = score => 15 + 0.043 * score;
      strip.setAttribute("aria-label", `Probabilities of ${name}: of its clips above, of all others below, with the threshold at ${at / 100}`);
      strip.replaceChildren(
        word(`clips that are ${name}`, 10, 16), word("clips of other classes", 10, 96),
        ...data.scores.map((row, i) => {
          const belongs = data.true[i] === number, colour = belongs ? BLUE : ORANGE;
          return make("circle", { cx: x(row[number]), cy: (belongs ? 28 : 108) + 11 * (i * 7 % 5), r: 4.5,
            fill: row[number] >= 100 * at ? colour : "none", stroke: colour });
        }),
        stroke(x(100 * at), 20, x(100 * at), 168, { stroke: "#000", "stroke-width": 2 }), stroke(15, 168, 445, 168),
        ...[0, 0.5, 1].map(share => word(String(share), x(10000 * share), 184, { "text-anchor": "middle" })),
        word(`probability of ${name} (filled: called so)`, 230, 203, { "text-anchor": "middle" }));

      const px = recall => 40 + 200 * recall, py = precision => 168 - 140 * precision;
      const points = Array.from({ length: 101 }, (_, i) => count(i)).filter(one => one.TP + one.FP && TP + FN)
        .map(one => [px(one.TP / (TP + FN)), py(one.TP / (one.TP + one.FP))]);
      const guess = (TP + FN) / data.true.length;
      curve.setAttribute("aria-label", `Precision against recall of ${name} for every threshold; guessing has precision ${guess.toFixed(2)}`);
      curve.replaceChildren(
        stroke(40, 168, 240, 168), stroke(40, 28, 40, 168), stroke(40, py(guess), 240, py(guess), { "stroke-dasharray": "1 4" }),
        ...points.slice(1).map((end, i) => stroke(...points[i], ...end, { stroke: BLUE, "stroke-width": 2 })),
        ...[0, 1].flatMap(share => [word(String(share), px(share), 184, { "text-anchor": "middle" }), word(String(share), 32, py(share) + 4, { "text-anchor": "end" })]),
        word("recall", 140, 203, { "text-anchor": "middle" }), word("precision", 40, 14), word("guessing", 240, py(guess) - 4, { "text-anchor": "end" }));
      if (TP + FP && TP + FN)
        curve.append(make("circle", { cx: px(TP / (TP + FN)), cy: py(TP / (TP + FP)), r: 6, fill: ORANGE, stroke: "#000" }));

      told.replaceChildren(
        table(["", `called ${name}`, "not called so"], [[`are ${name}`, `TP ${TP}`, `FN ${FN}`], ["are others", `FP ${FP}`, `TN ${TN}`]]),
        make("p", {}, `Precision TP/(TP+FP) = ${ratio(TP, TP + FP)}. Recall TP/(TP+FN) = ${ratio(TP, TP + FN)}. ` +
          `F1 2TP/(2TP+FP+FN) = ${ratio(2 * TP, 2 * TP + FP + FN)}.`));
    }

    const names = data.classes.map((name, i) => `${name} (${data.true.filter(one => one === i).length})`);
    place.append(
      labelled("class (clips)", menu(names, number, i => { number = i; draw(); })), labelled("threshold", make("span", {}, slider, said)),
      make("div", { style: "display: flex; flex-wrap: wrap; gap: 1em" }, strip, curve), told);
    draw();
  }

  // ---- the confusion matrix ----

  function confusion(place, data) {
    const n = data.classes.length, names = Object.keys(data.examples);
    const inputs = data.classes.map((row, i) => data.classes.map((column, j) =>
      make("input", { type: "number", min: 0, max: 9999, step: 1, style: "width: 4.5em; font: inherit", oninput: draw, ariaLabel: `${row}, called ${column}` })));
    const told = make("div", { "aria-live": "polite" });

    function fill(number) {
      data.examples[names[number]].forEach((row, i) => row.forEach((count, j) => { inputs[i][j].value = count; }));
      draw();
    }

    function draw() {
      const counts = inputs.map(row => row.map(input => Math.max(0, Math.floor(Number(input.value) || 0))));
      const sum = values => values.reduce((a, b) => a + b, 0);
      const all = sum(counts.map(sum)), right = sum(counts.map((row, i) => row[i]));
      const share = (part, whole) => whole ? part / whole : 0;
      const rows = counts.map((row, i) => {
        const called = sum(counts.map(other => other[i]));
        return [share(row[i], called), share(row[i], sum(row)), share(2 * row[i], called + sum(row))];
      });
      inputs.flat().forEach((input, k) => {
        const same = Math.floor(k / n) === k % n, part = share(counts.flat()[k], Math.max(...counts.flat()));
        input.style.background = `rgba(${same ? "0, 114, 178" : "213, 94, 0"}, ${0.45 * part})`;
      });
      told.replaceChildren(
        table(["", "precision", "recall", "F1"], rows.map((row, i) => [data.classes[i], ...row.map(value => value.toFixed(3))])),
        make("p", {}, `Accuracy = micro F1 = ${right}/${all} = `, make("b", {}, share(right, all).toFixed(3)),
          "; macro F1, the mean of the classes' F1 = ", make("b", {}, share(sum(rows.map(row => row[2])), n).toFixed(3)), ". (0/0 counts as 0.)"));
    }

    place.append(
      labelled("begin with", menu(names, 0, fill)),
      table(["true \\ called", ...data.classes], inputs.map((row, i) => [data.classes[i], ...row])), told);
    fill(0);
  }

  // ---- neighbours ----

  function neighbours(place, data) {
    let at = data.begin;
    const offered = data.clips.map((_, i) => i).filter(i => data.clips[i].near.length);
    const shown = make("div", { "aria-live": "polite" }), menus = make("div");

    function choose(i) {
      at = i;
      const label = data.clips[at].label, labels = data.classes.filter(name => offered.some(i => data.clips[i].label === name));
      const own = offered.filter(i => data.clips[i].label === label);
      const name = ({ title, answer }) => answer === label ? title : `${title}, taken for ${answer}`;
      menus.replaceChildren(
        labelled("class", menu(labels, labels.indexOf(label), k => choose(offered.find(i => data.clips[i].label === labels[k])))),
        labelled("clip", menu(own.map(i => name(data.clips[i])), own.indexOf(at), k => choose(own[k]))));
      draw();
    }

    function draw() {
      const clip = data.clips[at], card = (one, text, width) =>
        make("div", { style: `flex: 1 1 ${width}; min-width: 0` }, picture(one.picture, `mel spectrogram of ${one.title}`, "7em"), make("small", {}, text));
      const bars = clip.scores.map((score, i) => make("div", { style: "display: flex; gap: .5em; line-height: 1.3; font-size: .85em" },
        make("span", { style: "width: 11em; text-align: right" }, data.classes[i] + (data.classes[i] === clip.label ? " (true)" : "")),
        make("span", { style: `background: ${BLUE}; width: ${9 * score}em` }), score.toFixed(2)));
      shown.replaceChildren(
        make("div", { style: "display: flex; flex-wrap: wrap; gap: 1.5em" },
          card(clip, `${clip.title} is taken for ${clip.answer}. Frequency up, time across.`, "18em"), make("div", {}, ...bars)),
        make("p", {}, make("b", {}, "The clips nearest to it"),
          data.mean === null ? "" : ` (mean cosine of all pairs of clips: ${data.mean.toFixed(3)})`),
        make("div", { style: "display: flex; flex-wrap: wrap; gap: 1em" },
          ...clip.near.map(([i, cosine]) => card(data.clips[i], `${data.clips[i].title}, cosine ${cosine.toFixed(3)}`, "10em"))));
    }

    place.append(menus, shown);
    choose(at);
  }

  // ---- maps ----

  // A mel spectrogram played: three sines near each row's frequency, as loud as its cells say. The levels
  // (0 to -80 dB) are read out of the picture's colours, whose lightness rises with them.
  function samplesOf(image, hertz, seconds, rate) {
    const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight }), pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const { width, height } = canvas, cells = pen.getImageData(0, 0, width, height).data;
    const samples = new Float32Array(Math.floor(seconds * rate)), hop = samples.length / width;
    hertz.forEach((centre, band) => {
      const spacing = band ? centre - hertz[band - 1] : centre;  // a band holds power per Hz
      const loud = Array.from({ length: width }, (_, column) => {
        const at = 4 * ((height - 1 - band) * width + column);
        const light = 0.299 * cells[at] + 0.587 * cells[at + 1] + 0.114 * cells[at + 2];
        const level = 80 * ((light - 27) / 191 - 1);
        return level < -70 ? 0 : Math.sqrt(spacing) * 10 ** (level / 20);
      });
      for (const [number, shift] of [-0.3, 0.05, 0.35].entries()) {
        const step = 2 * Math.PI * (centre + shift * spacing) / rate, turn = [Math.cos(step), Math.sin(step)];
        let [x, y] = [Math.cos(7 * band + number), Math.sin(7 * band + number)];
        for (let i = 0; i < samples.length; i += 1) {
          const place = i / hop, column = Math.floor(place), next = Math.min(column + 1, width - 1);
          samples[i] += y * (loud[column] + (place - column) * (loud[next] - loud[column]));
          [x, y] = [x * turn[0] - y * turn[1], x * turn[1] + y * turn[0]];
        }
      }
    });
    const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
    return samples.map(value => 0.5 * value / peak);
  }

  function maps(place, data) {
    const RATE = 22050, SIZE = 400, names = data.maps.map(({ space, method }) => `${space}, ${method}`);
    const plot = make("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", style: "flex: 3 1 22em; min-width: 0; max-width: 36em; border: 1px solid #d0d7de" });
    const card = make("div", { "aria-live": "polite", style: "flex: 2 1 16em; min-width: 0" });
    const menus = make("div"), said = make("small");
    let map = 0, at = 0, playing = null, sound = null;  // a context for sound may open only after a click

    const fill = label => data.colours[data.classes.indexOf(label) % data.colours.length];
    const hollow = label => data.classes.indexOf(label) >= data.colours.length;
    const dot = (label, about) => make("circle", { r: 5, stroke: fill(label), "stroke-width": 2, fill: hollow(label) ? "#fff" : fill(label), ...about });
    const spot = i => data.maps[map].places[i].map((value, axis) => 15 + (SIZE - 30) * (axis ? 1 - value : value));

    function stop() {
      if (playing) playing.stop();
      playing = null;
    }

    function play(i) {
      const clip = data.clips[i];
      stop();
      sound = sound || new AudioContext();
      const begin = (samples, rate) => {
        const buffer = sound.createBuffer(1, samples.length, rate);
        buffer.copyToChannel(samples, 0);
        playing = sound.createBufferSource();
        playing.buffer = buffer;
        playing.connect(sound.destination);
        playing.start();
        said.textContent = `Playing ${clip.title}, ${clip.sound ? "its beginning" : "approximately: its picture, as sines"}.`;
      };
      if (clip.sound) {
        const bytes = Uint8Array.from(atob(clip.sound), letter => letter.charCodeAt(0));
        sound.decodeAudioData(bytes.buffer, audio => begin(audio.getChannelData(0), audio.sampleRate));
        return;
      }
      const image = new Image();
      image.onload = () => begin(samplesOf(image, data.hertz, clip.seconds, RATE), RATE);
      image.src = "data:image/png;base64," + clip.picture;
    }

    function choose(i) {
      at = i;
      const label = data.clips[at].label, own = data.clips.map((_, j) => j).filter(j => data.clips[j].label === label);
      menus.replaceChildren(
        labelled("class", menu(data.classes, data.classes.indexOf(label), k => choose(data.clips.findIndex(clip => clip.label === data.classes[k])))),
        labelled("clip", menu(own.map(j => data.clips[j].title), own.indexOf(at), k => choose(own[k]))));
      draw();
    }

    function draw() {
      const { space } = data.maps[map], near = data.near[space][at], [x, y] = spot(at), clip = data.clips[at];
      plot.setAttribute("aria-label", `Map of ${names[map]}; ${clip.title} is marked, with lines to the ${near.length} clips nearest to it in the space`);
      plot.replaceChildren(
        ...near.map(j => make("line", { x1: x, y1: y, x2: spot(j)[0], y2: spot(j)[1], stroke: "#000", "stroke-width": 1 })),
        ...data.clips.map((other, j) => {
          const circle = dot(other.label, { cx: spot(j)[0], cy: spot(j)[1], ...(j === at ? { r: 8, stroke: "#000" } : {}) });
          circle.addEventListener("pointerenter", () => { if (j !== at) choose(j); });
          return circle;
        }));
      const small = (one, height) => picture(one.picture, `mel spectrogram of ${one.title}`, height);
      const likely = near.filter(j => data.clips[j].label === clip.label).length;
      card.replaceChildren(
        make("b", {}, clip.title), small(clip, "7em"),
        make("button", { textContent: "play", style: "font: inherit", onclick: () => play(at) }), " ", said,
        make("p", {}, `Nearest in the space of ${space}: ${likely} of ${near.length} of the same class.`),
        make("div", { style: "display: grid; grid-template-columns: 1fr 1fr; gap: .5em" }, ...near.map(j =>
          make("div", { style: "min-width: 0" }, small(data.clips[j], "3.5em"), make("small", {}, data.clips[j].title)))));
    }

    const legend = data.classes.map(label => make("span", { style: "margin-right: 1em; white-space: nowrap" },
      make("svg", { width: 14, height: 14, viewBox: "0 0 14 14", style: "vertical-align: middle" }, dot(label, { cx: 7, cy: 7 })), " " + label));
    place.append(
      labelled("map", menu(names, map, i => { map = i; draw(); })), menus,
      make("div", { style: "display: flex; flex-wrap: wrap; gap: 1.5em" }, plot, card), make("small", {}, ...legend));
    plot.addEventListener("click", () => play(at));  // of the whole map: the dot under the pointer is a new one
    choose(at);
  }

  // ---- wherever there is one that is not open yet ----

  const kinds = { clips, threshold, confusion, neighbours, maps };
  for (const place of document.querySelectorAll(".explorer[data-explorer]")) {
    const data = JSON.parse(place.dataset.explorer);
    place.removeAttribute("data-explorer");
    place.replaceChildren();
    kinds[data.kind](place, data);
  }
})();
