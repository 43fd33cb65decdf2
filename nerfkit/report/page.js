// The page around the viewer: which run's mesh, which held-out view, and two pictures of it with a slider between.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const choice = (select, names, chosen) => {
  names.forEach((name, k) => select.add(new Option(name, k, false, k === chosen)));
  select.parentElement.hidden = names.length < 2;
};

// ---- the mesh

function mesh() {
  const models = data.models;
  const say = (text) => {
    get("mesh_hint").textContent = text;
  };
  let viewer;
  try {
    viewer = new Viewer(get("canvas"), (camera) => say(`the view of photo ${camera.view}${camera.held_out ? ", held out" : ""}`));
  } catch (error) {
    say(`no mesh is shown: ${error.message}`);
    get("canvas").hidden = true;
    return null;
  }
  const failed = (error) => say(`no mesh is shown: ${error.message}`);
  choice(get("model"), models.map((model) => model.name), 0);
  get("model").onchange = () => viewer.show(models[get("model").value].scene).catch(failed);
  const buttons = [...document.querySelectorAll("[data-mode]")];
  buttons.forEach((button) => {
    button.onclick = () => {
      viewer.mode = Number(button.dataset.mode);
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      viewer.draw();
    };
  });
  get("cameras").onchange = (event) => {
    viewer.cameras_shown = event.target.checked;
    if (event.target.checked) say("click a camera to see from there");
    viewer.draw();
  };
  get("reset").onclick = () => viewer.reset();
  viewer.ready = viewer.show(models[0].scene).catch(failed);
  return viewer;
}

// ---- held-out views

function pictures(viewer) {
  const pair = get("pair"), [left, right, line] = pair.children, thumbs = get("thumbs");
  let view = data.views[0], split = 0.5;
  choice(get("one"), data.sources, 0);
  choice(get("other"), data.sources, Math.min(1, data.sources.length - 1));
  const place = () => {
    right.style.clipPath = `inset(0 0 0 ${100 * split}%)`;
    line.style.left = `calc(${100 * split}% - 1px)`;
  };
  const show = () => {
    for (const select of [get("one"), get("other")]) {
      for (const option of select.options) option.disabled = !(option.value in view.pictures);
      if (!(select.value in view.pictures)) select.value = Object.keys(view.pictures).at(-1);
    }
    const [one, other] = [get("one").value, get("other").value];
    left.src = view.pictures[one];
    right.src = view.pictures[other];
    pair.style.aspectRatio = view.shape;
    pair.style.maxWidth = `calc(70vh * ${view.shape})`;
    get("said").textContent = [view.title, ...view.said].join(" · ");
    [...thumbs.children].forEach((image, k) => image.classList.toggle("chosen", data.views[k] === view));
  };
  data.views.forEach((each) => {
    const image = new Image();
    image.src = each.pictures[0];
    image.title = each.title;
    image.onclick = () => {
      view = each;
      show();
    };
    thumbs.append(image);
  });
  const drag = (event) => {
    const box = pair.getBoundingClientRect();
    split = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    place();
  };
  pair.onpointerdown = (event) => {
    pair.setPointerCapture(event.pointerId);
    drag(event);
  };
  pair.onpointermove = (event) => event.buttons && drag(event);
  get("one").onchange = get("other").onchange = show;
  get("error").onchange = (event) => pair.classList.toggle("error", event.target.checked);
  get("look").hidden = !viewer;
  get("look").onclick = async () => {
    const models = data.models, select = get("model");
    if (models[select.value].of !== view.of) {
      const other = models.findIndex((model) => model.of === view.of);
      if (other < 0) return;
      select.value = other;
      await select.onchange();
    }
    const camera = viewer.scene?.cameras.find((each) => each.view === view.view);
    if (camera) viewer.take(camera);
    get("canvas").scrollIntoView({ behavior: "smooth", block: "center" });
  };
  place();
  show();
}

const viewer = data.models.length ? mesh() : null;
if (data.views.length) pictures(viewer);
