// What stands before each convolution of a video decoder: the step that fills its bordered input, border and all.
//
// A pixel is a row of channels, and as many lanes of a warp work on it as it has 16-byte pieces, up to 32: a warp has one
// pixel or several. Sums are in an order that the number of channels alone decides.

#include "rows.cuh"

// How a warp is shared out over rows of `width` elements, `unit` of which are moved at once.
struct Lanes {
    int lanes, unit;

    __device__ __forceinline__ Lanes(int width, int unit) : lanes(32), unit(unit) {
        while (lanes > 1 && lanes / 2 * unit >= width) lanes /= 2;
    }

    __device__ __forceinline__ int rows() const { return 32 / lanes; }
    __device__ __forceinline__ int mine() const { return threadIdx.x % 32 / lanes; }
    __device__ __forceinline__ int start() const { return threadIdx.x % lanes * unit; }
    __device__ __forceinline__ int step() const { return lanes * unit; }

    // Over the lanes of a row; every lane of the warp must call it.
    __device__ __forceinline__ float sum(float x) const {
        for (int lane = lanes / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
        return x;
    }
};

// What is done to the inside.
struct Norm {
    bool is_done;
    float eps;
    const float* scale;
    const float* shift;
};

template <typename T, int UNIT>
__device__ __forceinline__ void border(const T* x, T* out, int frames, int height, int width, int channels, const Norm& norm) {
    const Lanes share(channels, UNIT);
    const int line = width + 2, lines = height + 2, pixels = frames * lines * line;
    const int warps = gridDim.x * (blockDim.x / 32);
    const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    for (int first = warp * share.rows(); first < pixels; first += warps * share.rows()) {
        const int pixel = first + share.mine();
        const int column = pixel % line, row = pixel / line % lines, frame = pixel / line / lines;
        const bool inside = pixel < pixels && row >= 1 && row <= height && column >= 1 && column <= width;
        const T* from = x + (inside ? (((long long)frame * height + row - 1) * width + column - 1) * channels : 0);
        float factor = 1.0f;
        if (norm.is_done) {
            float squares = 0.0f;
            for (int c = share.start(); inside && c < channels; c += share.step()) {
                float v[UNIT];
                load(from + c, v);
                for (float value : v) squares += value * value;
            }
            factor = 1.0f / sqrtf(share.sum(squares) / channels + norm.eps);
        }
        if (pixel >= pixels) continue;
        T* to = out + (long long)pixel * channels;
        for (int c = share.start(); c < channels; c += share.step()) {
            float v[UNIT] = {};
            if (inside) load(from + c, v);
            if (inside && norm.is_done) {
                for (int i = 0; i < UNIT; i++) {
                    v[i] *= factor;
                    if (norm.scale) v[i] = v[i] * (1.0f + norm.scale[c + i]) + norm.shift[c + i];
                    v[i] = silu(v[i]);
                }
            }
            store(to + c, v);
        }
    }
}

template <typename T>
__device__ __forceinline__ void border(const T* x, T* out, int frames, int height, int width, int channels, const Norm& norm) {
    if (channels % VECTOR<T> == 0 && is_aligned_16(x) && is_aligned_16(out))
        border<T, VECTOR<T>>(x, out, frames, height, width, channels, norm);
    else
        border<T, 1>(x, out, frames, height, width, channels, norm);
}

// Writes all of `out (frames, height + 2, width + 2, channels)`: zeros on the border, `x (frames, height, width, channels)`
// inside; or each pixel of it divided by the root mean square of its channels, `x (1 + scale) + shift` where these are not
// null, then SiLU. Any grid of blocks of whole warps, so that bordered pixels and those which the grid does at once are
// fewer than 2^31 together.
#define OF_TYPE(T, SUFFIX)                                                                                                 \
    extern "C" __global__ void border_##SUFFIX(const T* x, T* out, int frames, int height, int width, int channels) {     \
        border(x, out, frames, height, width, channels, Norm{false, 0.0f, nullptr, nullptr});                              \
    }                                                                                                                      \
    extern "C" __global__ void norm_silu_border_##SUFFIX(const T* x, T* out, int frames, int height, int width,            \
                                                         int channels, float eps, const float* scale, const float* shift) { \
        border(x, out, frames, height, width, channels, Norm{true, eps, scale, shift});                                    \
    }

OF_TYPE(Bf16, bf16)
OF_TYPE(float, f32)
