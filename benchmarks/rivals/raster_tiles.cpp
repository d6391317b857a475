// A tile rasteriser of 3D Gaussians in C++ and OpenMP, forward and backward: what the CPU renderer is timed against.
//
// Built only by `lca bench raster` (g++ -O3 -march=native -fopenmp -shared -fPIC). It does the same work on the same
// tile lists as the Python package's kernels: EWA projection, depth sort, 16x16 tiles, rows clipped to the splat's
// extent, early termination, gradients per intersection reduced afterwards. Three colour channels and depth.
// Buffers live from call to call, so it pays for no allocation after the first.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

namespace {

constexpr int kTile = 16, kPixels = kTile * kTile, kFeatures = 4, kSlot = 6 + kFeatures, kLanes = 7;
constexpr float kBlur = 0.3f, kNear = 0.01f, kFar = 1e10f, kCutoff = 1.0f / 255.0f, kLimit = 0.999f, kStop = 1e-4f;
constexpr float kLog2E = 1.44269504f;

struct Splat {
  float x, y, a, b, c, opacity, depth, half_height, peak;
};

struct Rect {
  int32_t x0, x1, y0, y1;
};

struct Camera {
  float view[16], fx, fy, cx, cy, low_x, high_x, low_y, high_y;
};

struct Scene {
  int count, width, height, tiles_x, tiles_y;
  const float *means, *quaternions, *scales, *opacities, *colors, *background;
  Camera camera;
  std::vector<Splat> splats;
  std::vector<Rect> rects;
  std::vector<int32_t> tiles_of, order, swap, ids, slots, last;
  std::vector<int64_t> slot_start, tile_start, cursor;
  std::vector<float> transmittance, gradients;
};

Scene scene;

// Plain selects of computed values: what GCC turns into vector blends without -ffast-math.
inline float smaller(float a, float b) { return a < b ? a : b; }
inline float larger(float a, float b) { return a > b ? a : b; }

inline float exp2_fast(float t) {  // same degree as the kernels it is compared with
  const float whole = std::nearbyint(t), x = t - whole;
  const float value =
      ((((0.0013267f * x + 0.00967546f) * x + 0.05550743f) * x + 0.24022122f) * x + 0.69314695f) * x + 1.00000007f;
  const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return value * power;
}

struct Axes {
  float rotation[9], inverse, point[3], jacobian[4], n[9], p[6];
};

void axes_of(const Scene& s, int g, Axes& o) {
  const float* q = s.quaternions + 4 * g;
  const float length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  o.inverse = length < 1e-12f ? 0.0f : 1.0f / length;
  const float w = length < 1e-12f ? 1.0f : q[0] * o.inverse, x = q[1] * o.inverse, y = q[2] * o.inverse,
              z = q[3] * o.inverse;
  const float r[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
                      2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                      2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
  std::copy(r, r + 9, o.rotation);
  const Camera& c = s.camera;
  const float* scale = s.scales + 3 * g;
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k)
      o.n[3 * i + k] = scale[k] * (c.view[4 * i] * r[k] + c.view[4 * i + 1] * r[3 + k] + c.view[4 * i + 2] * r[6 + k]);
  const float near = 1.0f / o.point[2];
  o.jacobian[0] = c.fx * near;
  o.jacobian[1] = -c.fx * near * std::min(c.high_x, std::max(c.low_x, o.point[0] * near));
  o.jacobian[2] = c.fy * near;
  o.jacobian[3] = -c.fy * near * std::min(c.high_y, std::max(c.low_y, o.point[1] * near));
  for (int k = 0; k < 3; ++k) {
    o.p[k] = o.jacobian[0] * o.n[k] + o.jacobian[1] * o.n[6 + k];
    o.p[3 + k] = o.jacobian[2] * o.n[3 + k] + o.jacobian[3] * o.n[6 + k];
  }
}

void point_of(const Scene& s, int g, float* point) {
  const float* m = s.means + 3 * g;
  for (int i = 0; i < 3; ++i) {
    const float* row = s.camera.view + 4 * i;
    point[i] = row[0] * m[0] + row[1] * m[1] + row[2] * m[2] + row[3];
  }
}

void project(Scene& s, int g) {
  s.tiles_of[g] = 0;
  Axes o;
  point_of(s, g, o.point);
  const float opacity = s.opacities[g];
  if (!(o.point[2] >= kNear && o.point[2] <= kFar) || opacity < kCutoff) return;
  axes_of(s, g, o);
  const float xx = o.p[0] * o.p[0] + o.p[1] * o.p[1] + o.p[2] * o.p[2] + kBlur;
  const float xy = o.p[0] * o.p[3] + o.p[1] * o.p[4] + o.p[2] * o.p[5];
  const float yy = o.p[3] * o.p[3] + o.p[4] * o.p[4] + o.p[5] * o.p[5] + kBlur;
  const float determinant = xx * yy - xy * xy;
  if (!(determinant > 0.0f)) return;
  const Camera& c = s.camera;
  const float x = c.fx * o.point[0] / o.point[2] + c.cx, y = c.fy * o.point[1] / o.point[2] + c.cy;
  const float reach = std::sqrt(2.0f * std::log(opacity / kCutoff)), extent = std::min(3.33f, reach);
  const float rx = std::ceil(extent * std::sqrt(xx)), ry = std::ceil(extent * std::sqrt(yy));
  if (rx <= 0 || ry <= 0 || x + rx <= 0 || x - rx >= s.width || y + ry <= 0 || y - ry >= s.height) return;
  const auto clip = [](float v, int most) { return static_cast<int>(std::min(std::max(v, 0.0f), float(most))); };
  Rect& rect = s.rects[g];
  rect.x0 = clip(std::floor((x - rx) / kTile), s.tiles_x), rect.x1 = clip(std::ceil((x + rx) / kTile), s.tiles_x);
  rect.y0 = clip(std::floor((y - ry) / kTile), s.tiles_y), rect.y1 = clip(std::ceil((y + ry) / kTile), s.tiles_y);
  s.tiles_of[g] = (rect.x1 - rect.x0) * (rect.y1 - rect.y0);
  s.splats[g] = {x,       y,          yy / determinant, -xy / determinant,
                 xx / determinant, opacity, o.point[2], reach * std::sqrt(yy) + 0.01f, std::log2(opacity)};
}

void sort_by_depth(Scene& s, int kept) {
  const auto key = [&](int32_t g) {
    uint32_t bits;
    std::memcpy(&bits, &s.splats[g].depth, 4);
    return bits;
  };
  s.swap.resize(s.order.size());
  for (int shift = 0; shift < 33; shift += 11) {
    int64_t start[2049] = {0};
    for (int i = 0; i < kept; ++i) ++start[((key(s.order[i]) >> shift) & 2047) + 1];
    for (int b = 0; b < 2048; ++b) start[b + 1] += start[b];
    for (int i = 0; i < kept; ++i) s.swap[start[(key(s.order[i]) >> shift) & 2047]++] = s.order[i];
    std::swap(s.order, s.swap);
  }
}

void fill_tiles(Scene& s) {
  const int tiles = s.tiles_x * s.tiles_y;
  s.tile_start.assign(tiles + 1, 0);
  s.slot_start.resize(s.count);
  s.order.resize(s.count);
  int kept = 0;
  int64_t total = 0;
  for (int g = 0; g < s.count; ++g) {
    s.slot_start[g] = total;
    total += s.tiles_of[g];
    if (!s.tiles_of[g]) continue;
    s.order[kept++] = g;
    const Rect& r = s.rects[g];
    for (int y = r.y0; y < r.y1; ++y)
      for (int x = r.x0; x < r.x1; ++x) ++s.tile_start[y * s.tiles_x + x + 1];
  }
  for (int t = 0; t < tiles; ++t) s.tile_start[t + 1] += s.tile_start[t];
  sort_by_depth(s, kept);
  s.cursor.assign(s.tile_start.begin(), s.tile_start.end());
  s.ids.resize(total);
  s.slots.resize(total);
  for (int i = 0; i < kept; ++i) {
    const int g = s.order[i];
    const Rect& r = s.rects[g];
    int64_t slot = s.slot_start[g];
    for (int y = r.y0; y < r.y1; ++y)
      for (int x = r.x0; x < r.x1; ++x) {
        const int64_t place = s.cursor[y * s.tiles_x + x]++;
        s.ids[place] = g;
        s.slots[place] = static_cast<int32_t>(slot++);
      }
  }
}

inline void rows_of(const Splat& s, float center_y, int rows, int& first, int& last) {
  first = static_cast<int>(std::max(std::ceil(center_y - s.half_height), 0.0f));
  last = static_cast<int>(std::min(std::floor(center_y + s.half_height), float(rows - 1))) + 1;
}

void forward_tile(Scene& s, int tile, float* color, float* alpha, float* depth) {
  alignas(64) float left[kPixels], alive[kPixels], last[kPixels], sum[kFeatures][kPixels];
  const int x0 = tile % s.tiles_x * kTile, y0 = tile / s.tiles_x * kTile;
  const int rows = std::min(kTile, s.height - y0), columns = std::min(kTile, s.width - x0);
  for (int p = 0; p < kPixels; ++p) {
    left[p] = 1.0f, last[p] = -1.0f;
    alive[p] = p / kTile < rows && p % kTile < columns ? 1.0f : 0.0f;
    for (int k = 0; k < kFeatures; ++k) sum[k][p] = 0.0f;
  }
  const int64_t start = s.tile_start[tile], end = s.tile_start[tile + 1];
  for (int64_t n = start; n < end; ++n) {
    if ((n - start) % 16 == 15) {
      float any = 0.0f;
#pragma omp simd reduction(+ : any)
      for (int p = 0; p < kPixels; ++p) any += alive[p];
      if (any == 0.0f) break;
    }
    const int g = s.ids[n];
    const Splat splat = s.splats[g];
    const float center_x = splat.x - x0 - 0.5f, center_y = splat.y - y0 - 0.5f, index = float(n - start);
    const float f0 = s.colors[3 * g], f1 = s.colors[3 * g + 1], f2 = s.colors[3 * g + 2], f3 = splat.depth;
    const float squared = -0.5f * kLog2E * splat.a, peak = splat.peak;
    int first, stop;
    rows_of(splat, center_y, rows, first, stop);
    for (int r = first; r < stop; ++r) {
      const float dy = r - center_y, crossed = -kLog2E * splat.b * dy;
      const float level = splat.peak - 0.5f * kLog2E * splat.c * dy * dy;
      const int row = r * kTile;
#pragma omp simd
      for (int i = 0; i < kTile; ++i) {
        const int p = row + i;
        const float dx = i - center_x;
        const float exponent = larger(level + dx * (crossed + squared * dx), -126.0f);
        const float raw = smaller(exp2_fast(exponent), kLimit);
        const float live = alive[p], before = left[p], seen = last[p];
        float opacity = raw * live;
        opacity = raw >= kCutoff ? opacity : 0.0f;
        opacity = exponent <= peak ? opacity : 0.0f;
        const float after = before * (1.0f - opacity), drawn = opacity * before;
        const float weight = after <= kStop ? 0.0f : drawn;
        left[p] = after <= kStop ? before : after;
        alive[p] = after <= kStop ? 0.0f : live;
        last[p] = weight > 0.0f ? index : seen;
        sum[0][p] += weight * f0;
        sum[1][p] += weight * f1;
        sum[2][p] += weight * f2;
        sum[3][p] += weight * f3;
      }
    }
  }
  const int64_t plane = int64_t(s.width) * s.height;
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < columns; ++i) {
      const int p = r * kTile + i;
      const int64_t out = int64_t(y0 + r) * s.width + x0 + i;
      alpha[out] = 1.0f - left[p];
      s.transmittance[out] = left[p];
      s.last[out] = static_cast<int32_t>(last[p]);
      depth[out] = sum[3][p] / std::max(alpha[out], 1e-10f);
      for (int k = 0; k < 3; ++k) color[k * plane + out] = sum[k][p] + left[p] * s.background[k];
    }
}

