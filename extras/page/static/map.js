// The titles by their vectors, near to each other where these point the same way; the user's history and list among them.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named, paint, painted, tags } from "./titles.js";

const EDGE = 12; // pixels
const NEAR = 14; // pixels from a point within which the pointer selects it
const GENRES = 12; // in the legend: the most frequent

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function colour(item, tint) {
  const { hue, shade } = paint(item);
  return `oklch(${tint + shade} 0.13 ${hue})`;
}

// The item nearest to `from` within the eighth of a turn to either side of a direction; undefined: there is none.
function nextTo(from, [right, up], items) {
  let next;
  let least = Infinity;
  for (const item of items) {
    const [x, y] = [item.x - from.x, item.y - from.y];
    const ahead = x * right + y * up;
    const far = Math.hypot(x, y);
    if (ahead > 0 && ahead >= Math.abs(x * up - y * right) && far < least) [next, least] = [item, far];
  }
  return next;
}

export class ItemMap extends Component {
  state = { map: null, near: null, problem: null };

  componentDidMount() {
    addEventListener("resize", this.draw);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.draw);
    this.load();
  }

  componentWillUnmount() {
    removeEventListener("resize", this.draw);
    this.scheme.removeEventListener("change", this.draw);
  }

  componentDidUpdate() {
    this.draw();
  }

  load = async () => {
    try {
      this.setState({ map: await api.map(), problem: null });
    } catch (problem) {
      this.setState({ problem });
    }
  };

  keep = (canvas) => {
    this.canvas = canvas;
  };

  // Where an item is on the canvas, in CSS pixels.
  at = ({ x, y }) => {
    const { clientWidth, clientHeight } = this.canvas;
    return [EDGE + ((x + 1) / 2) * (clientWidth - 2 * EDGE), EDGE + ((1 - y) / 2) * (clientHeight - 2 * EDGE)];
  };

  draw = () => {
    const { canvas } = this;
    if (!canvas || !this.state.map) return;
    const density = devicePixelRatio;
    canvas.width = canvas.clientWidth * density;
    canvas.height = canvas.clientHeight * density;
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    const style = getComputedStyle(canvas);
    const { color } = style;
    const tint = Number(style.getPropertyValue("--tint"));
    const rated = new Set(this.props.history?.item_list.map((item) => item.itemid));
    const listed = new Set(this.props.answer?.item_list.map((item) => item.itemid));
    const circle = (item, radius) => {
      pen.beginPath();
      pen.arc(...this.at(item), radius, 0, 2 * Math.PI);
    };
    for (const item of this.state.map.item_list) {
      pen.fillStyle = colour(item, tint);
      pen.globalAlpha = 0.45;
      circle(item, 2.2);
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    for (const item of this.state.map.item_list) {
      if (rated.has(item.itemid)) {
        circle(item, 5);
        pen.stroke();
      } else if (listed.has(item.itemid)) {
        pen.fillStyle = color;
        circle(item, 4);
        pen.fill();
      }
    }
    if (this.state.near) {
      pen.lineWidth = 3;
      circle(this.state.near, 9);
      pen.stroke();
    }
  };

  // From title to title; at first, from the middle.
  move = (event) => {
    const way = ARROWS[event.key];
    if (!way) return;
    event.preventDefault();
    const near = nextTo(this.state.near ?? { x: 0, y: 0 }, way, this.state.map.item_list);
    if (near) this.setState({ near });
  };

  point = (event) => {
    const box = this.canvas.getBoundingClientRect();
    let near = null;
    let least = NEAR;
    for (const item of this.state.map?.item_list ?? []) {
      const [x, y] = this.at(item);
      const far = Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
      if (far < least) [near, least] = [item, far];
    }
    if (near !== this.state.near) this.setState({ near });
  };

  render({ t }, { map, near, problem }) {
    const groups = new Map(); // first genre -> one of its items, and how many there are
    for (const item of map?.item_list ?? []) {
      const [name] = tags(item);
      if (name) groups.set(name, { item, n: (groups.get(name)?.n ?? 0) + 1 });
    }
    const genres = [...groups].sort(([, one], [, other]) => other.n - one.n).slice(0, GENRES);
    return html`
      <section aria-labelledby="map-title">
        <h2 id="map-title">${t("map")}</h2>
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${this.load} />`}
        ${map && html`
          <p>${t("mapIntro", { n: map.item_list.length, channel: map.channel })}</p>
          <p class="legend"><span class="mark listed">${t("mapListed")}</span><span class="mark rated">${t("mapRated")}</span>
            ${genres.map(([name, { item }]) => html`<span class="mark genre" style=${painted(item)}>${name}</span>`)}</p>
          <canvas ref=${this.keep} class="map" tabindex="0" role="application" aria-describedby="near" aria-label=${t("mapIntro", { n: map.item_list.length, channel: map.channel })}
            onPointerMove=${this.point} onPointerDown=${this.point} onKeyDown=${this.move}></canvas>
          <p role="status" class="near" id="near">${near ? `${named(near).title} ${named(near).year} · ${tags(near).join(", ")}` : t("mapPoint")}</p>`}
      </section>`;
  }
}
