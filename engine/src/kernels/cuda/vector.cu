// A linear layer of one row: y = act(W x + b), one warp an output. Activations stay in f32, as they are few and all of a
// network hangs on them: the embedding of the noise level and the modulation made of it.

#include "rows.cuh"

// Bits of `silus`: 1 before the product, 2 after it.
template <typename T>
__device__ __forceinline__ void vector_linear(const float* x, const T* weight, const float* bias, float* y, int k, int n, int silus) {
    int output = (int)((blockIdx.x * (long long)blockDim.x + threadIdx.x) / 32);
    if (output >= n) return;
    const T* row = weight + (long long)output * k;
    float sum = 0.0f;
    by_vectors<T>(k, is_aligned_16(row), threadIdx.x % 32, 32, [&](long long i, auto count) {
        constexpr int N = decltype(count)::value;
        float w[N];
        load(row + i, w);
        for (int j = 0; j < N; j++) sum += w[j] * (silus & 1 ? silu(x[i + j]) : x[i + j]);
    });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) {
        sum += bias ? bias[output] : 0.0f;
        y[output] = silus & 2 ? silu(sum) : sum;
    }
}

extern "C" __global__ void vector_linear_bf16(const float* x, const Bf16* weight, const float* bias, float* y, int k, int n, int silus) {
    vector_linear(x, weight, bias, y, k, n, silus);
}
extern "C" __global__ void vector_linear_f32(const float* x, const float* weight, const float* bias, float* y, int k, int n, int silus) {
    vector_linear(x, weight, bias, y, k, n, silus);
}