void backward_tile(Scene& s, int tile, const float* alpha, const float* depth, const float* to_color,
                   const float* to_alpha, const float* to_depth) {
  alignas(64) float left[kPixels], behind[kPixels], last[kPixels], gradient[kFeatures][kPixels], lanes[kLanes][kTile];
  const int64_t start = s.tile_start[tile];
  if (s.tile_start[tile + 1] == start) return;
  const int x0 = tile % s.tiles_x * kTile, y0 = tile / s.tiles_x * kTile;
  const int rows = std::min(kTile, s.height - y0), columns = std::min(kTile, s.width - x0);
  const int64_t plane = int64_t(s.width) * s.height;
  for (int p = 0; p < kPixels; ++p) {
    left[p] = 1.0f, behind[p] = 0.0f, last[p] = -1.0f;
    for (int k = 0; k < kFeatures; ++k) gradient[k][p] = 0.0f;
  }
  int used = 0;
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < columns; ++i) {
      const int p = r * kTile + i;
      const int64_t in = int64_t(y0 + r) * s.width + x0 + i;
      gradient[3][p] = to_depth[in] / std::max(alpha[in], 1e-10f);
      float from_behind = gradient[3][p] * depth[in] - to_alpha[in];
      for (int k = 0; k < 3; ++k) {
        gradient[k][p] = to_color[k * plane + in];
        from_behind += gradient[k][p] * s.background[k];
      }
      left[p] = s.transmittance[in];
      behind[p] = left[p] * from_behind;
      last[p] = float(s.last[in]);
      used = std::max(used, s.last[in] + 1);
    }
  for (int64_t n = start + used - 1; n >= start; --n) {
    const int g = s.ids[n];
    const Splat splat = s.splats[g];
    const float center_x = splat.x - x0 - 0.5f, center_y = splat.y - y0 - 0.5f, index = float(n - start);
    const float f0 = s.colors[3 * g], f1 = s.colors[3 * g + 1], f2 = s.colors[3 * g + 2], f3 = splat.depth;
    const float squared = -0.5f * kLog2E * splat.a, peak = splat.peak;
    int first, stop;
    rows_of(splat, center_y, rows, first, stop);
    if (first >= stop) continue;
    std::memset(lanes, 0, sizeof(lanes));
    for (int r = first; r < stop; ++r) {
      const float dy = r - center_y, crossed = -kLog2E * splat.b * dy;
      const float level = splat.peak - 0.5f * kLog2E * splat.c * dy * dy;
      const int row = r * kTile;
#pragma omp simd
      for (int i = 0; i < kTile; ++i) {
        const int p = row + i;
        const float dx = i - center_x;
        const float exponent = larger(level + dx * (crossed + squared * dx), -126.0f);
        const float raw = exp2_fast(exponent), seen = last[p];
        float opacity = smaller(raw, kLimit);
        opacity = opacity >= kCutoff ? opacity : 0.0f;
        opacity = exponent <= peak ? opacity : 0.0f;
        opacity = index <= seen ? opacity : 0.0f;
        const float rest = 1.0f / (1.0f - opacity), before = left[p] * rest, weight = opacity * before;
        const float g0 = gradient[0][p], g1 = gradient[1][p], g2 = gradient[2][p], g3 = gradient[3][p];
        const float dot = g0 * f0 + g1 * f1 + g2 * f2 + g3 * f3;
        const float hidden = behind[p];
        float v = raw * (before * dot - hidden * rest);
        v = opacity > 0.0f ? v : 0.0f;
        v = raw <= kLimit ? v : 0.0f;
        left[p] = before;
        behind[p] = hidden + weight * dot;
        lanes[0][i] += v;
        lanes[1][i] += v * dy;
        lanes[2][i] += v * dy * dy;
        lanes[3][i] += weight * g0;
        lanes[4][i] += weight * g1;
        lanes[5][i] += weight * g2;
        lanes[6][i] += weight * g3;
      }
    }
    float t = 0, tx = 0, ty = 0, txx = 0, txy = 0, tyy = 0, c0 = 0, c1 = 0, c2 = 0, c3 = 0;
#pragma omp simd reduction(+ : t, tx, ty, txx, txy, tyy, c0, c1, c2, c3)
    for (int i = 0; i < kTile; ++i) {
      const float dx = i - center_x, v = lanes[0][i], vy = lanes[1][i];
      t += v, tx += v * dx, txx += v * dx * dx, ty += vy, txy += vy * dx, tyy += lanes[2][i];
      c0 += lanes[3][i], c1 += lanes[4][i], c2 += lanes[5][i], c3 += lanes[6][i];
    }
    float* slot = s.gradients.data() + int64_t(kSlot) * s.slots[n];
    slot[0] = splat.a * tx + splat.b * ty;
    slot[1] = splat.b * tx + splat.c * ty;
    slot[2] = -0.5f * txx, slot[3] = -txy, slot[4] = -0.5f * tyy;
    slot[5] = t / splat.opacity;
    slot[6] = c0, slot[7] = c1, slot[8] = c2, slot[9] = c3;
  }
}

