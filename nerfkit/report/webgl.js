// What the graphics card is told: the programs that draw a mesh and lines, and how they and their data get there.
"use strict";

const VERTEX = `#version 300 es
uniform mat4 view, projection;
in vec3 position, normal, color;
in vec2 uv;
out vec3 place, facing, tint;
out vec2 where;
void main() {
  place = position; facing = normal; tint = color; where = uv;
  gl_Position = projection * (view * vec4(position, 1.0));
}`;

// strength(x) sum over k of color_k exp(sharpness_k (r . direction_k - 1)), as sRGB on sRGB
const fragment = (lobes) => `#version 300 es
precision highp float;
uniform int mode;
uniform bool textured;
uniform vec3 eye;
uniform float strongest;
uniform sampler2D picture, strength;
uniform vec3 direction[${lobes}], light[${lobes}];
uniform float sharpness[${lobes}];
in vec3 place, facing, tint;
in vec2 where;
out vec4 seen;
void main() {
  vec3 n = normalize(facing), v = normalize(eye - place);
  if (mode == 2) { seen = vec4(0.5 + 0.5 * n, 1.0); return; }
  if (mode == 1) { seen = vec4(vec3(0.25 + 0.7 * abs(dot(n, v))), 1.0); return; }
  vec3 found = textured ? texture(picture, where).rgb : tint;
  if (mode == 0 && strongest > 0.0) {
    vec3 r = 2.0 * dot(n, v) * n - v, sum = vec3(0.0);
    for (int k = 0; k < ${lobes}; k++) sum += light[k] * exp(sharpness[k] * (dot(r, direction[k]) - 1.0));
    found += texture(strength, where).r * strongest * sum;
  }
  seen = vec4(clamp(found, 0.0, 1.0), 1.0);
}`;

const LINE_VERTEX = `#version 300 es
uniform mat4 view, projection;
in vec3 position;
void main() { gl_Position = projection * (view * vec4(position, 1.0)); }`;
const LINE_FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 color;
out vec4 seen;
void main() { seen = vec4(color, 1.0); }`;

function numbers(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

function programOf(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  }
  gl.bindAttribLocation(program, 0, "position");
  gl.linkProgram(program);
  return program;
}

function fill(gl, target, data) {
  gl.bindBuffer(target, gl.createBuffer());
  gl.bufferData(target, data, gl.STATIC_DRAW);
}

async function textureOf(gl, url) {
  const texture = gl.createTexture();
  let image = new ImageData(1, 1);
  if (url) {
    image = new Image();
    image.src = url;
    await image.decode();
  }
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  return texture;
}
