// A mesh to turn, in WebGL 2: its colors with highlights as nerfkit.fit.specular defines them, its shape, its normals,
// and the cameras of its photos. No library.
"use strict";

const LENS = Math.tan(Math.PI / 9); // half of 40 degrees, until a photo's own lens is taken

const STEEPEST = 1.55; // radians up or down: beyond there is a pole

const NEAR = 16; // pixels from a camera, where a click takes it

const add = (a, b, s = 1) => a.map((x, i) => x + s * b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((x) => x / Math.hypot(...a));

class Viewer {
  // Shows scenes of the shape that nerfkit.report.model packs; `changed` is called when a photo's place is taken.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.gl = canvas.getContext("webgl2", { antialias: true });
    if (!this.gl) throw new Error("this browser has no WebGL 2");
    this.mode = 0;
    this.cameras_shown = false;
    this.loaded = new Map(); // scene -> what the graphics card holds of it
    this._listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async show(scene) {
    this.wanted = scene;
    if (!this.loaded.has(scene)) this.loaded.set(scene, this._load(scene));
    const parts = await this.loaded.get(scene);
    if (this.wanted !== scene) return; // another one was asked for meanwhile
    const before = this.scene, apart = (key) => Math.hypot(...add(scene[key], before[key], -1));
    Object.assign(this, parts, { scene });
    if (!before || apart("up") > 1e-3 || apart("center") > 0.1 * scene.radius) this.reset();
    this.draw();
  }

  // What the graphics card holds of a scene.
  async _load(scene) {
    const gl = this.gl, textures = await Promise.all([textureOf(gl, scene.texture), textureOf(gl, scene.strength)]);
    const program = programOf(gl, VERTEX, fragment(scene.lobes ? scene.lobes.sharpness.length : 1));
    const lines = programOf(gl, LINE_VERTEX, LINE_FRAGMENT), array = gl.createVertexArray();
    gl.bindVertexArray(array);
    for (const [name, width] of [["position", 3], ["normal", 3], ["uv", 2], ["color", 3]]) {
      const place = gl.getAttribLocation(program, name);
      if (place < 0 || !scene[name]) continue;
      fill(gl, gl.ARRAY_BUFFER, numbers(scene[name], Float32Array));
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, width, gl.FLOAT, false, 0, 0);
    }
    const faces = numbers(scene.faces, Uint32Array), frusta = gl.createVertexArray();
    fill(gl, gl.ELEMENT_ARRAY_BUFFER, faces);
    gl.bindVertexArray(frusta);
    const size = 0.12 * scene.radius, corners = scene.cameras.flatMap((camera) => this._frustum(camera, size));
    fill(gl, gl.ARRAY_BUFFER, new Float32Array(corners));
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    return { textures, program, lines, array, frusta, count: faces.length };
  }

  reset() {
    if (!this.scene) return;
    const { center, radius, up, cameras } = this.scene;
    this.target = center;
    this.lens = LENS;
    this.taken = null;
    const from = cameras.length ? unit(add(this._place(cameras[0]), center, -1)) : unit([0.4, 0.5, 1]);
    const side = unit(cross(up, Math.abs(dot(up, from)) > 0.99 ? [1, 0, 0] : from));
    this._stand(add(center, add(from, side, 0.3), radius / LENS));
    this.draw();
  }

  // The view of a photo: its own place and lens.
  take(camera) {
    this.taken = camera;
    this.lens = camera.height / 2 / camera.fy;
    const eye = this._place(camera), ahead = [2, 6, 10].map((i) => -camera.pose[i]);
    this.target = add(eye, ahead, Math.max(dot(add(this.scene.center, eye, -1), ahead), 0.1 * this.scene.radius));
    this._stand(eye, [1, 5, 9].map((i) => camera.pose[i]));
    this.draw();
    this.changed(camera);
  }

  draw() {
    if (!this.scene || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      const scale = window.devicePixelRatio || 1;
      this.canvas.width = Math.round(this.canvas.clientWidth * scale);
      this.canvas.height = Math.round(this.canvas.clientHeight * scale);
      this._paint(this.scene.background);
    });
  }

  _paint(background) {
    const gl = this.gl, { width, height } = this.canvas, scene = this.scene;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const [view, eye] = this._view(), projection = this._projection(width, height);
    const set = (program, name, how, ...value) => {
      const place = gl.getUniformLocation(program, name);
      if (place !== null) gl[how](place, ...value);
    };
    gl.useProgram(this.program);
    set(this.program, "view", "uniformMatrix4fv", false, view);
    set(this.program, "projection", "uniformMatrix4fv", false, projection);
    set(this.program, "eye", "uniform3fv", eye);
    set(this.program, "mode", "uniform1i", this.mode);
    set(this.program, "textured", "uniform1i", scene.texture ? 1 : 0);
    set(this.program, "picture", "uniform1i", 0);
    set(this.program, "strength", "uniform1i", 1);
    set(this.program, "strongest", "uniform1f", scene.lobes ? scene.lobes.strongest : 0);
    if (scene.lobes) {
      set(this.program, "direction", "uniform3fv", scene.lobes.direction.flat());
      set(this.program, "light", "uniform3fv", scene.lobes.color.flat());
      set(this.program, "sharpness", "uniform1fv", scene.lobes.sharpness);
    }
    this.textures.forEach((texture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.bindVertexArray(this.array);
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
    if (!this.cameras_shown) return;
    gl.useProgram(this.lines);
    set(this.lines, "view", "uniformMatrix4fv", false, view);
    set(this.lines, "projection", "uniformMatrix4fv", false, projection);
    gl.bindVertexArray(this.frusta);
    scene.cameras.forEach((camera, k) => {
      set(this.lines, "color", "uniform3fv", camera.held_out ? [0.93, 0.6, 0.1] : [0.2, 0.55, 0.9]);
      gl.drawArrays(gl.LINES, 16 * k, 16);
    });
  }

  // ---- cameras: axes x right, y up, looking along -z

  _place(camera) {
    return [3, 7, 11].map((i) => camera.pose[i]);
  }

  _frustum(camera, size) {
    const p = camera.pose, eye = this._place(camera);
    const corner = (x, y) => add(eye, [0, 4, 8].map((i) => size * (x * p[i] + y * p[i + 1] - p[i + 2])));
    const [x, y] = [camera.width / 2 / camera.fx, camera.height / 2 / camera.fy];
    const ends = [corner(-x, -y), corner(x, -y), corner(x, y), corner(-x, y)];
    return ends.flatMap((end, k) => [...eye, ...end, ...end, ...ends[(k + 1) % 4]]);
  }

  // Turns go on from `eye`; at a pole from where `upward`, the picture's, stays upward.
  _stand(eye, upward) {
    const { up } = this.scene, away = add(eye, this.target, -1);
    const [first, second] = this._around(up);
    this.eye = eye;
    this.distance = Math.hypot(...away);
    const pitch = Math.asin(Math.min(Math.max(dot(unit(away), up), -1), 1));
    this.pitch = Math.min(Math.max(pitch, -STEEPEST), STEEPEST);
    const flat = upward && pitch !== this.pitch ? upward.map((x) => -Math.sign(pitch) * x) : away;
    this.yaw = Math.atan2(dot(flat, second), dot(flat, first));
  }

  _around(up) {
    const first = unit(cross(up, Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]));
    return [first, cross(up, first)];
  }

  _turned() {
    const { up } = this.scene, [first, second] = this._around(up), flat = Math.cos(this.pitch);
    let away = up.map((x) => x * Math.sin(this.pitch));
    away = add(away, first, flat * Math.cos(this.yaw));
    away = add(away, second, flat * Math.sin(this.yaw));
    this.taken = null;
    this.eye = add(this.target, away, this.distance);
    this.draw();
  }

  _axes() {
    if (this.taken) return [0, 1, 2].map((axis) => [0, 4, 8].map((i) => this.taken.pose[i + axis]));
    const back = unit(add(this.eye, this.target, -1)), right = unit(cross(this.scene.up, back));
    return [right, cross(back, right), back];
  }

  _view() {
    const axes = this._axes();
    const rows = [0, 1, 2].flatMap((i) => [axes[0][i], axes[1][i], axes[2][i], 0]);
    return [[...rows, ...axes.map((axis) => -dot(axis, this.eye)), 1], this.eye];
  }

  _projection(width, height) {
    const near = 0.01 * this.scene.radius, far = 100 * this.scene.radius + this.distance;
    const camera = this.taken, slim = height / width;
    const fit = Math.min(1, 1 / (slim * (camera ? camera.width / camera.height : 1))); // a whole photo, or mesh, is seen
    const y = fit / this.lens, x = camera ? (2 * fit * camera.fx * slim) / camera.height : y * slim;
    const across = camera ? (fit * (camera.width - 2 * camera.cx) * slim) / camera.height : 0;
    const upward = camera ? fit * ((2 * camera.cy) / camera.height - 1) : 0;
    const depth = far / (near - far);
    return [x, 0, 0, 0, 0, y, 0, 0, across, upward, 2 * depth + 1, -1, 0, 0, 2 * near * depth, 0];
  }

  // ---- hands

  _listen() {
    const fingers = new Map();
    let dragged = false, start = null; // of the first finger
    const apart = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    this.canvas.style.touchAction = "none";
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      dragged = fingers.size > 1;
      if (!dragged) start = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"])
      this.canvas.addEventListener(end, (event) => {
        const clicked = fingers.delete(event.pointerId) && !dragged && end === "pointerup";
        if (clicked && this.scene && this.cameras_shown) this._pick(event.offsetX, event.offsetY);
      });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before || !this.scene) return;
      const [x, y] = [event.clientX - before[0], event.clientY - before[1]], was = fingers.size === 2 && apart();
      dragged ||= Math.hypot(event.clientX - start[0], event.clientY - start[1]) > 2;
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (fingers.size === 2) this._zoom(was / apart());
      else if (event.shiftKey || event.buttons === 2) this._move(x, y);
      else {
        this.yaw -= 0.008 * x;
        this.pitch = Math.min(Math.max(this.pitch + 0.008 * y, -STEEPEST), STEEPEST);
        this._turned();
      }
    });
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("dblclick", () => this.reset());
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.scene) this._zoom(Math.exp(0.001 * event.deltaY));
    }, { passive: false });
  }

  _zoom(factor) {
    this.distance *= factor;
    this._turned();
  }

  _move(x, y) {
    const step = (2 * this.lens * this.distance) / this.canvas.clientHeight, [right, up] = this._axes();
    this.target = add(add(this.target, right, -step * x), up, step * y);
    this._turned();
  }

  // Takes the camera that is drawn nearest to a place of the canvas, if one is near.
  _pick(x, y) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [view] = this._view(), projection = this._projection(width, height);
    const times = (m, v) => [0, 1, 2, 3].map((i) => m[i] * v[0] + m[4 + i] * v[1] + m[8 + i] * v[2] + m[12 + i] * v[3]);
    const away = this.scene.cameras.map((camera) => {
      const [a, b, , w] = times(projection, times(view, [...this._place(camera), 1]));
      return w > 0 ? Math.hypot(((a / w + 1) / 2) * width - x, ((1 - b / w) / 2) * height - y) : Infinity;
    });
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] < NEAR) this.take(this.scene.cameras[nearest]);
  }
}
