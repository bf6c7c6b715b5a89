"use strict";
// The arithmetic of planning/curves.py and planning/inputs.py once more, for sliders: tests hold it equal to Python's.
const DAYS = 730 / 24, HOURS = 730, ROUNDING = 1 - 1e-12;

function curves(one, state) {
  const i = Object.assign({}, one.inputs), t = one.terms;
  i.staff_usd_per_month = state.staff_usd_per_month;
  i.target_utilisation_share = state.target_utilisation_share;
  const capacity = i.tokens_per_s * 86400 * i.target_utilisation_share / i.peak_to_average;
  const residue = i.purchase_usd_per_gpu * t.residue_share;
  const owning = (i.purchase_usd_per_gpu - residue) * t.annuity_per_usd + residue * t.interest_share_per_year / 12;
  const running = t.kw_per_gpu * i.power_usd_per_kwh * HOURS + i.colocation_usd_per_gpu_month;
  const gpu = (i.rent_usd_per_gpu_hour * HOURS + owning + running) * (1 + i.reserve_share);
  return { capacity, replica: t.gpus_per_replica * gpu, fixed: i.staff_usd_per_month + i.network_usd_per_month,
           spare: t.spare_replicas, slope: state.api_price * DAYS / 1e6 };
}
function replicas(c, volume) { return Math.ceil(volume / c.capacity * ROUNDING) + c.spare; }
function own(c, volume) { return replicas(c, volume) * c.replica + c.fixed; }
function crossings(c) {
  const standing = c.spare * c.replica + c.fixed, gain = c.capacity * c.slope - c.replica;
  if (gain <= c.capacity * c.slope * 1e-12) return { islands: [], permanent: null };
  const first = Math.max(1, Math.ceil(standing / gain * ROUNDING));
  const whole = Math.max(2, Math.ceil((standing + c.capacity * c.slope) / gain * ROUNDING));
  const at = k => Math.max((k * c.replica + standing) / c.slope, (k - 1) * c.capacity);
  const islands = [];
  for (let k = first; k < Math.min(whole - 1, first + 1000); k++) islands.push([at(k), k * c.capacity]);
  return { islands, permanent: at(whole - 1) };
}
function usd(x) { return (x < 0 ? "-$" : "$") + Math.abs(x).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }); }
function tokens(x) {
  if (x === null) return "never";
  const two = y => y.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return x < 1e6 ? two(x / 1e3) + "k/day" : x < 1e9 ? two(x / 1e6) + "M/day" : x < 1e12 ? two(x / 1e9) + "B/day" : two(x / 1e12) + "T/day";
}
function verdict(c, state) {
  const found = crossings(c);
  const here = `At ${tokens(state.tokens_per_day)}: self-hosting ${usd(own(c, state.tokens_per_day))} a month, API ${usd(state.tokens_per_day * c.slope)}. `;
  if (found.permanent === null) return here + "Self-hosting never pays: a replica costs more than the API charges for all that it can serve.";
  const also = found.islands.slice(0, 3).map(s => `${tokens(s[0])} to ${tokens(s[1])}`).join(", ");
  return here + `Self-hosting is cheaper for good from ${tokens(found.permanent)}` + (also ? `; also from ${also}.` : ".");
}
function command(one, base, state) {
  const words = [base], number = x => String(Number(x.toPrecision(6)));
  const changed = name => state[name] !== one.state[name];
  words.push(`--volume ${number(state.tokens_per_day)}`);
  words.push(changed("api_price") ? `--api-price ${number(state.api_price)}` : one.flag);
  if (changed("staff_usd_per_month")) words.push(`--staff ${number(state.staff_usd_per_month)}`);
  if (changed("target_utilisation_share")) words.push(`--utilisation ${number(state.target_utilisation_share)}`);
  return words.join(" ").trim();
}
function draw(svg, c, state) {
  const [low, high] = [state.tokens_per_day / 30, state.tokens_per_day * 30], left = 80, right = 830, top = 10, bottom = 262;
  const x = v => left + (right - left) * Math.log(v / low) / Math.log(high / low);
  const bills = [own(c, low), own(c, high), low * c.slope, high * c.slope], least = Math.min(...bills), most = Math.max(...bills);
  const y = u => bottom - (bottom - top) * Math.log(u / least) / Math.log(most / least);
  let path = `M${x(low)},${y(own(c, low))}`;
  const steps = Math.min(400, Math.ceil(high / c.capacity));
  for (let n = 0, k = Math.floor(low / c.capacity) + 1; k * c.capacity < high && n < steps; k++, n++)
    path += `H${x(k * c.capacity).toFixed(2)}V${y(own(c, k * c.capacity * 1.000001)).toFixed(2)}`;
  const found = crossings(c), spans = found.islands.concat(found.permanent === null ? [] : [[found.permanent, high]]);
  const green = spans.filter(s => s[1] > low && s[0] < high).map(s => {
    const a = x(Math.max(low, s[0])); return `<rect x="${a}" y="${bottom - 6}" width="${x(Math.min(high, s[1])) - a}" height="6" fill="#009E73"/>`; });
  const ticks = [low * 3, state.tokens_per_day, high / 3].map(v => `<text x="${x(v)}" y="280" text-anchor="middle" font-size="12">${tokens(v)}</text>`);
  const marks = [least, most].map(u => `<text x="${left - 4}" y="${y(u) + 4}" text-anchor="end" font-size="12">${usd(u).replace(/\.\d\d$/, "")}</text>`);
  svg.innerHTML = green.join("") + ticks.join("") + marks.join("")
    + `<line x1="${x(state.tokens_per_day)}" x2="${x(state.tokens_per_day)}" y1="${top}" y2="${bottom}" stroke="#000" stroke-dasharray="3"/>`
    + `<path d="${path}H${right}" stroke="#0072B2" stroke-width="2"/><path d="M${x(low)},${y(low * c.slope)}L${x(high)},${y(high * c.slope)}" stroke="#D55E00" stroke-width="2"/>`
    + `<text x="${left + 8}" y="${top + 12}" font-size="12" fill="#0072B2">self-hosting</text><text x="${left + 100}" y="${top + 12}" font-size="12" fill="#D55E00">API</text>`;
}
// A slider's middle positions are linear or logarithmic; the one that it starts at is the case's own value, exactly.
const SCALES = {
  tokens_per_day: { at: (p, own) => own * Math.pow(100, 2 * p - 1), of: () => 0.5 },
  api_price: { at: (p, own) => own * Math.pow(4, 2 * p - 1), of: () => 0.5 },
  staff_usd_per_month: { at: (p, own) => 2 * Math.max(own, 20000) * p, of: own => own / (2 * Math.max(own, 20000)) },
  target_utilisation_share: { at: p => 0.05 + 0.95 * p, of: own => (own - 0.05) / 0.95 },
};
function home(one, name) { return Math.round(1000 * Math.max(0, SCALES[name].of(one.state[name]))); }
function valueOf(one, name, position) {
  return position === home(one, name) ? one.state[name] : SCALES[name].at(position / 1000, one.state[name]);
}
function shown(name, value) {
  if (name === "tokens_per_day") return tokens(value);
  return name === "target_utilisation_share" ? (100 * value).toFixed(1) + " %" : usd(value);
}
function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.querySelectorAll(".comparison").forEach(section => {
    const one = data.comparisons[Number(section.dataset.index)];
    const sliders = [...section.querySelectorAll("input[type=range]")];
    const refresh = () => {
      const state = {};
      for (const slider of sliders) {
        state[slider.dataset.name] = valueOf(one, slider.dataset.name, Number(slider.value));
        slider.nextElementSibling.textContent = shown(slider.dataset.name, state[slider.dataset.name]);
      }
      const c = curves(one, state);
      section.querySelector(".live-verdict").textContent = verdict(c, state);
      section.querySelector(".live-command").textContent = command(one, data.command, state);
      draw(section.querySelector(".live svg"), c, state);
      section.dataset.state = JSON.stringify({ state, own_usd: own(c, state.tokens_per_day), api_usd: state.tokens_per_day * c.slope,
                                               replicas: replicas(c, state.tokens_per_day), crossings: crossings(c) });
    };
    sliders.forEach(slider => { slider.value = home(one, slider.dataset.name); });
    sliders.forEach(slider => slider.addEventListener("input", refresh));
    refresh();
  });
}
start();
