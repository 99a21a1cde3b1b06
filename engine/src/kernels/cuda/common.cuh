// What most kernels share: elements of either type in memory as f32 in registers, 16 bytes at a time where they are
// aligned, and sums over a warp or a block.
#pragma once

#include "ptx.cuh"

// An element in memory, top half of an f32. Kernels are templates over `Bf16` and `float`.
struct Bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(Bf16 x) { return __uint_as_float((unsigned int)x.bits << 16); }

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

// The two halves of a packed pair.
__device__ __forceinline__ float pair_low(unsigned int pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float pair_high(unsigned int pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ void store_f32(float* to, float x) { *to = x; }
__device__ __forceinline__ void store_f32(Bf16* to, float x) { to->bits = bf16_bits(x); }

// What `x` is once it has been to memory as a T.
template <typename T>
__device__ __forceinline__ float rounded(float x) {
    T kept;
    store_f32(&kept, x);
    return to_f32(kept);
}

// Elements in 16 bytes: VECTOR<Bf16> is 8, VECTOR<float> is 4.
template <typename T>
constexpr int VECTOR = 16 / (int)sizeof(T);

// Whether 16 bytes may be moved at once there.
__device__ __forceinline__ bool is_aligned_16(const void* p) { return ((unsigned long long)p & 15) == 0; }

// VECTOR<T> elements at an address that is a multiple of 16 bytes.
__device__ __forceinline__ void load_vector(const float* from, float (&x)[4]) {
    const float4 v = *(const float4*)from;
    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}

__device__ __forceinline__ void load_vector(const Bf16* from, float (&x)[8]) {
    const uint4 v = *(const uint4*)from;
    x[0] = pair_low(v.x), x[1] = pair_high(v.x), x[2] = pair_low(v.y), x[3] = pair_high(v.y);
    x[4] = pair_low(v.z), x[5] = pair_high(v.z), x[6] = pair_low(v.w), x[7] = pair_high(v.w);
}

__device__ __forceinline__ void store_vector(float* to, const float (&x)[4]) {
    *(float4*)to = make_float4(x[0], x[1], x[2], x[3]);
}

__device__ __forceinline__ void store_vector(Bf16* to, const float (&x)[8]) {
    *(uint4*)to = make_uint4(bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7]));
}

// Over the whole warp; every lane must call it, and every lane gets the result.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

// Over a block of one dimension, a multiple of 32 threads and at most 1024; every thread must call it, and every
// thread gets the result. `scratch` is 32 floats of shared memory, free again when it returns.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    x = warp_sum(x);
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    x = warp_sum(lane < (int)blockDim.x / 32 ? scratch[lane] : 0.0f);
    __syncthreads();
    return x;
}
