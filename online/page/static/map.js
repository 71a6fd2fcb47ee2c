// The titles by their vectors, near to each other where these point the same way; the user's history and list among them.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { hue, named, tags } from "./titles.js";

const EDGE = 12; // pixels
const NEAR = 14; // pixels from a point within which it is meant
const GENRES = 12; // in the legend: the most frequent

const colour = (item, dark) => `oklch(${dark ? 0.75 : 0.55} 0.13 ${hue(tags(item)[0])})`;

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
    const { color } = getComputedStyle(canvas);
    const rated = new Set(this.props.history?.item_list.map((item) => item.itemid));
    const listed = new Set(this.props.answer?.item_list.map((item) => item.itemid));
    const circle = (item, radius) => {
      pen.beginPath();
      pen.arc(...this.at(item), radius, 0, 2 * Math.PI);
    };
    for (const item of this.state.map.item_list) {
      pen.fillStyle = colour(item, this.scheme.matches);
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
    const counts = new Map();
    for (const item of map?.item_list ?? []) if (tags(item)[0]) counts.set(tags(item)[0], (counts.get(tags(item)[0]) ?? 0) + 1);
    const genres = [...counts].sort((one, other) => other[1] - one[1]).slice(0, GENRES).map(([name]) => name);
    return html`
      <section aria-labelledby="map-title">
        <h2 id="map-title">${t("map")}</h2>
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${this.load} />`}
        ${map && html`
          <p>${t("mapIntro", { n: map.item_list.length, channel: map.channel })}</p>
          <p class="legend"><span class="mark listed">${t("mapListed")}</span><span class="mark rated">${t("mapRated")}</span>
            ${genres.map((name) => html`<span class="mark genre" style=${{ "--hue": hue(name) }}>${name}</span>`)}</p>
          <canvas ref=${this.keep} class="map" role="img" aria-label=${t("mapIntro", { n: map.item_list.length, channel: map.channel })}
            onPointerMove=${this.point} onPointerDown=${this.point}></canvas>
          <p role="status" class="near">${near ? `${named(near).title} ${named(near).year} · ${tags(near).join(", ")}` : t("mapPoint")}</p>`}
      </section>`;
  }
}
