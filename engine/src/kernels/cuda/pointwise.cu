// What is done to each element of a tensor by itself, and the conversions between stored forms.

#include "rows.cuh"

#define THREAD (blockIdx.x * (long long)blockDim.x + threadIdx.x)
#define THREADS ((long long)gridDim.x * blockDim.x)

// x = gelu(x + bias), rows of `width`; `bias` may be null.
template <typename T>
__device__ __forceinline__ void bias_gelu(T* x, const float* bias, long long count, int width) {
    by_vectors<T>(count, is_aligned_16(x), THREAD, THREADS, [&](long long i, auto n) {
        float v[decltype(n)::value];
        load(x + i, v);
        for (int j = 0; j < decltype(n)::value; j++) v[j] = gelu(v[j] + (bias ? bias[(i + j) % width] : 0.0f));
        store(x + i, v);
    });
}

// gate = gelu(gate) * up, rows of `width` in a tensor whose rows are `stride` long: gate first, up after it; out is dense.
template <typename T>
__device__ __forceinline__ void gated_gelu(const T* both, T* out, long long rows, int width) {
    bool vectors = is_aligned_16(both) && is_aligned_16(out) && width % VECTOR<T> == 0;
    by_vectors<T>(rows * width, vectors, THREAD, THREADS, [&](long long i, auto n) {
        constexpr int N = decltype(n)::value;
        const T* gate = both + i / width * 2 * width + i % width;
        float a[N], b[N];
        load(gate, a);
        load(gate + width, b);
        for (int j = 0; j < N; j++) a[j] = gelu(a[j]) * b[j];
        store(out + i, a);
    });
}

extern "C" __global__ void bias_gelu_bf16(Bf16* x, const float* bias, long long count, int width) { bias_gelu(x, bias, count, width); }
extern "C" __global__ void bias_gelu_f32(float* x, const float* bias, long long count, int width) { bias_gelu(x, bias, count, width); }
extern "C" __global__ void gated_gelu_bf16(const Bf16* both, Bf16* out, long long rows, int width) { gated_gelu(both, out, rows, width); }
extern "C" __global__ void gated_gelu_f32(const float* both, float* out, long long rows, int width) { gated_gelu(both, out, rows, width); }

// out (count, len) = tables (count, len) + level (len): the modulation of all blocks at one noise level.
extern "C" __global__ void modulations(const float* tables, const float* level, float* out, long long all, int len) {
    for (long long i = THREAD; i < all; i += THREADS) out[i] = tables[i] + level[i % len];
}

// A stored half-precision number: its exponent is moved into place by a product, which is exact, subnormals included.
struct Half {
    unsigned short bits;
};

__device__ __forceinline__ float to_f32(Half x) {
    unsigned int sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
    if (rest >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | rest << 13);
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(rest << 13) * 5.192296858534828e33f));
}

template <typename From, typename To>
__device__ __forceinline__ void convert(const From* from, To* to, long long count) {
    for (long long i = THREAD; i < count; i += THREADS) store_f32(to + i, to_f32(from[i]));
}

extern "C" __global__ void convert_f32_bf16(const float* from, Bf16* to, long long count) { convert(from, to, count); }
extern "C" __global__ void convert_bf16_f32(const Bf16* from, float* to, long long count) { convert(from, to, count); }
extern "C" __global__ void convert_f16_bf16(const Half* from, Bf16* to, long long count) { convert(from, to, count); }
extern "C" __global__ void convert_f16_f32(const Half* from, float* to, long long count) { convert(from, to, count); }
