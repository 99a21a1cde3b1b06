// Walking over the elements of a row, 16 bytes at a time where that is possible.
#pragma once

#include "common.cuh"

template <int N>
struct Count {
    static constexpr int value = N;
};

template <typename T, int N>
__device__ __forceinline__ void load(const T* from, float (&x)[N]) {
    if constexpr (N == 1) {
        x[0] = to_f32(*from);
    } else {
        load_vector(from, x);
    }
}

template <typename T, int N>
__device__ __forceinline__ void store(T* to, const float (&x)[N]) {
    if constexpr (N == 1) {
        store_f32(to, x[0]);
    } else {
        store_vector(to, x);
    }
}

// Shares `count` elements out among `threads`, of which this is number `thread`: `work(i, Count<N>)` does those from i on.
// `vectors` says whether all addresses of the row are multiples of 16 bytes.
template <typename T, typename Work>
__device__ __forceinline__ void by_vectors(long long count, bool vectors, long long thread, long long threads, Work work) {
    constexpr int N = VECTOR<T>;
    long long whole = vectors ? count / N * N : 0;
    for (long long i = thread * N; i < whole; i += threads * N) work(i, Count<N>{});
    for (long long i = whole + thread; i < count; i += threads) work(i, Count<1>{});
}

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

// The tanh form: 1 + tanh(u) is 2 / (1 + exp(-2u)).
__device__ __forceinline__ float gelu(float x) {
    float twice = 1.5957691216057308f * (x + 0.044715f * x * x * x);
    return x / (1.0f + expf(-twice));
}
