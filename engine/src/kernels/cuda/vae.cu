// What a video decoder does between its convolutions, and its weights brought into the order that they read.
//
// A pixel is a row of channels, and as many lanes of a warp work on it as it has 16-byte pieces, up to 32: a warp has
// one pixel or several. Sums are in an order that the number of channels alone decides.
#include "common.cuh"

// How a warp is shared out over rows of `width` elements.
struct Rows {
    int lanes, unit;

    // `unit` elements are moved at once.
    __device__ __forceinline__ Rows(int width, int unit) : lanes(32), unit(unit) {
        while (lanes > 1 && lanes / 2 * unit >= width) lanes /= 2;
    }

    __device__ __forceinline__ int per_warp() const { return 32 / lanes; }
    __device__ __forceinline__ int mine() const { return threadIdx.x % 32 / lanes; }
    __device__ __forceinline__ int start() const { return threadIdx.x % lanes * unit; }
    __device__ __forceinline__ int step() const { return lanes * unit; }

    // Over the lanes of a row; every lane of the warp must call it.
    __device__ __forceinline__ float sum(float x) const {
        for (int lane = lanes / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
        return x;
    }
};

// UNIT elements at once: 1, or as many as are in 16 bytes.
__device__ __forceinline__ void load_some(const float* from, float (&x)[1]) { x[0] = *from; }
__device__ __forceinline__ void load_some(const Bf16* from, float (&x)[1]) { x[0] = to_f32(*from); }
__device__ __forceinline__ void load_some(const float* from, float (&x)[4]) { load_vector(from, x); }
__device__ __forceinline__ void load_some(const Bf16* from, float (&x)[8]) { load_vector(from, x); }
__device__ __forceinline__ void store_some(float* to, const float (&x)[1]) { *to = x[0]; }
__device__ __forceinline__ void store_some(Bf16* to, const float (&x)[1]) { store_f32(to, x[0]); }
__device__ __forceinline__ void store_some(float* to, const float (&x)[4]) { store_vector(to, x); }
__device__ __forceinline__ void store_some(Bf16* to, const float (&x)[8]) { store_vector(to, x); }

__device__ __forceinline__ float silu(float x) {
    constexpr float LOG2_E = 1.4426950408889634f;
    return x / (1.0f + exp2_approx(-LOG2_E * x));
}

// Writes all of the bordered `out`: zeros on the border; inside, `x` as it is or normalised, scaled, shifted, SiLU.
template <typename T, int UNIT, bool NORM>
__device__ __forceinline__ void border(
    const T* x, T* out, int frames, int height, int width, int channels,
    float eps, const float* scale, const float* shift
) {
    const Rows rows(channels, UNIT);
    const int line = width + 2, lines = height + 2, pixels = frames * lines * line;
    const int warps = gridDim.x * (blockDim.x / 32);
    const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    for (int first = warp * rows.per_warp(); first < pixels; first += warps * rows.per_warp()) {
        const int pixel = first + rows.mine();
        const int column = pixel % line, row = pixel / line % lines, frame = pixel / line / lines;
        const bool inside = pixel < pixels && row >= 1 && row <= height && column >= 1 && column <= width;
        const T* from = x + (inside ? (((long long)frame * height + row - 1) * width + column - 1) * channels : 0);
        float factor = 1.0f;
        if (NORM) {
            float squares = 0.0f;
            for (int c = rows.start(); inside && c < channels; c += rows.step()) {
                float v[UNIT];
                load_some(from + c, v);
#pragma unroll
                for (int i = 0; i < UNIT; i++) squares += v[i] * v[i];
            }
            factor = 1.0f / sqrtf(rows.sum(squares) / (float)channels + eps);
        }
        if (pixel >= pixels) continue;
        T* to = out + (long long)pixel * channels;
        for (int c = rows.start(); c < channels; c += rows.step()) {
            float v[UNIT] = {};
            if (inside) {
                load_some(from + c, v);
                if (NORM) {
#pragma unroll
                    for (int i = 0; i < UNIT; i++) {
                        v[i] *= factor;
                        if (scale) v[i] = v[i] * (1.0f + scale[c + i]) + shift[c + i];
                        v[i] = silu(v[i]);
                    }
                }
            }
            store_some(to + c, v);
        }
    }
}

template <typename T, bool NORM>
__device__ __forceinline__ void border(
    const T* x, T* out, int frames, int height, int width, int channels,
    float eps, const float* scale, const float* shift
) {
    if (channels % VECTOR<T> == 0 && is_aligned_16(x) && is_aligned_16(out))
        border<T, VECTOR<T>, NORM>(x, out, frames, height, width, channels, eps, scale, shift);
    else
        border<T, 1, NORM>(x, out, frames, height, width, channels, eps, scale, shift);
}

// The step before each convolution: each pixel of `x (frames, height, width, channels)` divided by the root mean
// square of its channels, `x (1 + scale) + shift` where these are not null, then SiLU, inside the border of
// `out (frames, height + 2, width + 2, channels)`. Any grid of blocks of a multiple of 32 threads; bordered pixels are
// fewer than 2^31 less those that the grid does at once.
#define NORM_SILU_BORDER(name, T)                                                                                      \
    extern "C" __global__ void name(                                                                                   \
        const T* x, T* out, int frames, int height, int width, int channels, float eps,                                \
        const float* scale, const float* shift                                                                         \
    ) {                                                                                                                \
        border<T, true>(x, out, frames, height, width, channels, eps, scale, shift);                                   \
    }

NORM_SILU_BORDER(vae_norm_silu_border_bf16, Bf16)
NORM_SILU_BORDER(vae_norm_silu_border_f32, float)

// `x` as it is inside the border of `out`; otherwise as above.
#define BORDER(name, T)                                                                                                \
    extern "C" __global__ void name(const T* x, T* out, int frames, int height, int width, int channels) {             \
        border<T, false>(x, out, frames, height, width, channels, 0.0f, nullptr, nullptr);                             \
    }

BORDER(vae_border_bf16, Bf16)
BORDER(vae_border_f32, float)

// Each row of `x (rows, width)` less its mean, divided by its standard deviation, times `weight`, plus `bias`.
template <typename T, int UNIT>
__device__ __forceinline__ void layer_norm(
    const T* x, T* out, int count, int width, float eps, const float* weight, const float* bias
) {
    const Rows rows(width, UNIT);
    const int warps = gridDim.x * (blockDim.x / 32);
    const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    for (int first = warp * rows.per_warp(); first < count; first += warps * rows.per_warp()) {
        const int row = first + rows.mine();
        const bool is_row = row < count;
        const T* from = x + (long long)(is_row ? row : 0) * width;
        float sum = 0.0f, squares = 0.0f;
        for (int c = rows.start(); c < width; c += rows.step()) {
            float v[UNIT];
            load_some(from + c, v);
#pragma unroll
            for (int i = 0; i < UNIT; i++) sum += v[i];
        }
        const float mean = rows.sum(sum) / (float)width;
        for (int c = rows.start(); c < width; c += rows.step()) {
            float v[UNIT];
            load_some(from + c, v);
#pragma unroll
            for (int i = 0; i < UNIT; i++) squares += (v[i] - mean) * (v[i] - mean);
        }
        const float factor = 1.0f / sqrtf(rows.sum(squares) / (float)width + eps);
        if (!is_row) continue;
        T* to = out + (long long)row * width;
        for (int c = rows.start(); c < width; c += rows.step()) {
            float v[UNIT];
            load_some(from + c, v);
#pragma unroll
            for (int i = 0; i < UNIT; i++) v[i] = (v[i] - mean) * factor * weight[c + i] + bias[c + i];
            store_some(to + c, v);
        }
    }
}

// Any grid of blocks of a multiple of 32 threads.
#define LAYER_NORM(name, T)                                                                                            \
    extern "C" __global__ void name(                                                                                   \
        const T* x, T* out, int rows, int width, float eps, const float* weight, const float* bias                     \
    ) {                                                                                                                \
        if (width % VECTOR<T> == 0 && is_aligned_16(x) && is_aligned_16(out))                                          \
            layer_norm<T, VECTOR<T>>(x, out, rows, width, eps, weight, bias);                                          \
        else                                                                                                           \
            layer_norm<T, 1>(x, out, rows, width, eps, weight, bias);                                                  \
    }

LAYER_NORM(vae_layer_norm_bf16, Bf16)
LAYER_NORM(vae_layer_norm_f32, float)

// An IEEE half as it lies in a file.
__device__ __forceinline__ float half_to_f32(unsigned short bits) {
    const unsigned int sign = (unsigned int)(bits & 0x8000) << 16, rest = (unsigned int)(bits & 0x7fff) << 13;
    // The exponent is biased by 15 here and by 127 in f32; the product also makes subnormals right.
    const float size = __uint_as_float(rest) * __uint_as_float((127 + 112) << 23);
    return __uint_as_float(sign | (rest >= 0x7c00u << 13 ? 0x7f800000u | rest : __float_as_uint(size)));
}

// How a weight is stored.
enum Stored { STORED_F32 = 0, STORED_F16 = 1, STORED_BF16 = 2 };

__device__ __forceinline__ float stored(const void* values, long long i, int kind) {
    if (kind == STORED_F32) return ((const float*)values)[i];
    if (kind == STORED_F16) return half_to_f32(((const unsigned short*)values)[i]);
    return to_f32(((const Bf16*)values)[i]);
}

// A weight `(outputs, channels, taps)` as `(outputs, taps, channels)`, output `j` being output `order[j]` of the
// stored one, or `j` itself where `order` is null. Any grid.
template <typename T>
__device__ __forceinline__ void pack(
    const void* values, int kind, const unsigned int* order, T* out, int outputs, int channels, int taps
) {
    const long long row = (long long)channels * taps, count = outputs * row;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads) {
        const int output = (int)(i / row), k = (int)(i % row), tap = k / channels, c = k % channels;
        const long long from = order ? order[output] : output;
        store_f32(out + i, stored(values, from * row + (long long)c * taps + tap, kind));
    }
}

#define PACK(name, T)                                                                                                  \
    extern "C" __global__ void name(                                                                                   \
        const void* values, int kind, const unsigned int* order, T* out, int outputs, int channels, int taps           \
    ) {                                                                                                                \
        pack(values, kind, order, out, outputs, channels, taps);                                                       \
    }

PACK(vae_pack_bf16, Bf16)
PACK(vae_pack_f32, float)