void backward_gaussian(const Scene& s, int g, float* to_mean, float* to_quaternion, float* to_scale, float* to_opacity,
                       float* to_color, double* to_view) {
  float v[kSlot] = {0};
  for (int64_t slot = s.slot_start[g]; slot < s.slot_start[g] + s.tiles_of[g]; ++slot)
    for (int k = 0; k < kSlot; ++k) v[k] += s.gradients[kSlot * slot + k];
  *to_opacity = v[5];
  std::copy(v + 6, v + 9, to_color);
  Axes o;
  point_of(s, g, o.point);
  axes_of(s, g, o);
  const float a = s.splats[g].a, b = s.splats[g].b, c = s.splats[g].c, vb = 0.5f * v[3];
  const float m0 = a * v[2] + b * vb, m1 = a * vb + b * v[4], m2 = b * v[2] + c * vb, m3 = b * vb + c * v[4];
  const float to_xx = -(m0 * a + m1 * b), to_xy = -2.0f * (m0 * b + m1 * c), to_yy = -(m2 * b + m3 * c);
  float j[4] = {0}, to_n[9], to_m[9];
  for (int k = 0; k < 3; ++k) {
    const float p = 2 * to_xx * o.p[k] + to_xy * o.p[3 + k], q = 2 * to_yy * o.p[3 + k] + to_xy * o.p[k];
    j[0] += p * o.n[k], j[1] += p * o.n[6 + k], j[2] += q * o.n[3 + k], j[3] += q * o.n[6 + k];
    to_n[k] = o.jacobian[0] * p, to_n[3 + k] = o.jacobian[2] * q;
    to_n[6 + k] = o.jacobian[1] * p + o.jacobian[3] * q;
  }
  const Camera& camera = s.camera;
  const float near = 1.0f / o.point[2], sx = o.point[0] * near, sy = o.point[1] * near;
  float to_point[3] = {camera.fx * near * v[0], camera.fy * near * v[1], 0.0f};
  to_point[2] = v[9] - sx * to_point[0] - sy * to_point[1] -
                near * (j[0] * o.jacobian[0] + j[1] * o.jacobian[1] + j[2] * o.jacobian[2] + j[3] * o.jacobian[3]);
  if (sx >= camera.low_x && sx <= camera.high_x) {
    to_point[0] -= camera.fx * near * near * j[1];
    to_point[2] += camera.fx * near * near * j[1] * sx;
  }
  if (sy >= camera.low_y && sy <= camera.high_y) {
    to_point[1] -= camera.fy * near * near * j[3];
    to_point[2] += camera.fy * near * near * j[3] * sy;
  }
  const float *view = camera.view, *mean = s.means + 3 * g, *scale = s.scales + 3 * g, *r = o.rotation;
  for (int k = 0; k < 3; ++k) {
    to_mean[k] = view[k] * to_point[0] + view[4 + k] * to_point[1] + view[8 + k] * to_point[2];
    to_view[4 * k + 3] += to_point[k];
    for (int i = 0; i < 3; ++i) {
      to_view[4 * k + i] += to_point[k] * mean[i] + to_n[3 * k] * r[3 * i] * scale[0] +
                            to_n[3 * k + 1] * r[3 * i + 1] * scale[1] + to_n[3 * k + 2] * r[3 * i + 2] * scale[2];
      to_m[3 * i + k] = view[i] * to_n[k] + view[4 + i] * to_n[3 + k] + view[8 + i] * to_n[6 + k];
    }
  }
  for (int k = 0; k < 3; ++k) {
    to_scale[k] = to_m[k] * r[k] + to_m[3 + k] * r[3 + k] + to_m[6 + k] * r[6 + k];
    for (int i = 0; i < 3; ++i) to_m[3 * i + k] *= scale[k];
  }
  const float* q = s.quaternions + 4 * g;
  const float w = q[0] * o.inverse, x = q[1] * o.inverse, y = q[2] * o.inverse, z = q[3] * o.inverse;
  const float* R = to_m;
  const float tw = 2 * (x * (R[7] - R[5]) + y * (R[2] - R[6]) + z * (R[3] - R[1]));
  const float tx = 2 * (y * (R[1] + R[3]) + z * (R[2] + R[6]) + w * (R[7] - R[5]) - 2 * x * (R[4] + R[8]));
  const float ty = 2 * (x * (R[1] + R[3]) + z * (R[5] + R[7]) + w * (R[2] - R[6]) - 2 * y * (R[0] + R[8]));
  const float tz = 2 * (x * (R[2] + R[6]) + y * (R[5] + R[7]) + w * (R[3] - R[1]) - 2 * z * (R[0] + R[4]));
  const float along = tw * w + tx * x + ty * y + tz * z;
  to_quaternion[0] = (tw - along * w) * o.inverse, to_quaternion[1] = (tx - along * x) * o.inverse;
  to_quaternion[2] = (ty - along * y) * o.inverse, to_quaternion[3] = (tz - along * z) * o.inverse;
}

}  // namespace

extern "C" {

// Renders one camera. Arrays are contiguous float32: means (G,3), quaternions (G,4), scales (G,3), opacities (G),
// colors (G,3), view (4,4), K (3,3), background (3), color (3,H,W), alpha and depth (H,W). Returns the intersections.
int64_t raster_forward(int count, int width, int height, int threads, const float* means, const float* quaternions,
                       const float* scales, const float* opacities, const float* colors, const float* view,
                       const float* K, const float* background, float* color, float* alpha, float* depth) {
  Scene& s = scene;
  omp_set_num_threads(threads);
  s.count = count, s.width = width, s.height = height;
  s.tiles_x = (width + kTile - 1) / kTile, s.tiles_y = (height + kTile - 1) / kTile;
  s.means = means, s.quaternions = quaternions, s.scales = scales, s.opacities = opacities, s.colors = colors;
  s.background = background;
  Camera& c = s.camera;
  std::copy(view, view + 16, c.view);
  c.fx = K[0], c.fy = K[4], c.cx = K[2], c.cy = K[5];
  const float margin_x = 0.15f * width / c.fx, margin_y = 0.15f * height / c.fy;
  c.low_x = -c.cx / c.fx - margin_x, c.high_x = (width - c.cx) / c.fx + margin_x;
  c.low_y = -c.cy / c.fy - margin_y, c.high_y = (height - c.cy) / c.fy + margin_y;
  s.splats.resize(count), s.rects.resize(count), s.tiles_of.resize(count);
  s.transmittance.resize(size_t(width) * height), s.last.resize(size_t(width) * height);
#pragma omp parallel for schedule(static)
  for (int g = 0; g < count; ++g) project(s, g);
  fill_tiles(s);
#pragma omp parallel for schedule(dynamic, 1)
  for (int tile = 0; tile < s.tiles_x * s.tiles_y; ++tile) forward_tile(s, tile, color, alpha, depth);
  return static_cast<int64_t>(s.ids.size());
}

// Gradients of the last forward call; every output is overwritten. to_view is (4,4) double.
void raster_backward(const float* alpha, const float* depth, const float* to_color, const float* to_alpha,
                     const float* to_depth, float* to_means, float* to_quaternions, float* to_scales,
                     float* to_opacities, float* to_colors, double* to_view) {
  Scene& s = scene;
  s.gradients.resize(s.ids.size() * kSlot);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < static_cast<int64_t>(s.gradients.size()); ++i) s.gradients[i] = 0.0f;
#pragma omp parallel for schedule(dynamic, 1)
  for (int tile = 0; tile < s.tiles_x * s.tiles_y; ++tile)
    backward_tile(s, tile, alpha, depth, to_color, to_alpha, to_depth);
  double total[16] = {0};
#pragma omp parallel for schedule(static) reduction(+ : total[:16])
  for (int g = 0; g < s.count; ++g) {
    if (s.tiles_of[g]) {
      backward_gaussian(s, g, to_means + 3 * g, to_quaternions + 4 * g, to_scales + 3 * g, to_opacities + g,
                        to_colors + 3 * g, total);
      continue;
    }
    std::fill_n(to_means + 3 * g, 3, 0.0f), std::fill_n(to_quaternions + 4 * g, 4, 0.0f);
    std::fill_n(to_scales + 3 * g, 3, 0.0f), std::fill_n(to_colors + 3 * g, 3, 0.0f);
    to_opacities[g] = 0.0f;
  }
  std::copy(total, total + 16, to_view);
}

}
